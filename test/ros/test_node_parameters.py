"""The parameters of the node: described, changed at run time, rejected with a reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch
from harness import MS, ROOT, Process, cut, module, offline, pixels, save_random, stream
from rcl_interfaces.srv import DescribeParameters, GetParameters

from cista_ros.node.parameters import Settings
from cista_ros.node.process import free_domain
from cista_ros.windows import PeriodWindows
from cista_ros.wire import cdr

NAME = "/cista_reconstruct"
PARAMETERS = [item.name for item in fields(Settings)]


def test_every_parameter_has_a_description_and_numbers_have_a_range(node):
    client, _ = node
    request = DescribeParameters.Request(names=PARAMETERS)
    descriptors = client.call(DescribeParameters, f"{NAME}/describe_parameters", request).descriptors
    assert [d.name for d in descriptors] == PARAMETERS
    for d in descriptors:
        assert len(d.description) > 20
        assert (d.type == 2) == bool(d.integer_range)
        assert (d.type == 3) == bool(d.floating_point_range)
    choices = {d.name: d.additional_constraints for d in descriptors if d.additional_constraints}
    assert choices["tone_map"] == "one of none, natural, stretch, robust, equalise, clahe"
    chosen = {
        "events_type",
        "event_time",
        "windows",
        "noise_filter",
        "tone_map",
        "encoding",
        "compression",
        "overload_policy",
        "trigger_edge",
    }
    assert set(choices) == {*chosen, "runtime", "precision"}
    period = next(d for d in descriptors if d.name == "period").floating_point_range[0]
    assert (period.from_value, period.to_value) == (0.0005, 10)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"tone_map": "none"}, {"tone_map": "none"}),
        ({"period": 0.04}, {"windower": lambda: PeriodWindows(40 * MS)}),
        ({"max_events": 60}, {"max_events": 60}),
        ({"clip_hot_pixels": True}, {"clip_hot_pixels": True}),
    ],
    ids=lambda value: "-".join(value),
)
def test_a_change_holds_from_then_on(node, small_weights, change, options):
    client, _ = node
    events = stream()
    events["x"][::3] = events["y"][::3] = 5  # a hot pixel
    client.send(events)
    client.until(lambda: len(client.images) == 10)
    client.images.clear()
    assert [r.successful for r in client.set(**change)] == [True]
    # Time jumps back: the second pass begins with no memory of the first.
    client.send(events)
    expected = offline(small_weights[1], events, **options)
    client.expect(expected)
    before = offline(small_weights[1], events)
    assert len(before) != len(expected) or any(
        not np.array_equal(a.shown, b.shown) for a, b in zip(before, expected, strict=True)
    )


def test_other_weights_begin_a_new_stream_and_lose_no_event(node, small_weights, tmp_path):
    path, other = save_random(tmp_path / "other.safetensors", channels=12, iterations=1, bins=3)
    client, _ = node
    messages = cut(stream())
    before = client.known()
    for message in messages[:11]:
        client.events.publish(cdr.encode(message))
    client.counts(lambda c: c["messages"] == before["messages"] + 11)
    assert [r.successful for r in client.set(weights=str(path))] == [True]
    for message in messages[11:]:
        client.events.publish(cdr.encode(message))
    first, second = (np.concatenate([m.events for m in part]) for part in (messages[:11], messages[11:]))
    expected = offline(small_weights[1], first) + offline(other, second)
    client.expect(expected)
    after = client.counts(lambda counts: counts["pending_events"] == 0 and counts["images"] > before["images"])
    assert after["used_events"] - before["used_events"] == len(stream())
    assert after["weights"] == str(path)


REFUSED = {
    "choice": (
        {"tone_map": "sepia"},
        "tone_map is 'sepia'; expected one of none, natural, stretch, robust, equalise, clahe",
    ),
    "range": ({"period": 0.0}, "out of range Min: 0.0005, Max: 10.0, value: 0.0"),
    "nan": ({"period": float("nan")}, "out of range"),
    "integer range": ({"downscale": 0}, "Parameter downscale out of range"),
    "calibration": ({"camera_info_url": "file:///no/such.yaml"}, "cannot read /no/such.yaml"),
    "type": ({"period": "soon"}, "Wrong parameter type"),
    "precision": ({"precision": "fp8"}, "precision is 'fp8'; expected one of auto, fp32, bf16, fp16"),
    "precision of a runtime": ({"precision": "fp16"}, "fp16"),
    "file": ({"weights": "/no/such/file"}, "neither a file nor the name of shipped weights"),
    "device": ({"device": "tpu"}, "device 'tpu' is not one of auto, cpu, cuda, cuda:N"),
}


def test_a_bad_change_is_refused_with_a_reason_and_leaves_the_old(node, small_weights):
    client, process = node
    before = client.call(GetParameters, f"{NAME}/get_parameters", GetParameters.Request(names=PARAMETERS)).values
    for change, reason in REFUSED.values():
        result = client.set(**change)[0]
        assert not result.successful
        assert reason in result.reason
    after = client.call(GetParameters, f"{NAME}/get_parameters", GetParameters.Request(names=PARAMETERS)).values
    assert after == before
    client.send(stream())
    expected = offline(small_weights[1], stream())
    client.expect(expected)
    assert process.popen.poll() is None


def test_undeclared_and_read_only_parameters_are_refused(node):
    client, _ = node
    assert not client.set(no_such_parameter=1)[0].successful
    assert not client.set(**{"qos_overrides./dvs/events.subscription.depth": 3})[0].successful


def test_bad_values_at_the_start_end_with_code_2_and_one_clear_line(small_weights, tmp_path):
    ok = f"weights:={small_weights[0]}"
    other = tmp_path / "other.pth.tar"
    torch.save({"epoch": 1, "state_dict": {"fc.weight": torch.zeros(3, 3)}}, other)
    bad = {
        ("-p", "weights:=/no/such/file"): "weights '/no/such/file': neither a file nor the name of shipped weights",
        ("-p", f"weights:={other}"): f"{other}: its keys",
        ("-p", ok, "-p", "tone_map:=sepia"): "tone_map is 'sepia'; expected one of none, natural, stretch, robust",
        ("-p", ok, "-p", "period:=99.0"): "Parameter period out of range Min: 0.0005, Max: 10.0, value: 99.0",
        ("-p", ok, "-p", "count:=1.5"): "parameter 'count' to '1.5' of type 'DOUBLE', expecting type 'INTEGER'",
        ("--params-file", "/no/such.yaml"): "Couldn't parse params file: '--params-file /no/such.yaml'",
    }
    if not torch.cuda.is_available():
        bad["-p", ok, "-p", "device:=cuda"] = "finds no CUDA GPU"

    def start(arguments: tuple[str, ...]) -> Process:
        process = Process(module("reconstruct", "--ros-args", *arguments), free_domain())
        process.wait()
        return process

    with ThreadPoolExecutor(3) as pool:
        for arguments, process in zip(bad, pool.map(start, bad), strict=True):
            lines = [line for line in process.err.splitlines() if "[rcl]" not in line]
            assert process.popen.returncode == 2, process.err
            assert len(lines) == 1, process.err
            assert lines[0].startswith("cista_reconstruct: error: ")
            assert bad[arguments] in lines[0]


def test_a_params_file_with_the_shipped_defaults_holds_the_defaults_of_the_code(client, small_weights):
    file = ("--params-file", str(ROOT / "config" / "reconstruct.yaml"))
    process = client.start_node(f"weights:={small_weights[0]}", arguments=file)
    answer = client.call(GetParameters, f"{NAME}/get_parameters", GetParameters.Request(names=PARAMETERS))
    fields = {1: "bool_value", 2: "integer_value", 3: "double_value", 4: "string_value"}
    found = {name: getattr(v, fields[v.type]) for name, v in zip(PARAMETERS, answer.values, strict=True)}
    defaults = {name: getattr(Settings, name) for name in PARAMETERS}
    ours = {"weights": str(small_weights[0]), "lazy": False, "max_latency": 0.0}  # what start_node sets
    assert found == pytest.approx({**defaults, **ours})
    assert process.stop() == 0


def test_other_runtimes_begin_a_new_stream_with_the_images_of_the_command(node, small_weights):
    client, _ = node
    events = stream()
    assert [r.successful for r in client.set(encoding="32FC1", runtime="fused", tone_map="none")] == [True] * 3
    client.send(events)
    expected = offline(small_weights[1], events, tone_map="none", runtime="fused")
    client.until(lambda: len(client.images) == len(expected))
    assert all(np.array_equal(pixels(m), p.shown) for m, p in zip(client.images, expected, strict=True))


def test_a_runtime_that_cannot_be_is_refused_and_the_old_one_goes_on(node, small_weights):
    client, _ = node
    events = stream()
    client.send(events)
    expected = offline(small_weights[1], events)
    client.until(lambda: len(client.images) == len(expected))
    [result] = client.set(runtime="cuda-graph", device="cpu")[:1]
    assert not result.successful and "needs a CUDA GPU" in result.reason
    [result] = client.set(downscale=2)
    assert not result.successful and "downscale 2 is not possible" in result.reason
    client.images.clear()
    client.send(events)
    client.expect(expected)
