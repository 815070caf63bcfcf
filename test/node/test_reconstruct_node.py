"""The node in this process: what it does where no other process can see it, or make it happen."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from test_pipeline import H, W, events_at

from cista_ros.networks import save_network
from cista_ros.node import image_source, reconstruct_node
from cista_ros.node.backlog import Job
from cista_ros.node.image_source import ImageSource, load
from cista_ros.node.process import Stop
from cista_ros.node.reconstruct_node import ReconstructNode


@pytest.fixture
def node(small_network, tmp_path, monkeypatch):
    """A node that is not started yet."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    save_network(small_network, tmp_path / "small.safetensors")
    options = f"-p weights:={tmp_path / 'small.safetensors'} -p device:=cpu -p runtime:=eager -p downscale:=1"
    rclpy.init(args=["--ros-args", *options.split()])
    made = ReconstructNode(Stop())
    yield made
    made.close()
    made.destroy_node()
    rclpy.try_shutdown()


def test_a_signal_while_the_weights_load_ends_the_start(node, capfd, monkeypatch):
    def slow(settings):
        time.sleep(0.2)
        return load(settings)

    monkeypatch.setattr(reconstruct_node, "load", slow)
    node._stop.set()
    node.start()
    assert node._phase == "unconfigured"
    assert "Unable to start transition" not in capfd.readouterr().err


def test_a_change_that_fails_for_a_reason_nobody_foresaw_is_refused_and_the_old_goes_on(node, monkeypatch):
    def broken(_):
        raise OSError(28, "No space left on device")

    node.start()
    old = node._loaded
    monkeypatch.setattr(image_source, "load", broken)
    (result,) = node.set_parameters([Parameter("runtime", value="fused")])
    assert not result.successful
    assert result.reason.endswith("small.safetensors cannot be run so: OSError: [Errno 28] No space left on device")
    assert (node._settings.runtime, node._loaded) == ("eager", old)
    assert node.get_parameter("runtime").value == "eager"


def test_images_that_waited_for_a_change_of_downscale_bear_their_own(node, monkeypatch):
    node.start()
    before = Job((), ImageSource(node._loaded, node._settings, 40, 48, print), "dvs")
    assert node.set_parameters([Parameter("downscale", value=2)])[0].successful
    after = Job((), ImageSource(node._loaded, node._settings, 40, 48, print), "dvs")
    told = []
    monkeypatch.setattr(node._outputs, "publish", lambda *arguments: told.append(arguments[-1]))
    for job in (before, after):
        node._publish(None, job)
    assert told == [(1, 1), (2, 2)]


def test_an_activation_that_fails_half_way_leaves_nothing_subscribed(node, monkeypatch):
    create_subscription = node.create_subscription

    def full(kind, *arguments, **options):
        if kind is CameraInfo:
            raise RuntimeError("the middleware is out of resources")
        return create_subscription(kind, *arguments, **options)

    monkeypatch.setattr(node, "create_subscription", full)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert (node._phase, node._inputs.subscribed, node._worker) == ("unconfigured", False, None)


def test_a_change_of_windows_closes_the_open_one_at_the_stamp_that_is_known(node, monkeypatch):
    inputs, closed = node._inputs, []
    monkeypatch.setattr(inputs, "on_windows", closed.extend)
    inputs.adjust(replace(node._settings, windows="sync"))
    inputs.windows = inputs._begin(H, W)
    inputs.windows.push(events_at([0, 1, 2]))
    inputs._on_stamp(10)
    inputs.adjust(replace(node._settings, windows="period"))
    assert [window.stamp for window in closed] == [10]
    counts = inputs.sync.stamps.counts
    assert (counts.used, counts.empty, counts.unsynced_windows) == (1, 0, 0)
