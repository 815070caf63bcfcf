"""`cista calibrate` on small simulated recordings: from true camera frames, and from events."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from recordings.makers import write_bag
from rosbags import rosbag1
from rosbags.typesys import Stores, get_typestore

from cista_ros.calibration.targets import parse_target
from cista_ros.calibration.write import kalibr_bag
from cista_ros.events import EVENT_DTYPE, NS
from cista_ros.recordings import open_recording
from cista_ros.recordings.write import write_recording
from cista_ros.simulation.board import BoardScene
from cista_ros.simulation.lens import Lens
from cista_ros.simulation.recording import START_NS, Drive, Frame, record, write_frame
from cista_ros.simulation.scene import SceneConfig
from cista_ros.simulation.sequences import SimulationConfig
from cista_ros.wire.ros_types import EventMessage, ImageMessage

TARGET = "aprilgrid:3x2:0.08:0.3"
LENS = Lens((120.0, 121.0, 78.0, 62.0), "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))
SIZE = (120, 160)
FRAMES = 40


def scene(speed=150.0):
    return BoardScene(parse_target(TARGET), LENS, SIZE, Drive(speed), torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def frames_bag(tmp_path_factory):
    """A bag with sharp camera frames of a board, 10 per second, and a few events."""
    path = tmp_path_factory.mktemp("calibration") / "frames.bag"
    shown, config = scene(), SceneConfig()
    with write_recording(path, "ros1") as writer:
        for step in shown.steps(config, FRAMES / 10, 10):
            events = np.zeros(1, EVENT_DTYPE)
            events["t"] = step.stamps[-1]
            write_frame(writer, Frame(int(step.stamps[-1]), step.images[-1].numpy(), events))
    return path


@pytest.fixture
def calibrate(cista):
    return partial(cista, "calibrate")


def error_of(done) -> str:
    """Return the one line of error of a call that exits with code 2."""
    (error,) = [line for line in done.err.splitlines() if line.startswith("cista: error: ")]
    assert done.code == 2
    return error


def test_writes_the_camera_of_true_frames_for_ros_and_kalibr(frames_bag, tmp_path, calibrate):
    out = tmp_path / "out"
    options = ("--target", TARGET, "--source", "frames", "-o", out, "--camera-name", "left", "--json")
    done = calibrate(frames_bag, *options)
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    fx, fy, cx, cy = LENS.intrinsics
    assert summary["fx"] == pytest.approx(fx, rel=0.005)
    assert summary["fy"] == pytest.approx(fy, rel=0.005)
    assert abs(summary["cx"] - cx) < 1.5
    assert abs(summary["cy"] - cy) < 1.5
    assert summary["rms"] < 0.3
    assert summary["found"] > 0.6 * FRAMES

    info = yaml.safe_load((out / "camera_info.yaml").read_text())
    assert (info["image_width"], info["image_height"], info["camera_name"]) == (160, 120, "left")
    assert info["distortion_model"] == "plumb_bob"
    assert info["camera_matrix"]["data"] == [summary["fx"], 0, summary["cx"], 0, summary["fy"], summary["cy"], 0, 0, 1]
    assert len(info["distortion_coefficients"]["data"]) == 5
    assert info["projection_matrix"]["rows"] == 3
    chain = yaml.safe_load((out / "camchain.yaml").read_text())["cam0"]
    assert chain["intrinsics"] == [summary[name] for name in ("fx", "fy", "cx", "cy")]
    assert chain["distortion_coeffs"] == [summary[name] for name in ("k1", "k2", "p1", "p2")]
    assert (chain["camera_model"], chain["distortion_model"], chain["resolution"]) == ("pinhole", "radtan", [160, 120])
    report = (out / "report.html").read_text()
    assert f"{summary['rms']:.3f} px" in report
    assert "http" not in report.replace("http://www.w3.org", "")  # self-contained
    assert all(text in report for text in summary["missing"])


def test_calibrates_from_events_and_writes_a_bag_for_kalibr(tmp_path, calibrate):
    recording, out, handed = tmp_path / "events.bag", tmp_path / "out", tmp_path / "kalibr.bag"
    generator = torch.Generator().manual_seed(0)
    config = SimulationConfig()
    with write_recording(recording, "ros1") as writer:
        for frame in record(scene().steps(config.scene, 1.5, 10), config, generator):
            write_frame(writer, frame)
    add_imu(recording, count=50)
    options = ("--target", TARGET, "-o", out, "--kalibr-bag", handed, "--at-frames", "--json")
    done = calibrate(recording, *options)
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    # A second is too short for an accurate calibration; this is about the way from events to a camera.
    assert summary["fx"] == pytest.approx(LENS.intrinsics[0], rel=0.05)
    assert summary["rms"] < 0.5
    assert summary["searched"] > 8
    with rosbag1.Reader(handed) as bag:
        counts = {topic: info.msgcount for topic, info in bag.topics.items()}
        stamps = [time for _, time, _ in bag.messages([c for c in bag.connections if c.topic == "/cam0/image_raw"])]
        raw = next(raw for c, _, raw in bag.messages() if c.topic == "/imu0")
    assert counts == {"/cam0/image_raw": 15, "/cam1/image_raw": 16, "/imu0": 50}
    assert stamps[0] == START_NS + NS // 10
    imu = get_typestore(Stores.ROS1_NOETIC).deserialize_ros1(raw, "sensor_msgs/msg/Imu")
    assert imu.linear_acceleration.z == 9.81


def add_imu(path, count):
    """Add IMU messages to a bag, by copying it."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types, kind = store.types, "sensor_msgs/msg/Imu"
    vector, turn = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"](0, 0, 0, 1)
    copied = path.rename(path.with_name("copied.bag"))
    with rosbag1.Reader(copied) as source, rosbag1.Writer(path) as bag:
        connections = {
            c.id: bag.add_connection(c.topic, c.msgtype, msgdef=c.msgdef.data, md5sum=c.digest)
            for c in source.connections
        }
        for connection, time, raw in source.messages():
            bag.write(connections[connection.id], time, raw)
        imu = bag.add_connection("/dvs/imu", kind, typestore=store)
        for i in range(count):
            stamp = START_NS + i * 10**7
            header = types["std_msgs/msg/Header"](0, types["builtin_interfaces/msg/Time"](*divmod(stamp, NS)), "imu")
            zeros = np.zeros(9)
            message = types[kind](header, turn, zeros, vector(0.0, 0.0, 0.0), zeros, vector(0.0, 0.0, 9.81), zeros)
            bag.write(imu, stamp, store.serialize_ros1(message, kind))


def test_names_what_is_wrong_and_leaves_no_files(frames_bag, tmp_path, calibrate):
    out = tmp_path / "out"

    def failed(target, *options, recording=frames_bag):
        said = error_of(calibrate(recording, "--target", target, "-o", out, "--source", "frames", *options))
        assert not (out / "camera_info.yaml").exists()
        return said

    kalibr = tmp_path / "k.bag"
    assert f"{TARGET} fits" in failed("aprilgrid:4x3:0.08:0.3", "--end", "1", "--kalibr-bag", kalibr)
    assert not kalibr.exists()
    assert "none of the 3 images" in failed("checkerboard:7x5:0.05", "--end", "0.25")
    assert (out / "not_found.png").stat().st_size > 1000
    assert "views of" in failed(TARGET, "--end", "0.3")
    blind = tmp_path / "blind.bag"
    with open_recording(frames_bag) as source, write_recording(blind, "ros1") as writer:
        for recorded in source.read(frames=False, camera_info=False):
            writer.write(recorded.received, recorded.message)
    assert "blind.bag: no camera frames; expected some with --at-frames" in failed(TARGET, recording=blind)
    assert "no such file" in failed(str(tmp_path / "missing.yaml"))
    assert list(tmp_path.glob(".k.bag*")) == []


def test_imu_messages_that_cannot_be_read_are_a_note(tmp_path):
    write_bag(tmp_path / "in.bag", [(1, "/imu", ("sensor_msgs/msg/Imu", b"\1\2"))])
    with kalibr_bag(tmp_path / "k.bag") as bag:
        bag.write_image("/cam0/image_raw", 1, np.zeros((4, 4), np.uint8))
        assert "no IMU messages" in bag.copy_imu(tmp_path / "in.bag")
        assert "no IMU messages" in bag.copy_imu(tmp_path / "none.bag")
    with rosbag1.Reader(tmp_path / "k.bag") as bag:
        assert list(bag.topics) == ["/cam0/image_raw"]


def test_names_a_change_of_size(frames_bag, tmp_path, calibrate):
    changed = tmp_path / "changed.bag"
    with open_recording(frames_bag) as source, write_recording(changed, "ros1") as writer:
        for i, recorded in enumerate(source.read()):
            message = recorded.message
            if isinstance(message, ImageMessage) and i > 60:
                message = replace(message, image=message.image[:-2])
            if isinstance(message, EventMessage | ImageMessage):
                writer.write(recorded.received, message)
    options = ("--target", TARGET, "-o", tmp_path / "out", "--source", "frames")
    said = error_of(calibrate(changed, *options))
    assert "changes from 160x120 to 160x118" in said
