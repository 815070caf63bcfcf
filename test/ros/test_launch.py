"""`ros2 launch cista_ros reconstruct.launch.py` for real, where launch, launch_ros and ros2cli are installed."""

from __future__ import annotations

import os
import re
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from dvs_msgs.msg import EventArray
from harness import MS, Client, H, W, cut, offline, pixels, stream, values
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from recordings.makers import write_bag
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from cista_ros.node.process import free_domain
from cista_ros.tone_map import to_mono8
from cista_ros.windows import PeriodWindows


def importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def has_viewer() -> bool:
    try:
        return bool(get_package_prefix("rqt_image_view"))
    except PackageNotFoundError:
        return False


HAS_VIEWER = has_viewer()
# Not "launch": this repository's folder of that name would do.
MISSING = [name for name in ("launch.actions", "launch_ros.actions", "ros2launch.command") if not importable(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (not on PyPI)")
# It ends when these tests are killed, as the programs of the package do.
LAUNCH = (
    "-c",
    "import sys; from cista_ros.node.process import end_with_parent; end_with_parent()\n"
    "from ros2cli.cli import main; sys.exit(main())",
)
ARGUMENTS = [
    "bag",
    "exit_on_end",
    "bag_topic",
    "events_topic",
    "sync_topic",
    "namespace",
    "frame_id",
    "camera_info_url",
]
ARGUMENTS += [
    "clock",
    "view",
    "rate",
    "loop",
    "params_file",
    "weights",
    "device",
    "fps",
    "autostart",
    "lazy",
    "use_sim_time",
]
ARGUMENTS += ["large_messages"]


def launch(client, *arguments: str, file: str = "reconstruct.launch.py", **env: str):
    return client.start(*LAUNCH, "launch", "cista_ros", file, *arguments, **env)


def children(process) -> dict[str, int]:
    """Return the process ids of what a launch started, by name."""
    found = re.findall(r"\[(\w+)-\d+\]: process started with pid \[(\d+)\]", process.out + process.err)
    return {name: int(pid) for name, pid in found}


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "small.bag", [(m.stamp, "/dvs/events", m) for m in cut(stream())])


@pytest.fixture
def stereo_bag(tmp_path):
    """A recording of two events topics, of 3000 and 1000 events."""
    topics = {"/left/events": 3000, "/right/events": 1000}
    messages = [(m.stamp, topic, m) for topic, n in topics.items() for m in cut(stream(n))]
    return write_bag(tmp_path / "stereo.bag", sorted(messages, key=lambda item: item[0]))


@pytest.fixture
def cista_client():
    """A client that receives the images of a launch."""
    client = Client(free_domain(), namespace="/cista")
    yield client
    client.close()


def test_every_argument_is_declared_and_described(client):
    process = launch(client, "--show-args")
    assert process.wait() == 0, process.err
    blocks = process.out.split("\n\n")
    shown = {block.split("'")[1]: block for block in blocks if block.startswith("    '")}
    assert list(shown) == ARGUMENTS
    assert all(len(block.splitlines()[1].strip()) > 10 for block in shown.values())


@pytest.mark.parametrize("topic", ["/dvs/events", "/event_camera/events"])
def test_a_bag_becomes_images_also_with_other_subscribers_and_the_launch_ends(
    cista_client, small_weights, tmp_path, topic
):
    client = cista_client
    bag = write_bag(tmp_path / "small.bag", [(m.stamp, topic, m) for m in cut(stream())])
    # Connected before the node is.
    heard = []
    client.node.create_subscription(EventArray, topic, heard.append, 1000, raw=True)
    params = tmp_path / "mine.yaml"
    params.write_text("/**:\n  ros__parameters:\n    period: 0.02\n    tone_map: stretch\n")
    process = launch(
        client,
        f"bag:={bag}",
        f"weights:={small_weights[0]}",
        f"params_file:={params}",
        "lazy:=true",  # the node is then connected to this client before it takes events
        "exit_on_end:=True",
        "rate:=0.5",
    )
    expected = offline(small_weights[1], stream(), tone_map="stretch")
    client.until(lambda: process.popen.poll() is not None)
    client.until(lambda: len(client.images) == len(expected) and len(heard) == 20)
    assert all((pixels(m) == to_mono8(p.shown)).all() for m, p in zip(client.images, expected, strict=True))
    assert process.wait() == 0, process.out + process.err
    assert "3000 used for 10 images, 0 dropped, 0 pending" in process.out + process.err


def test_a_window_longer_than_the_playback_becomes_an_image_before_the_launch_ends(cista_client, small_weights, bag):
    process = launch(
        cista_client, f"bag:={bag}", f"weights:={small_weights[0]}", "fps:=2", "exit_on_end:=1", "rate:=0.5"
    )
    cista_client.until(lambda: process.popen.poll() is not None)
    assert process.wait() == 0, process.out + process.err
    assert "3000 used for 1 images, 0 dropped, 0 pending" in process.out + process.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bag:=/no/such.bag"], "/no/such.bag: no such file or folder"),
        (["params_file:=/no/such.yaml"], "params_file: cannot read /no/such.yaml"),
        (["use_sim_time:=maybe"], "use_sim_time: 'maybe' is not a boolean"),
        (["rate:=0"], "rate: '0' is not a positive number"),
        (["bag:=STEREO"], "several topics have events: /left/events, /right/events; choose one with bag_topic"),
        (["bag:=BAG", "bag_topic:=/none"], "no topic /none (bag_topic)"),
        (["bag:=BAG", "loop:=true", "exit_on_end:=true"], "exit_on_end: there is no end with loop:=true"),
        (["exit_on_end:=true"], "exit_on_end: there is no end without bag:=FILE"),
        pytest.param(
            ["bag:=BAG", "view:=true"],
            "package 'rqt_image_view' not found",
            marks=pytest.mark.skipif(HAS_VIEWER, reason="rqt_image_view is installed"),
        ),
    ],
)
def test_bad_arguments_end_the_launch_before_a_process_starts(client, bag, stereo_bag, arguments, text):
    files = {"bag:=BAG": f"bag:={bag}", "bag:=STEREO": f"bag:={stereo_bag}"}
    process = launch(client, *(files.get(argument, argument) for argument in arguments))
    assert process.wait() == 1
    assert text in process.out + process.err
    assert not children(process)
    assert "Traceback" not in process.out + process.err


@pytest.mark.parametrize("with_bag", [False, True])
def test_a_node_that_fails_ends_everything_with_exit_code_1(client, bag, with_bag):
    process = launch(client, "weights:=/no/such.safetensors", *([f"bag:={bag}"] if with_bag else []))
    assert process.wait() == 1
    assert "the node failed: exit code 2" in process.out + process.err
    assert children(process) and not any(map(is_running, children(process).values()))


def test_a_player_that_dies_ends_everything_with_exit_code_1(client, small_weights, bag):
    process = launch(client, f"bag:={bag}", f"weights:={small_weights[0]}", "autostart:=false")
    client.until(lambda: "Waiting for an active reconstruction node" in process.out + process.err)
    os.kill(children(process)["play"], signal.SIGKILL)
    assert process.wait() == 1
    assert "the player failed: exit code -9" in process.out + process.err
    assert len(children(process)) == 2 and not any(map(is_running, children(process).values()))


def test_nothing_outlives_a_launch_that_is_killed(client, small_weights, bag):
    process = launch(client, f"bag:={bag}", f"weights:={small_weights[0]}", "autostart:=false")
    client.until(lambda: "Waiting for an active reconstruction node" in process.out + process.err)
    process.stop(signal.SIGKILL)
    started = children(process)
    assert len(started) == 2
    client.until(lambda: not any(map(is_running, started.values())))


def test_large_messages_sets_the_profile_of_the_middleware(client, small_weights):
    process = launch(client, f"weights:={small_weights[0]}", "large_messages:=true")
    client.until(lambda: client.node.count_publishers("/cista/image_raw"))
    environment = Path(f"/proc/{children(process)['reconstruct']}/environ").read_text().split("\0")
    profile = f"{get_package_share_directory('cista_ros')}/config/fastdds_large_messages.xml"
    assert f"FASTDDS_DEFAULT_PROFILES_FILE={profile}" in environment
    assert process.stop() == 0


def parameters(client, node: str, *names: str) -> list:
    answer = client.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=list(names)))
    return [parameter_value_to_python(value) for value in answer.values]


def test_arguments_reach_the_node(client, small_weights):
    process = launch(
        client,
        f"weights:={small_weights[0]}",
        "device:=cpu",
        "namespace:=robot/eye",
        "events_topic:=/left/events",
        "fps:=50",
        "frame_id:=eye",
        "lazy:=False",
        "use_sim_time:=1",
    )
    names = ["weights", "device", "fps", "frame_id", "lazy", "use_sim_time"]
    values = [str(small_weights[0]), "cpu", 50.0, "eye", False, True]
    assert parameters(client, "/robot/eye/cista_reconstruct", *names) == values
    # Its type is that of its publishers.
    client.node.create_publisher(EventArray, "/left/events", 10)
    client.until(lambda: client.node.count_subscribers("/left/events") == 1)
    client.until(lambda: client.node.count_subscribers("/left/camera_info") == 1)
    client.until(lambda: client.node.count_publishers("/robot/eye/image_raw") == 1)
    assert process.stop() == 0


def test_without_a_recording_the_topic_is_that_of_drivers_and_the_node_is_as_its_file_says(client, small_weights):
    process = launch(client, f"weights:={small_weights[0]}")
    assert parameters(client, "/cista/cista_reconstruct", "lazy", "sensor_width") == [True, 0]
    image = client.node.create_subscription(Image, "/cista/image_raw", client.images.append, 10)
    client.node.create_publisher(EventArray, "/event_camera/events", 10)
    client.until(lambda: client.node.count_subscribers("/event_camera/events") == 1)
    client.node.destroy_subscription(image)
    assert process.stop() == 0


def test_arguments_override_the_file_and_the_file_the_defaults(client, small_weights, bag, tmp_path):
    params = tmp_path / "mine.yaml"
    params.write_text("/**:\n  ros__parameters: {weights: none, fps: 5.0, idle_timeout: 2.0}\n")
    process = launch(client, f"bag:={bag}", f"params_file:={params}", f"weights:={small_weights[0]}")
    names = ["weights", "fps", "idle_timeout", "max_latency"]
    assert parameters(client, "/cista/cista_reconstruct", *names) == [str(small_weights[0]), 5.0, 2.0, 0.0]
    assert process.stop() == 0


def test_with_a_recording_the_node_knows_the_sensor_and_is_not_lazy(client, small_weights, bag):
    process = launch(client, f"weights:={small_weights[0]}", f"bag:={bag}")
    names = ["lazy", "sensor_width", "sensor_height", "max_latency"]
    assert parameters(client, "/cista/cista_reconstruct", *names) == [False, W, H, 0.0]
    client.until(lambda: "[play-2]: process has finished cleanly" in process.out + process.err)
    assert process.stop() == 0


def test_a_relative_topic_has_its_camera_info_beside_it(client, small_weights, tmp_path):
    weights = f"weights:={small_weights[0]}"
    one = launch(client, weights, "lazy:=false", "namespace:=robot", "events_topic:=events")
    two = launch(client, weights, "lazy:=false", "cameras:=left=stream", file="cameras.launch.py")
    for topic, info in (("/robot/events", "/robot/camera_info"), ("/left/stream", "/left/camera_info")):
        client.node.create_publisher(EventArray, topic, 10)
        client.until(lambda topic=topic: client.node.count_subscribers(topic) == 1)
        client.until(lambda info=info: client.node.count_subscribers(info) == 1)
    assert one.stop() == two.stop() == 0


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
        "/**:\n  ros__parameters:\n    period: 0.02\n"
        "/right/cista/cista_reconstruct:\n  ros__parameters:\n    period: 0.05\n"
    )
    process = launch(
        client,
        "cameras:=left,right=/prophesee/stream",
        "lazy:=true",
        f"bags:={','.join(bags)}",
        f"weights:={small_weights[0]}",
        f"params_file:={params}",
        file="cameras.launch.py",
    )
    for name, period in (("left", 20), ("right", 50)):
        height, width = sizes[name]
        events = stream(height=height, width=width)
        expected = offline(small_weights[1], events, height, width, lambda period=period: PeriodWindows(period * MS))
        client.until(lambda name=name, expected=expected: len(seen[name]) == len(expected))
        assert all((pixels(m) == to_mono8(p.shown)).all() for m, p in zip(seen[name], expected, strict=True))
        assert {(m.height, m.width) for m in seen[name]} == {(height, width)}
    assert client.node.count_publishers("/prophesee/stream") <= 1 and not client.node.count_publishers("/right/events")
    names = {f"/{name}/cista/cista_reconstruct: reconstruction" for name in sizes}
    client.statuses.clear()
    client.until(lambda: names <= {s.name for s in client.statuses if values(s)["used_events"] == 3000})
    assert process.stop() == 0


def test_two_cameras_of_one_recording_each_have_their_topic(client, small_weights, stereo_bag):
    arguments = "cameras:=left,right", f"bags:={stereo_bag},{stereo_bag}", f"weights:={small_weights[0]}"
    process = launch(client, *arguments, "lazy:=false", file="cameras.launch.py")
    used = {"left": 3000, "right": 1000}
    reports = {(f"/{name}/cista/cista_reconstruct: reconstruction", n) for name, n in used.items()}
    client.until(lambda: reports <= {(s.name, values(s)["used_events"]) for s in client.statuses})
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["cameras:=a,a"], "cameras: 'a' is given twice"),
        (["cameras:=a/"], "cameras: 'a/' is not a namespace"),
        (["cameras:=a,b", "bags:=x.bag"], "bags: 1 for 2 cameras"),
        (["cameras:=a,b", "bags:=BAG,/no/such.bag"], "/no/such.bag: no such file or folder"),
        ([], "missing required argument 'cameras'"),
    ],
)
def test_bad_cameras_end_the_launch_before_a_process_starts(client, bag, arguments, text):
    process = launch(client, *(a.replace("BAG", str(bag)) for a in arguments), file="cameras.launch.py")
    assert process.wait() == 1
    assert not children(process)
    assert text in process.out + process.err


def test_live_calibration_starts_the_node_and_the_calibrator_and_a_wrong_target_ends_it(client, small_weights):
    process = launch(
        client, "target:=charuco:6x5:0.03:0.02", f"weights:={small_weights[0]}", file="calibrate.launch.py"
    )
    answer = client.call(Trigger, "/cista/cista_calibrate/calibrate", Trigger.Request())
    assert not answer.success and "no image to search" in answer.message
    client.until(lambda: client.node.count_subscribers("/cista/image_raw"))
    assert parameters(client, "/cista/cista_reconstruct", "fps") == [20.0]
    assert {"calibrate", "reconstruct"} <= children(process).keys() and process.stop() == 0, process.err
    wrong = launch(client, "target:=chess", f"weights:={small_weights[0]}", file="calibrate.launch.py")
    assert wrong.wait() == 1 and "target 'chess'" in wrong.out + wrong.err
