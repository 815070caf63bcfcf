"""`cista simulate`, as it is typed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import yaml

from cista_ros.events import concatenate
from cista_ros.recordings import open_recording
from cista_ros.util.video import VideoWriter

BOARD = "checkerboard:5x4:0.04"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def simulate(cista):
    return partial(cista, "simulate")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        picture = rng.integers(0, 256, (16, 16)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    return folder


def events_of(path) -> np.ndarray:
    with open_recording(path) as recording:
        return concatenate([r.message.events for r in recording.read(frames=False, camera_info=False)])


def test_pictures_become_a_recording_the_same_for_the_same_seed(tmp_path, pictures, simulate):
    options = ("--seconds", 0.2, "--width", 48, "--height", 32, "--fps", 20, "--seed", 5)
    for name in ("a.bag", "b.mcap"):
        done = simulate(pictures, "-o", tmp_path / name, *options)
        assert done.code == 0, done.said
    a, b = events_of(tmp_path / "a.bag"), events_of(tmp_path / "b.mcap")
    assert list((tmp_path / "b.mcap").glob("*.mcap"))
    assert len(a) > 500 and np.array_equal(a, b) and f"{len(a)} events and 5 frames" in done.said


def test_a_clip_becomes_a_recording_of_its_size(tmp_path, simulate):
    with VideoWriter(tmp_path / "clip.mp4", 32, 48) as video:
        for i in range(30):
            image = np.zeros((32, 48), np.uint8)
            image[:, i : i + 10] = 200
            video.write(image, i * 2_000_000)
    done = simulate(
        tmp_path / "clip.mp4",
        "--video",
        "-o",
        tmp_path / "ecd",
        "--format",
        "ecd-text",
    )
    assert done.code == 0, done.said
    with open_recording(tmp_path / "ecd") as recording:
        assert (recording.height, recording.width) == (32, 48)
    assert len(events_of(tmp_path / "ecd")) > 1000


def test_a_raw_h264_stream_of_a_low_rate_is_read_and_warned_about(tmp_path, simulate):
    with av.open(str(tmp_path / "clip.h264"), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(15):
            image = np.zeros((32, 48), np.uint8)
            image[:, i : i + 10] = 200
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        file.mux(stream.encode())
    done = simulate(tmp_path / "clip.h264", "--video", "-o", tmp_path / "a.bag")
    assert done.code == 0, done.said
    assert "frames per second" in done.said and "200" in done.said
    events = events_of(tmp_path / "a.bag")
    assert len(events) > 500 and 0.3e9 < np.ptp(events["t"]) < 0.7e9


@pytest.mark.parametrize("text", ["0.2,0.5", "0.3"])
def test_ranges_are_written_as_help_shows_them(tmp_path, pictures, simulate, text):
    options = ("--seconds", 0.1, "--width", 32, "--height", 32, "--objects", "2,3", "--threshold", text)
    done = simulate(pictures, "-o", tmp_path / "a.bag", *options)
    assert done.code == 0, done.said


def test_a_board_is_recorded_with_its_truth_beside_it(tmp_path, simulate):
    options = ("--target", "checkerboard:5x4:0.04", "--seconds", 0.4, "--width", 64, "--height", 48, "--fps", 10)
    lens = ("--intrinsics", "60,61,30,25", "--distortion-model", "equidistant", "--distortion=-0.02")
    done = simulate("-o", tmp_path / "board.bag", *options, *lens)
    assert done.code == 0 and "board.truth.yaml" in "".join(done.said.splitlines()), done.said
    truth = yaml.safe_load((tmp_path / "board.truth.yaml").read_text())
    assert truth["target"] == "checkerboard:5x4:0.04" and truth["camera"]["distortion_model"] == "equidistant"
    with open_recording(tmp_path / "board.bag") as recording:
        assert [view["stamp_ns"] for view in truth["views"]] == recording.frame_stamps().tolist()
        messages = [r.message for r in recording.read(frames=False)]
    info = next(message for message in messages if hasattr(message, "k"))
    assert info.k.tolist() == [60, 0, 30, 0, 61, 25, 0, 0, 1] and info.d.tolist() == [-0.02, 0, 0, 0]
    assert len(events_of(tmp_path / "board.bag")) > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "x.bag"], "nowhere: no such folder of pictures"),
        (["{file}", "-o", "x.bag"], "clip.mp4: a file, not a folder of images; for a clip give --video"),
        (["{file}", "-o", "x.bag", "--target", BOARD], "clip.mp4: a file, not a folder of pictures"),
        (["{empty}", "-o", "x.bag"], "no pictures"),
        (["{pictures}", "-o", "{pictures}"], "already exists"),
        (["{pictures}", "-o", "x.bag", "--threshold", "0.5,0.1"], "camera.threshold: the lowest value 0.5 is above"),
        (["{pictures}", "-o", "x.bag", "--threshold", "0,0.1"], "camera.threshold must be above 0"),
        (["{pictures}", "-o", "x.bag", "--threshold", "a,b"], "expected LOW,HIGH"),
        (["{pictures}", "-o", "x.bag", "--threshold", "1,2,3"], "expected LOW,HIGH"),
        (["{pictures}", "-o", "x.h5"], "x.h5: hdf5 holds no camera frames"),
        (["{pictures}", "-o", "x.bag", "--seconds", "inf"], "--seconds"),
        (["{pictures}", "-o", "x.bag", "--fps", "1e300"], "--fps"),
        (["{pictures}", "-o", "x.bag", "--seed", "99999999999999999999"], "--seed"),
        (["nowhere.mp4", "--video", "-o", "x.bag"], "nowhere.mp4: no such clip"),
        (["-o", "x.bag"], "expected a folder of images, a clip with --video, or --target"),
        (["{pictures}", "-o", "x.bag", "--distortion", "0.1"], "only with --target"),
        (["a.mp4", "--video", "-o", "x.bag", "--target", BOARD], "exclude each other"),
        (["-o", "x.bag", "--target", "chess:1x1"], "target 'chess:1x1'"),
        (["-o", "x.bag", "--target", BOARD, "--intrinsics", "1,2"], "'1,2': expected FX,FY,CX,CY"),
        (["-o", "x.bag", "--target", BOARD, "--intrinsics", "nan"], "'nan': expected FX,FY,CX,CY"),
        (["-o", "x.bag", "--target", BOARD, "--intrinsics=-5"], "focal lengths must be above 0"),
        (["-o", "x.bag", "--target", BOARD, "--distortion", "1,2,3,4,5,6"], "plumb_bob has 5 distortion coeff"),
        (["-o", "x.bag", "--target", BOARD, "--distortion=-3"], "the lens does not see pixel"),
        (["{pictures}", "-o", "x.bag", "--device", "tpu"], "device 'tpu' is not one of"),
    ],
)
def test_bad_input_ends_with_one_clear_line_and_code_2(tmp_path, pictures, simulate, monkeypatch, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.mp4").touch()
    monkeypatch.chdir(tmp_path)
    filled = [a.format(pictures=pictures, empty=tmp_path / "empty", file="clip.mp4") for a in arguments]
    done = simulate(*filled)
    assert done.code == 2 and message in done.said
    assert not (tmp_path / "x.bag").exists()


def test_the_sample_recording_is_what_its_readme_says():
    sample = ROOT / "cista_ros" / "samples" / "landscape.bag"
    readme = (sample.parent / "README.md").read_text()
    assert sample.stat().st_size < 1.5e6
    assert f"{len(events_of(sample)):,}".replace(",", " ") in readme
