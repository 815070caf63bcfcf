"""The node in this process: what no other process can see, or make happen."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo

import cista_ros.node
from cista_ros.networks import save_network
from cista_ros.node import worker
from cista_ros.node.outputs import Outputs
from cista_ros.node.parameters import Settings
from cista_ros.node.process import Stop
from cista_ros.node.reconstruct_node import ReconstructNode, TwoThreadExecutor
from cista_ros.node.worker import Job
from cista_ros.reconstructor import Frame
from cista_ros.windows import Window
from cista_ros.wire.ros_types import CameraInfoMessage

FILES = sorted(Path(cista_ros.node.__file__).parent.glob("*.py"))
TRANSITIONS = {f"on_{name}" for name in ("configure", "activate", "deactivate", "cleanup", "shutdown", "error")}


@pytest.fixture
def context(small_network, tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    save_network(small_network, tmp_path / "small.safetensors")
    options = f"-p weights:={tmp_path / 'small.safetensors'} -p device:=cpu -p runtime:=eager -p lazy:=false"
    rclpy.init(args=["--ros-args", *options.split()])
    yield
    rclpy.try_shutdown()


@pytest.fixture
def stop():
    return Stop()


@pytest.fixture
def node(context, stop):
    """A node that is not started yet."""
    made = ReconstructNode(stop)
    yield made
    made.close()
    made.destroy_node()


def spin_until(executor, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        executor.spin_once(0.02)


def test_a_signal_while_the_weights_load_ends_the_start(node, stop, capfd, monkeypatch):
    load = worker.load_network

    def slow(weights):
        time.sleep(0.2)
        return load(weights)

    monkeypatch.setattr(worker, "load_network", slow)
    stop.set()
    node.start()
    assert not node.count_publishers("/image_raw") and not node.count_subscribers("/events")
    assert "Unable to start transition" not in capfd.readouterr().err


def test_a_change_that_fails_unexpectedly_is_refused_and_the_old_network_stays(node, monkeypatch):
    def broken(_):
        raise OSError(28, "No space left on device")

    node.start()
    monkeypatch.setattr(worker, "load_network", broken)
    (result,) = node.set_parameters([Parameter("runtime", value="fused")])
    assert not result.successful
    assert result.reason.endswith("small.safetensors: OSError: [Errno 28] No space left on device")
    assert node.get_parameter("runtime").value == "eager"
    # What works next is compared with the old value.
    assert node.set_parameters([Parameter("runtime", value="eager")])[0].successful


def test_an_activation_that_fails_half_way_leaves_nothing_subscribed(node, monkeypatch):
    create_subscription = node.create_subscription

    def full(kind, *arguments, **options):
        if kind is CameraInfo:
            raise RuntimeError("the middleware is out of resources")
        return create_subscription(kind, *arguments, **options)

    monkeypatch.setattr(node, "create_subscription", full)
    before = {subscription.topic_name for subscription in node.subscriptions}
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert {subscription.topic_name for subscription in node.subscriptions} == before
    assert not node.count_publishers("/image_raw")


def test_the_camera_info_beside_an_image_has_the_binning_of_that_image(context):
    node = rclpy.create_node("binning")
    executor = TwoThreadExecutor()
    executor.add_node(node)
    outputs, infos = Outputs(node, None), []
    node.create_subscription(CameraInfo, "camera_info", infos.append, 10)
    spin_until(executor, lambda: node.count_publishers("/camera_info"))
    image = np.zeros((20, 24), np.float32)
    k = np.eye(3).ravel()
    original = CameraInfoMessage(0, "", 20, 24, "", k[:0], k, k, np.zeros(12), binning=(2, 0))
    for downscale in (1, 3):
        window = Window(np.empty(0), 5, frame_id="dvs", height=20, width=24)
        job = Job((window,), SimpleNamespace(settings=SimpleNamespace(downscale=downscale)), 0.0, 0.0)
        outputs.publish(Frame(image, image, 5, window.events, 1), job, Settings(), original)
        outputs.publish(Frame(image, image, 5, window.events, 1), job, Settings(frame_id="mine"), original)
    spin_until(executor, lambda: len(infos) == 4)
    assert [(i.binning_x, i.binning_y, i.header.frame_id) for i in infos] == [
        *((2, 0, "dvs"), (2, 0, "mine"), (6, 3, "dvs"), (6, 3, "mine"))
    ]
    executor.close()
    node.destroy_node()


def test_a_callback_that_blocks_does_not_hold_up_those_of_other_groups(context):
    node = rclpy.create_node("groups")
    executor = TwoThreadExecutor()
    executor.add_node(node)
    entered, gate, threads = threading.Event(), threading.Event(), set()

    def block():
        entered.set()
        gate.wait(60)

    def count():
        threads.add(threading.get_ident())
        if entered.is_set():
            gate.set()

    node.create_timer(0.01, block)
    timer = node.create_timer(0.01, count, MutuallyExclusiveCallbackGroup())
    spin_until(executor, gate.is_set)
    assert threads == {threading.get_ident()}
    node.destroy_timer(timer)
    executor.close()
    node.destroy_node()


@pytest.mark.parametrize("blocking", [True, False])
def test_an_error_in_a_callback_of_either_thread_ends_the_spinning(context, blocking):
    node = rclpy.create_node("errors")
    executor = TwoThreadExecutor()
    executor.add_node(node)
    node.create_timer(0.01, lambda: 1 // 0, None if blocking else MutuallyExclusiveCallbackGroup())
    with pytest.raises(ZeroDivisionError):
        spin_until(executor, lambda: False)
    executor.close()
    node.destroy_node()


@pytest.fixture(scope="module")
def names():
    """What a node of rclpy has, on the class and on the instance."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode("names", context=context)
    yield set(dir(node)) | set(dir(Node))
    node.destroy_node()
    context.try_shutdown()


def node_classes():
    for file in FILES:
        for item in ast.walk(ast.parse(file.read_text())):
            if isinstance(item, ast.ClassDef) and any(ast.unparse(base).endswith("Node") for base in item.bases):
                yield pytest.param(item, id=item.name)


@pytest.mark.parametrize("item", node_classes())
def test_no_name_of_a_node_hides_one_of_rclpys(item, names):
    methods = {f.name for f in item.body if isinstance(f, ast.FunctionDef)} - {"__init__"} - TRANSITIONS
    stored = (n for n in ast.walk(item) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
    attributes = {node.attr for node in stored if ast.unparse(node.value) == "self"}
    assert len(methods | attributes) > 5
    assert not (methods | attributes) & names
