"""config/sros2_policy.xml allows what the running nodes do, and nothing else; and security that is asked for is had."""

from __future__ import annotations

import sys
from collections import defaultdict
from xml.etree import ElementTree

import pytest
from harness import MS, ROOT, Client, Process, module
from rclpy.utilities import get_rmw_implementation_identifier
from recordings.makers import frames, random_events, write_any
from sensor_msgs.msg import CameraInfo

from cista_ros.node.process import free_domain

POLICY = ROOT / "config" / "sros2_policy.xml"
# A service that every node has since Jazzy; and what the player subscribes to when the bag has ended (here it is played
# again and again), or if it takes time from another player.
SINCE_JAZZY, PLAY_ONCE = "~/get_type_description", ("/diagnostics", "/clock")
RUNNING = {
    "cista_reconstruct": ("/cista", "reconstruct"),
    "cista_play": ("/", "play"),
    "cista_record": ("/cista", "record"),
    "cista_calibrate": ("/cista", "calibrate"),
}


def expanded(name: str, namespace: str, node: str) -> str:
    """A name as ROS resolves it."""
    below = namespace.rstrip("/")
    if name.startswith("~"):
        return f"{below}/{node}{name[1:]}"
    return name if name.startswith("/") else f"{below}/{name}"


def allowed(enclave: str) -> tuple[str, str, dict[str, set[str]]]:
    """(namespace, node, what it may publish, subscribe, reply and request)."""
    (profile,) = ElementTree.parse(POLICY).findall(f".//enclave[@path='/cista/{enclave}']//profile")
    namespace, node = profile.get("ns"), profile.get("node")
    rights = defaultdict(set)
    for part in profile:
        (right,) = part.attrib
        assert part.get(right) == "ALLOW"
        rights[right] |= {expanded(e.text, namespace, node) for e in part}
    return namespace, node, rights


def used(client: Client, node: str, namespace: str) -> dict[str, set[str]]:
    """What a running node publishes and so on."""
    ask = {
        "publish": client.node.get_publisher_names_and_types_by_node,
        "subscribe": client.node.get_subscriber_names_and_types_by_node,
        "reply": client.node.get_service_names_and_types_by_node,
        "request": client.node.get_client_names_and_types_by_node,
    }
    return {right: {name for name, _ in get(node, namespace)} for right, get in ask.items()}


@pytest.fixture(scope="module")
def running(small_weights, tmp_path_factory):
    """A client, with all processes running as the launch file has them, and something for `sync`."""
    client = Client(free_domain(), "/cista")
    folder = tmp_path_factory.mktemp("policy")
    camera = ("-r", "events:=/dvs/events", "-r", "events/camera_info:=/dvs/camera_info")
    client.node.create_publisher(CameraInfo, "/cista/sync", 1)
    parameters = (f"weights:={small_weights[0]}", "windows:=sync", "use_sim_time:=true")
    options = [word for assignment in parameters for word in ("-p", assignment)]
    client.start(*module("reconstruct", "--ros-args", "-r", "__ns:=/cista", *camera, *options))
    client.start(
        *module("record", "-o", folder / "out", "--ros-args", "-r", "__ns:=/cista", *camera[:2], *options[-2:])
    )
    board = ("-p", "target:=checkerboard:9x6:0.03")
    client.start(*module("calibrate", "--ros-args", "-r", "__ns:=/cista", *options[-2:], *board))
    bag = write_any(folder, "sqlite3", random_events(2000, duration=900 * MS), frames(3))
    client.start(*module("play", bag, "--loop", "--clock", "--wait-for-images"))
    yield client
    client.close()


@pytest.mark.parametrize("node", RUNNING)
def test_the_policy_is_what_a_running_node_uses(running, node):
    namespace, enclave = RUNNING[node]
    stated_namespace, stated_node, rights = allowed(enclave)
    assert (stated_namespace, stated_node) == (namespace, node)
    running.until(lambda: (node, namespace) in running.node.get_node_names_and_namespaces())
    optional = {expanded(SINCE_JAZZY, namespace, node), *(PLAY_ONCE if node == "cista_play" else ())}

    def same() -> bool:
        now = used(running, node, namespace)
        return all(now[right] <= rights[right] and rights[right] - optional <= now[right] for right in now)

    try:
        running.until(same)
    except AssertionError:
        # Which of them it is, and not only that it never happened.
        for right, names in used(running, node, namespace).items():
            assert names == rights[right], right
        raise


def test_every_enclave_has_a_process():
    paths = {e.get("path") for e in ElementTree.parse(POLICY).iter("enclave")}
    assert paths == {f"/cista/{enclave}" for _, enclave in RUNNING.values()}


NODE = "import rclpy; rclpy.init(); rclpy.create_node('x'); print('it runs')"


@pytest.mark.skipif("fastrtps" not in get_rmw_implementation_identifier(), reason="needs the middleware Fast DDS")
@pytest.mark.parametrize("strategy", ["Enforce", "Permissive"])
def test_a_process_without_keys_does_not_start_where_security_is_on(tmp_path, strategy):
    """Also where Fast DDS was built without security, as PyPI's wheels are: nothing runs unprotected unnoticed."""
    (tmp_path / "enclaves").mkdir()
    process = Process(
        ["-c", NODE],
        free_domain(),
        ROS_SECURITY_ENABLE="true",
        ROS_SECURITY_STRATEGY=strategy,
        ROS_SECURITY_KEYSTORE=str(tmp_path),
    )
    if strategy == "Permissive" and process.wait() == 0:
        pytest.skip("this Fast DDS has security, and Permissive then means that keys may be missing")
    assert process.wait() != 0 and "it runs" not in process.out
    assert "security" in process.err.lower(), (sys.version, process.err)
