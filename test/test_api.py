"""The public names of `cista_ros`, as the README uses them, and what its errors say."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import cista_ros
from cista_ros import errors
from cista_ros.errors import CheckpointError, CistaError, RecordingError
from cista_ros.windows import CountWindows, make_windower

SAMPLE = next((Path(cista_ros.__file__).parent / "samples").glob("*.bag"))
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CistaError)]


def test_importing_the_package_imports_neither_torch_nor_a_reader():
    code = "import sys, cista_ros; sys.exit(any(m in sys.modules for m in ('torch', 'cv2', 'numpy', 'rosbags')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists():
    assert set(cista_ros.__all__) <= set(dir(cista_ros))
    assert all(getattr(cista_ros, name) for name in cista_ros.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        cista_ros.no_such_name  # noqa: B018


def test_three_lines_turn_a_recording_into_frames():
    frames = list(islice(cista_ros.reconstruct(SAMPLE, device="cpu"), 3))
    assert [f.image.dtype for f in frames] == [np.float32] * 3
    assert all(f.image.shape == f.shown.shape == (180, 240) and f.steps >= 1 and len(f.events) for f in frames)
    assert 0 < frames[1].stamp - frames[0].stamp < 2e9 / 30
    assert frames[2].shown.std() > 0.1, "the images show something"


def test_a_stream_gives_the_frames_of_the_recording():
    with cista_ros.open_recording(SAMPLE) as recording:
        chunks = [r.message.events for r in recording.read(0, 0.2, frames=False, camera_info=False)]
        height, width = recording.height, recording.width
    stream = cista_ros.Reconstructor.from_weights(
        "cista-tc-small", height, width, "cpu", window_options={"period": 0.03}, runtime="eager"
    )
    pushed = [frame for chunk in chunks for frame in stream.push(chunk)] + stream.flush()
    options = {"weights": "cista-tc-small", "device": "cpu", "runtime": "eager"}
    read = list(cista_ros.reconstruct(SAMPLE, end=0.2, window_options={"period": 0.03}, **options))
    assert [f.stamp for f in pushed] == [f.stamp for f in read] and len(read) == 7  # not one for each of the 4 frames
    for a, b in zip(pushed, read, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_windows_may_be_ones_own_and_a_recording_stays_open():
    with cista_ros.open_recording(SAMPLE) as recording:
        frames = cista_ros.reconstruct(
            recording, weights="cista-tc-small", device="cpu", windows=lambda: CountWindows(5000)
        )
        assert [len(f.events) for f in islice(frames, 2)] == [5000, 5000]
        assert len(next(recording.read(frames=False, camera_info=False)).message.events)


def test_noise_can_be_filtered_in_both_ways_in():
    options = {"weights": "cista-tc-small", "device": "cpu", "noise_filter": "activity", "hot_pixel_mask": "learn"}
    kept = sum(len(f.events) for f in cista_ros.reconstruct(SAMPLE, end=0.1, **options))
    everything = sum(len(f.events) for f in cista_ros.reconstruct(SAMPLE, end=0.1, windows="period", device="cpu"))
    assert 0.3 * everything < kept < everything
    stream = cista_ros.Reconstructor.from_weights(height=180, width=240, **options)
    assert stream.windows.event_filter.noise_filter.activity and stream.windows.event_filter.noise_filter.hot_pixels


def test_a_network_loads_by_the_name_of_its_weights():
    assert cista_ros.load_network("cista-tc-small").name == "cista"


@pytest.mark.parametrize(
    ("options", "error", "stub"),
    [
        ({"recording": "missing.bag"}, RecordingError, "missing.bag"),
        ({"weights": "no-such"}, CheckpointError, "no-such"),
        ({"windows": "frames", "start": 1000.0}, RecordingError, "no events from 1000 s to the end"),
        ({"windows": "sideways"}, ValueError, "sideways"),
    ],
)
def test_bad_arguments_are_named(options, error, stub):
    with pytest.raises(error, match=stub):
        next(cista_ros.reconstruct(**{"recording": SAMPLE, "device": "cpu", **options}))


def test_sync_windows_need_stamps_to_wait_for():
    with pytest.raises(ValueError, match="sync"):
        make_windower("sync", 20, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_line_without_control_characters(kind):
    forged = kind("a.bag: topic /x\n[INFO] all is well\x1b[2J\r\u202e\udc80")
    assert str(forged) == "a.bag: topic /x\\n[INFO] all is well\\x1b[2J\\r\\u202e\\udc80"
    str(forged).encode()


def test_printable_text_is_unchanged():
    assert str(CistaError("/tmp/Aufnahme 1/übung.bag: größer als 5 µs, 日本 \\ 'x'")) == (
        "/tmp/Aufnahme 1/übung.bag: größer als 5 µs, 日本 \\ 'x'"
    )
    assert str(CistaError()) == ""


# onnx_stream.py needs an exported model: test/commands/test_export.py runs it.
EXAMPLES = sorted(
    set((Path(__file__).parent.parent / "examples").glob("*.py"))
    - {Path(__file__).parent.parent / "examples/onnx_stream.py"}
)


def test_there_is_an_example_of_each_kind():
    assert [path.stem for path in EXAMPLES] == ["custom_windows", "offline", "own_network", "stream"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints_frames(path, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path.parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "s: " in line]
    assert len(lines) >= 3, done.stdout
    assert len(path.read_text().splitlines()) <= 80, "one page"
    if path.stem == "offline":
        assert len(list((tmp_path / "images").glob("*.png"))) == len(lines)
