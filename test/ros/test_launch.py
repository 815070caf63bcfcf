"""`ros2 launch cista_ros reconstruct.launch.py` for real, where launch, launch_ros and ros2cli are installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from dvs_msgs.msg import EventArray
from harness import MS, Client, cut, offline, pixels, stream, values
from rcl_interfaces.srv import GetParameters
from recordings.makers import write_bag
from sensor_msgs.msg import Image

from cista_ros.node.process import free_domain
from cista_ros.tone_map import to_mono8
from cista_ros.windows import PeriodWindows


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


def launch(client, *arguments: str, file: str = "reconstruct.launch.py", **env: str):
    return client.start(*LAUNCH, "launch", "cista_ros", file, *arguments, **env)


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
        params.write_text(
            "/**:\n  ros__parameters:\n    period: 0.02\n    tone_map: stretch\n    idle_timeout: 0.3\n"
            "    max_queued_windows: 1000\n"
        )
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
    # Whose type is that of its publishers.
    client.node.create_publisher(EventArray, "/left/events", 10)
    client.until(lambda: client.node.count_subscribers("/left/events") == 1)
    client.until(lambda: client.node.count_subscribers("/left/camera_info") == 1)
    client.until(lambda: client.node.count_publishers("/robot/eye/image_raw") == 1)
    assert process.stop() == 0


def test_a_relative_topic_has_its_camera_info_beside_it(client, small_weights, tmp_path):
    weights = f"weights:={small_weights[0]}"
    one = launch(client, weights, "namespace:=robot", "events_topic:=events", ROS_LOG_DIR=str(tmp_path))
    two = launch(client, weights, "cameras:=left=stream", file="cameras.launch.py", ROS_LOG_DIR=str(tmp_path))
    for topic, info in (("/robot/events", "/robot/camera_info"), ("/left/stream", "/left/camera_info")):
        client.node.create_publisher(EventArray, topic, 10)
        client.until(lambda topic=topic: client.node.count_subscribers(topic) == 1)
        client.until(lambda info=info: client.node.count_subscribers(info) == 1)
    assert one.stop() == two.stop() == 0


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


def test_two_cameras_of_two_sizes_each_have_their_own_images_and_diagnostics(client, small_weights, tmp_path):
    sizes = {"left": (260, 346), "right": (480, 640)}  # of a DAVIS346 and a Prophesee
    bags, seen = [], {}
    for name, (height, width) in sizes.items():
        messages = cut(stream(height=height, width=width), height=height, width=width)
        bags.append(str(write_bag(tmp_path / f"{name}.bag", [(m.stamp, "/dvs/events", m) for m in messages])))
        seen[name] = []
        client.node.create_subscription(Image, f"/{name}/cista/image_raw", seen[name].append, 100)
    params = tmp_path / "mine.yaml"
    # The second camera's node has a period of its own.
    params.write_text(
        "/**:\n  ros__parameters:\n    period: 0.02\n    max_queued_windows: 1000\n    idle_timeout: 2.0\n"
        "/right/cista/cista_reconstruct:\n  ros__parameters:\n    period: 0.05\n"
    )
    process = launch(
        client,
        "cameras:=left,right=/prophesee/stream",
        f"bags:={','.join(bags)}",
        f"weights:={small_weights[0]}",
        f"params_file:={params}",
        file="cameras.launch.py",
        ROS_LOG_DIR=str(tmp_path),
    )
    for name, period in (("left", 20), ("right", 50)):
        height, width = sizes[name]
        events = stream(height=height, width=width)
        expected = offline(small_weights[1], events, height, width, lambda period=period: PeriodWindows(period * MS))
        client.until(lambda name=name, expected=expected: len(seen[name]) == len(expected))
        assert all((pixels(m) == to_mono8(p.shown)).all() for m, p in zip(seen[name], expected, strict=True))
        assert {(m.height, m.width) for m in seen[name]} == {(height, width)}
    assert client.node.count_publishers("/prophesee/stream") <= 1 and not client.node.count_publishers("/right/events")
    told = {f"/{name}/cista/cista_reconstruct: reconstruction" for name in sizes}
    client.statuses.clear()
    client.until(lambda: told <= {s.name for s in client.statuses if values(s)["used_events"] == 3000})
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["cameras:=a,a"], "cameras: 'a' is there twice"),
        (["cameras:=a/"], "cameras: 'a/' cannot be a namespace"),
        (["cameras:=a,b", "bags:=x.bag"], "bags: 1 for 2 cameras"),
        ([], "missing required argument 'cameras'"),
    ],
)
def test_cameras_that_cannot_be_fail_the_launch_with_the_reason(client, tmp_path, arguments, text):
    process = launch(client, *arguments, file="cameras.launch.py", ROS_LOG_DIR=str(tmp_path))
    assert process.wait() == 1
    assert text in process.out + process.err
