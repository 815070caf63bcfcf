"""What users of ROS camera nodes expect: lazy subscription, calibration files, ROS time, a node that is ready early."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from harness import MS, T0, H, W, cut, module, offline, stamp_of, stream
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSReliabilityPolicy

from cista_ros.calibration.solve import Calibration
from cista_ros.calibration.write import camera_info_yaml
from cista_ros.windows import PeriodWindows
from cista_ros.wire import cdr


def test_unknown_parameters_are_reported_with_the_nearest_name_and_integers_are_taken(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", "peroid:=0.1", "period:=1", "x.y:=3")
    assert "Unknown parameter 'peroid': did you mean 'period'?" in process.err
    assert "Unknown parameter 'x.y': see docs" in process.err
    assert process.err.count("Unknown parameter") == 2, "rclpy's own parameters and QoS overrides are known"
    assert all(result.successful for result in client.set(period=2, fps=25, idle_timeout=2))
    events = stream()
    client.send(events)
    client.until(lambda: len(client.images) == 5)
    assert process.stop() == 0


def test_the_network_is_ready_before_the_first_message_where_the_size_is_known(client, small_weights):
    size, ready = (f"sensor_width:={W}", f"sensor_height:={H}"), f"{W}x{H}"
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02", *size, active=False)
    client.counts(lambda c: c["state"] == "active")
    assert f"{ready} pixels: runtime" in process.err
    client.until_ready(process)
    client.send(stream(height=32, width=50), height=32, width=50)
    wrong = client.counts(lambda c: c["wrong_size_messages"] > 0)
    assert f"50x32 pixels; expected {ready}, set by sensor_width" in wrong["last_error"]
    client.send(stream())
    client.expect(offline(small_weights[1], stream()))
    assert process.err.count("pixels: runtime") == 1
    # The size may change while the node runs.
    assert not client.set(sensor_width=8)[0].successful
    assert all(result.successful for result in client.set(sensor_width=50, sensor_height=32))
    assert "50x32 pixels: runtime" in process.err
    assert process.stop() == 0


def test_camera_info_comes_from_a_file_and_the_frame_from_a_parameter(client, small_weights, tmp_path):
    path = tmp_path / "left.yaml"
    matrix, lens = np.array([[200.0, 0, 12], [0, 201, 10], [0, 0, 1]]), np.linspace(-0.2, 0.15, 8)
    solved = Calibration("rational_polynomial", H, W, matrix, lens, np.zeros(12), [], np.zeros((0, 6)), [], 0)
    path.write_text(camera_info_yaml(solved, "left_davis"))  # as cista calibrate does
    process = client.start_node(
        f"weights:={small_weights[0]}", "period:=0.02", f"camera_info_url:=file://{path}", "frame_id:=left"
    )
    client.send(stream())
    client.until(lambda: len(client.infos) == len(client.images) >= 10)
    assert [info.header for info in client.infos] == [image.header for image in client.images]
    info = client.infos[0]
    assert (info.header.frame_id, info.height, info.width) == ("left", H, W)
    assert (info.distortion_model, info.d.tolist()) == ("rational_polynomial", lens.tolist())
    assert (info.k.tolist(), info.r.tolist()) == (matrix.ravel().tolist(), np.eye(3).ravel().tolist())
    assert info.p.tolist() == np.column_stack((matrix, np.zeros(3))).ravel().tolist()
    client.until(lambda: client.statuses)
    assert client.statuses[-1].hardware_id == "left_davis"
    assert client.set(camera_info_url="", frame_id="")[0].successful
    client.statuses.clear()
    client.until(lambda: client.statuses)
    assert client.statuses[-1].hardware_id == "dvs", "the namespace of the camera's topic"
    assert process.stop() == 0


def test_slow_playback_does_not_cut_windows(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.04", "idle_timeout:=0.05")
    expected = offline(small_weights[1], stream(), windower=lambda: PeriodWindows(40 * MS))
    for message in cut(stream(), 20):  # at a rate of 1/20, so that each comes eight times idle_timeout after the last
        client.events.publish(cdr.encode(message))
        due = time.monotonic() + 0.4
        client.until(lambda due=due: time.monotonic() > due)
    client.until(lambda: len(client.images) == len(expected))
    assert [stamp_of(image) for image in client.images] == [frame.stamp for frame in expected]
    assert process.stop() == 0


def test_a_message_of_many_windows_is_not_merged_while_the_network_keeps_up(client, small_weights):
    size = f"sensor_width:={W}", f"sensor_height:={H}"
    process = client.start_node(
        f"weights:={small_weights[0]}", "period:=0.1", "max_latency:=0.01", "max_events:=1000000", *size
    )
    client.send(stream(20_000, 20.0), 20_000)  # 200 windows at once, so the network must take less than 100 ms
    client.until(lambda: len(client.images) > 190)
    counts = client.counts(lambda c: c["pending_events"] == 0)
    assert counts["merged_windows"] == counts["skipped_windows"] == 0
    assert "windows merged" not in process.err
    assert process.stop() == 0


def test_a_frame_id_that_is_not_utf8_costs_no_event_and_is_reported(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02")
    for message in cut(stream(), frame_id="d_s"):
        client.events.publish(cdr.encode(message).replace(b"d_s\0", b"d\xffs\0"))
    client.expect(offline(small_weights[1], stream()))
    assert {image.header.frame_id for image in client.images} == {"d\ufffds"}
    assert process.err.count("is not valid UTF-8") == 1
    assert process.stop() == 0


def test_stamps_far_from_the_headers_are_reported(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02")
    for message in cut(stream(t0=5_000_000_000)):
        client.events.publish(cdr.encode(replace(message, stamp=message.stamp + T0)))
    client.until(lambda: "before their messages: TF and message_filters cannot match" in process.err)
    assert process.stop() == 0


def test_the_qos_of_images_can_be_overridden(client, small_weights):
    override = "qos_overrides./image_raw.publisher.reliability:=best_effort"
    process = client.start_node(f"weights:={small_weights[0]}", override)
    client.until(lambda: client.node.count_publishers("/image_raw"))
    (info,) = client.node.get_publishers_info_by_topic("/image_raw")
    assert info.qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT
    assert process.stop() == 0


@pytest.mark.parametrize("depth", ["2147483648", "-1"])
def test_an_impossible_depth_of_the_images_ends_the_node_with_one_line(client, small_weights, depth):
    override = f"qos_overrides./image_raw.publisher.depth:={depth}"
    process = client.start(*module("reconstruct", "--ros-args", "-p", f"weights:={small_weights[0]}", "-p", override))
    assert process.wait() == 2
    assert f"depth {depth}; expected 0 to 2^31-1" in process.err and "Traceback" not in process.err


def test_a_waiting_parameter_change_does_not_hold_up_messages(client, full_weights, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02")
    client.send(stream())
    client.until(lambda: len(client.images) >= 9)
    before = client.known()["messages"]
    service = client.node.create_client(SetParameters, "/cista_reconstruct/set_parameters")
    client.until(service.service_is_ready)
    change = Parameter("weights", value=str(full_weights)).to_parameter_msg()
    future = service.call_async(SetParameters.Request(parameters=[change]))
    sent = client.send(stream(t0=T0 + 1000 * MS))
    client.counts(lambda c: c["messages"] == before + sent)
    client.until(future.done)
    assert future.result().results[0].successful
    assert process.stop() == 0
