"""`ros2 launch cista_ros reconstruct.launch.py` for real, where launch, launch_ros and ros2cli are installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from harness import Client, cut, free_domain, offline, pixels, stream
from rcl_interfaces.srv import GetParameters
from recordings.makers import write_bag

from cista_ros.tone_map import to_mono8


def importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


# Not "launch": this repository's folder of that name would do.
MISSING = [name for name in ("launch.actions", "launch_ros.actions", "ros2launch.command") if not importable(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (not on PyPI)")
LAUNCH = ("-c", "import sys; from ros2cli.cli import main; sys.exit(main())")
ARGUMENTS = ["bag", "rate", "loop", "exit_on_end", "weights", "device", "events_topic", "namespace"]
ARGUMENTS += ["params_file", "use_sim_time", "view"]


def launch(client, *arguments: str, **env: str):
    return client.start(*LAUNCH, "launch", "cista_ros", "reconstruct.launch.py", *arguments, **env)


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "small.bag", [(m.stamp, "/dvs/events", m) for m in cut(stream())])


def test_every_argument_is_declared_and_described(client):
    process = launch(client, "--show-args")
    assert process.wait() == 0, process.err
    blocks = process.out.split("\n\n")
    told = {block.split("'")[1]: block for block in blocks if block.startswith("    '")}
    assert list(told) == ARGUMENTS
    assert all(len(block.splitlines()[1].strip()) > 10 for block in told.values())
    assert "(default: '/dvs/events')" in told["events_topic"]


def test_a_bag_becomes_images_and_the_launch_ends_with_it(small_weights, bag, tmp_path):
    client = Client(free_domain(), namespace="/cista")
    try:
        params = tmp_path / "mine.yaml"
        params.write_text("/**:\n  ros__parameters:\n    period: 0.02\n    tone_map: stretch\n    idle_timeout: 0.3\n")
        process = launch(
            client,
            f"bag:={bag}",
            f"weights:={small_weights[0]}",
            f"params_file:={params}",
            "exit_on_end:=true",
            "rate:=0.5",
            ROS_LOG_DIR=str(tmp_path),
        )
        expected = offline(small_weights[1], stream(), tone_map="stretch")
        client.until(lambda: len(client.images) == len(expected))
        assert all((pixels(m) == to_mono8(p.shown)).all() for m, p in zip(client.images, expected, strict=True))
        client.until(lambda: process.popen.poll() is not None)
        assert process.wait() == 0, process.out + process.err
        assert "3000 used for 10 images, 0 dropped, 0 pending" in process.out + process.err
    finally:
        client.close()


def test_arguments_reach_the_node(client, small_weights, tmp_path):
    process = launch(
        client,
        f"weights:={small_weights[0]}",
        "device:=cpu",
        "namespace:=robot/eye",
        "events_topic:=/left/events",
        ROS_LOG_DIR=str(tmp_path),
    )
    request = GetParameters.Request(names=["weights", "device", "use_sim_time"])
    answer = client.call(GetParameters, "/robot/eye/cista_reconstruct/get_parameters", request)
    assert [v.string_value for v in answer.values] == [str(small_weights[0]), "cpu", ""]
    client.until(lambda: client.node.count_subscribers("/left/events") == 1)
    client.until(lambda: client.node.count_subscribers("/left/camera_info") == 1)
    client.until(lambda: client.node.count_publishers("/robot/eye/image_raw") == 1)
    assert process.stop() == 0


def test_a_bag_that_cannot_be_played_fails_the_launch(client, small_weights, tmp_path):
    process = launch(
        client, "bag:=/no/such.bag", f"weights:={small_weights[0]}", "exit_on_end:=true", ROS_LOG_DIR=str(tmp_path)
    )
    client.until(lambda: process.popen.poll() is not None)
    assert process.wait() == 1
    said = process.out + process.err
    assert "cista_play: error: /no/such.bag: no such file or folder" in said
    assert "reconstruct-1]: process has finished cleanly" in said
    assert "Traceback" not in said
