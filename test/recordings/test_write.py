"""Recordings that we write are read back the same, by our own readers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import files_of_at_most

from cista_ros.errors import RecordingError
from cista_ros.events import concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.recordings.write import EVENTS_ONLY, FORMATS, write_recording
from cista_ros.simulation.recording import START_NS, Frame, write_frame

SIZE = (18, 24)


def frames(count: int = 4) -> list[Frame]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        n = 500 if i else 0
        t = np.sort(rng.integers((i - 1) * 50_000, i * 50_000, n)) * 1000 if i else []
        events = make_events(rng.integers(0, SIZE[1], n), rng.integers(0, SIZE[0], n), t, rng.integers(0, 2, n))
        made.append(Frame(i * 50_000_000, rng.random(SIZE, np.float32), events))
    return made


@pytest.mark.parametrize("format", sorted({*FORMATS} - {*EVENTS_ONLY}))
def test_what_is_written_is_read(tmp_path, format):
    path = tmp_path / ("made.bag" if format == "ros1" else "made")
    left = tmp_path / f".{path.name}.part"
    left.mkdir()
    (left / path.name).write_bytes(b"of a killed process")
    with write_recording(path, format) as writer:
        for frame in frames():
            write_frame(writer, frame)
        assert not path.exists(), "a process that is killed leaves no partial recording"
    assert list(tmp_path.iterdir()) == [path]
    with open_recording(path) as recording:
        assert (recording.height, recording.width) == SIZE
        messages = [recorded.message for recorded in recording.read()]
        assert recording.frame_stamps().tolist() == [START_NS + f.stamp for f in frames()]
    events = concatenate([m.events for m in messages if hasattr(m, "events")])
    expected = concatenate([f.events for f in frames()])
    assert np.array_equal(events["t"], expected["t"] + START_NS)
    assert all(np.array_equal(events[name], expected[name]) for name in "xyp")
    images = [m.image for m in messages if hasattr(m, "image")]
    assert all(np.array_equal(a, np.rint(f.image * 255)) for a, f in zip(images, frames(), strict=True))
    info = next(m for m in messages if hasattr(m, "k"))
    assert info.k.tolist() == [24, 0, 11.5, 0, 24, 8.5, 0, 0, 1]


@pytest.mark.parametrize("format", sorted({*FORMATS} - {*EVENTS_ONLY}))
def test_does_not_overwrite(tmp_path, format):
    path = tmp_path / "there"
    path.write_text("precious")
    with pytest.raises(RecordingError, match=r"there: already exists"), write_recording(path, format):
        pass
    assert path.read_text() == "precious"


def test_names_a_folder_that_does_not_exist(tmp_path):
    with (
        pytest.raises(RecordingError, match=rf"^{tmp_path}/none: no such folder$"),
        write_recording(tmp_path / "none" / "made.bag", "ros1"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_names_a_path_that_cannot_be_written():
    with pytest.raises(RecordingError, match="could not be written"), write_recording("/proc/made.bag", "ros1"):
        pass


@pytest.mark.parametrize("format", sorted({*FORMATS} - {*EVENTS_ONLY}))
def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, format):
    path = tmp_path / ("made.bag" if format == "ros1" else "made")
    with (
        files_of_at_most(8192),
        pytest.raises(RecordingError, match=rf"{path}: could not be written \(.+\)"),
        write_recording(path, format) as writer,
    ):
        for frame in frames() * 50:
            write_frame(writer, frame)
    assert not list(tmp_path.iterdir())
