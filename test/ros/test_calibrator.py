"""The node that calibrates, in a real process: images of a board with known geometry in, files and camera_info out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import yaml
from harness import T0, module
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from cista_ros.calibration.targets import parse_target
from cista_ros.simulation.board import BoardScene
from cista_ros.simulation.lens import Lens
from cista_ros.simulation.recording import Drive
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import IMAGE, ImageMessage

TARGET, SIZE = "charuco:7x6:0.03:0.02", (120, 160)
LENS = Lens((150.0, 151.0, 82.0, 58.0))
STEP_NS = 200_000_000  # of the motion; images come twice as often as they are searched


def board_images(count: int):
    """Yield images uint8 (H, W) of the moving target through a lens without distortion."""
    scene = BoardScene(parse_target(TARGET), LENS, SIZE, Drive(80.0), torch.Generator().manual_seed(0))
    picture = scene.target.image(2000)
    from_texels = np.array([[1 / 2000, 0, 0.5 / 2000], [0, 1 / 2000, 0.5 / 2000], [0, 0, 1]])
    for i in range(count):
        view = scene.view(i * STEP_NS)
        plane = LENS.matrix @ np.column_stack((view.rotation[:, :2], view.translation)) @ from_texels
        large = np.diag([4.0, 4.0, 1.0]) @ np.array([[1, 0, 0.375], [0, 1, 0.375], [0, 0, 1]]) @ plane
        size = 4 * SIZE[1], 4 * SIZE[0]
        shown = cv2.warpPerspective(picture, large, size, flags=cv2.INTER_LINEAR, borderValue=128)
        yield cv2.resize(shown, SIZE[::-1], interpolation=cv2.INTER_AREA)


def start(client, output, *options):
    """Start the node; return its process, a publisher of images, and the list of coverage images to come."""
    options = (f"target:={TARGET}", f"output:={output}", "queue:=1000", *options)
    process = client.start(*module("calibrate", "--ros-args", *(w for option in options for w in ("-p", option))))
    images = client.node.create_publisher(Image, "image_raw", 1000)
    coverage = []
    client.node.create_subscription(
        Image, "coverage", lambda data: coverage.append(cdr.decode(IMAGE, data)), 100, raw=True
    )
    client.until(lambda: images.get_subscription_count() == 2)  # this client's, too
    client.until(lambda: client.node.count_publishers("coverage"))
    return process, images, coverage


def send(client, images, coverage, frames, first=0):
    """Publish images, and wait until the last that is due has been searched."""
    coverage.clear()
    for i, frame in enumerate(frames, first):
        images.publish(cdr.encode(ImageMessage(T0 + i * STEP_NS // 4, "cam", "mono8", frame)))
    last = T0 + (first + len(frames) - 2) * STEP_NS // 4  # every second image is searched
    client.until(lambda: coverage and coverage[-1].stamp >= last)


def calibrate(client):
    return client.call(Trigger, "/cista_calibrate/calibrate", Trigger.Request())


def test_views_become_files_and_the_running_node_gets_the_result(client, tmp_path):
    client.start_node()
    process, images, coverage = start(client, tmp_path / "out")
    send(client, images, coverage, list(board_images(40)))
    answer = calibrate(client)
    assert answer.success and "cista_reconstruct is asked to publish it" in answer.message, answer.message
    found = yaml.safe_load((tmp_path / "out" / "camera_info.yaml").read_text())
    fx, fy, cx, cy = np.array(found["camera_matrix"]["data"])[[0, 4, 2, 5]]
    assert (fx, fy) == (pytest.approx(150, rel=0.01), pytest.approx(151, rel=0.01))
    assert (cx, cy) == (pytest.approx(82, abs=1.5), pytest.approx(58, abs=1.5))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"camera_info.yaml", "camchain.yaml", "report.html"}
    request = GetParameters.Request(names=["camera_info_url"])
    url = f"file://{(tmp_path / 'out' / 'camera_info.yaml').resolve()}"
    service = "/cista_reconstruct/get_parameters"
    client.until(lambda: client.call(GetParameters, service, request).values[0].string_value == url)
    shown = [message.image for message in coverage]
    red = [
        float(((image[..., 2] > image[..., 0] + 60) & (image[..., 2] > image[..., 1] + 60)).mean()) for image in shown
    ]
    assert shown[0].shape == (480, 640, 3) and red[0] > red[-1] + 0.05, "the parts without corners become fewer"
    assert process.stop() == 0, process.err


def test_without_views_the_service_says_what_to_do_and_no_camera_is_written(client, tmp_path):
    process, images, coverage = start(client, tmp_path / "out", "node:=''")
    frame = next(frame for frame in board_images(60) if len(parse_target(TARGET).detect(frame).ids))
    send(client, images, coverage, [frame // 2 + np.uint8(i) for i in range(8)])
    images.publish(b"\0\1\0\0 no image")
    assert not (answer := calibrate(client)).success and "different views" in answer.message
    send(client, images, coverage, [np.zeros((60, 80), np.uint8)] * 8, first=20)  # another size
    assert not (answer := calibrate(client)).success and "is in none of the 1 images searched" in answer.message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["not_found.png"], "still images are not searched"
    assert process.stop() == 0 and "Skipped an image" in process.err and "the size of the images changes" in process.err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("target:=chess", "target 'chess'"),
        ("model:=fisheye", "model 'fisheye': expected plumb_bob"),
        ("search_rate:=0.0", "search_rate 0: expected more than 0"),
    ],
)
def test_a_wrong_parameter_ends_the_program_with_one_line(client, wrong, said):
    process = client.start(*module("calibrate", "--ros-args", "-p", f"target:={TARGET}", "-p", wrong))
    assert process.wait() == 2 and f"cista_calibrate: error: {said}" in process.err.splitlines()[-1]
