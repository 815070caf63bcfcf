"""The folders that `cista reconstruct` writes: of several recordings, and when the disk is full."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import files_of_at_most
from recordings.makers import event_messages, frames, random_events, with_topics, write_bag

from cista_ros.commands.frame_folder import FrameFolder
from cista_ros.events import no_events
from cista_ros.reconstructor import Frame


@pytest.fixture
def reconstruct(cista):
    return partial(cista, "reconstruct")


def write(path, seed):
    write_bag(path, with_topics(event_messages(random_events(2000, duration=200_000_000, seed=seed)), frames(5)))


@pytest.fixture
def several(tmp_path, weights):
    """A folder of recordings: three good ones, two of which have the same name, a damaged one, and other files."""
    folder = tmp_path / "in"
    for name in ("a", "day 1/b", "day 2/b"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / f"{name}.bag", seed=len(name))
    (folder / "damaged.bag").write_bytes(b"no bag")
    (folder / "notes.txt").write_text("taken on 3 May")
    return folder


NAMES = ["a", "day 1_b", "day 2_b"]


def summaries(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in Path(out).glob("*/summary.json")}


def test_several_recordings_have_a_folder_each_and_finished_ones_are_not_repeated(
    reconstruct, tmp_path, several, weights
):
    command = several, "-o", several / "out", "--weights", weights, "--json"
    done = reconstruct(*command, "--video", tmp_path / "videos")
    assert done.code == 1
    assert "failed: damaged: " in done.err and "damaged.bag: cannot be read as a bag" in done.err
    said = json.loads(done.out)
    assert sorted(said["recordings"]) == NAMES and list(said["failures"]) == ["damaged"]
    assert {name: summary["images"] for name, summary in said["recordings"].items()} == dict.fromkeys(NAMES, 4)
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == [f"{name}.mp4" for name in NAMES]
    single = reconstruct(several / "a.bag", "-o", tmp_path / "single", "--weights", weights)
    assert single.code == 0
    for name in ("00000000.png", "00000003.png"):
        one = (tmp_path / "single" / "frames" / name).read_bytes()
        assert (several / "out" / "a" / "frames" / name).read_bytes() == one

    times = summaries(several / "out")
    (several / "out" / "day 1_b" / "summary.json").unlink()  # as if interrupted
    (several / "damaged.bag").unlink()
    write(several / "damaged.bag", seed=9)
    done = reconstruct(*command, "--video", tmp_path / "videos", "--jobs", 2)
    assert done.code == 0, done.err
    assert json.loads(done.out)["recordings"]["a"]["finished_before"]
    again = summaries(several / "out")
    assert [name for name in sorted(again) if again[name] != times.get(name)] == ["damaged", "day 1_b"]
    (several / "damaged.bag").unlink()
    done = reconstruct(*command, "--tone-map", "none")
    assert all(at != again[name] for name, at in summaries(several / "out").items() if name != "damaged")


def test_a_dask_worker_killed_in_the_middle_costs_no_recording_and_no_finished_work(
    reconstruct, tmp_path, several, weights
):
    distributed = pytest.importorskip("distributed")
    killed, finished = [], {}

    def kill_a_busy_worker(address):
        with distributed.Client(address, set_as_default=False) as client:
            pids = client.run(os.getpid)
            while not finished:
                time.sleep(0.02)
                finished.update(summaries(tmp_path / "out"))
            busy = next((worker for worker, tasks in client.processing().items() if tasks), next(iter(pids)))
            os.kill(pids[busy], signal.SIGKILL)
            killed.append(busy)

    with distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        killer = threading.Thread(target=kill_a_busy_worker, args=[cluster.scheduler_address], daemon=True)
        killer.start()
        words = "--weights", weights, "--json", "--dask", cluster.scheduler_address
        done = reconstruct(several, "-o", tmp_path / "out", *words)
        killer.join(30)
    assert killed and done.code == 1
    said = json.loads(done.out)
    assert sorted(said["recordings"]) == NAMES and list(said["failures"]) == ["damaged"]
    assert finished.items() <= summaries(tmp_path / "out").items()


def test_options_that_do_not_fit_several_recordings_end_before_the_work(reconstruct, tmp_path, several, weights):
    for words, text in (
        ([several, "--video", tmp_path / "v.mp4"], "expected a folder"),
        ([several / "a.bag", several / "a.bag"], "a.bag: the recording is given twice"),
        ([several / "a.bag", several / "none.bag"], "none.bag: no such file or folder"),
        ([tmp_path / "empty", several], "empty: no recordings in this folder"),
        ([tmp_path / "empty"], "empty: no recordings in this folder"),
        ([several, "--weights", "best"], "weights 'best': neither a file"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        done = reconstruct("--weights", weights, *words, "-o", tmp_path / "out")
        (line,) = done.err.splitlines()
        assert done.code == 2 and text in line
    assert not (tmp_path / "out").exists()


SIZE = 40, 60


def picture(i):
    image = np.random.default_rng(i).random(SIZE, np.float32)
    return Frame(image, image, i, no_events(), 1)


def test_a_picture_that_does_not_fit_is_named_and_none_is_left_half(tmp_path):
    with (
        pytest.raises(OSError, match=r"00000000\.png"),
        FrameFolder(tmp_path, *SIZE) as folder,
        files_of_at_most(500),
    ):
        folder.write(picture(0), 1.0)
    assert not list((tmp_path / "frames").iterdir())


@pytest.mark.parametrize("pictures", [10, 400])
def test_an_array_that_does_not_fit_is_told_and_not_left(tmp_path, pictures):
    # 9.6 kB each: the first does not fit when the array is put together, or already while it waits.
    limit = int(9600 * min(pictures, 20) * 1.001)
    with (
        files_of_at_most(limit),
        pytest.raises(OSError, match=str(tmp_path)),
        FrameFolder(tmp_path, *SIZE, npz=True) as folder,
    ):
        for i in range(pictures):
            folder.write(picture(i), 1.0)
    assert not list(tmp_path.glob("frames.npz*"))
    written = list((tmp_path / "frames").iterdir())
    assert written and all(cv2.imread(str(path)) is not None for path in written)
