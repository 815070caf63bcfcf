"""Jobs: what they leave on disk, how they resume, and how some fail while others go on."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from recordings.makers import (
    HEIGHT,
    NS,
    T0,
    WIDTH,
    event_messages,
    frames,
    random_events,
    with_topics,
    write_any,
    write_bag,
)

from cista_ros.errors import CistaError
from cista_ros.evaluation import run as module
from cista_ros.evaluation.pictures import EVENTS, FRAME, read_picture
from cista_ros.evaluation.protocols import REAL
from cista_ros.evaluation.run import (
    Job,
    Result,
    read_result,
    result_paths,
    run_job,
    write_result,
)
from cista_ros.evaluation.scores import ScoreChoice, choose_scores
from cista_ros.networks import save_network
from cista_ros.networks.firenet import Firenet, FirenetConfig
from cista_ros.util.jobs import Failure, JobsError, attempt, run_jobs
from cista_ros.wire.event_packet import PacketEncoder

KEYS = ScoreChoice(("mse:equalised", "ssim_7x7:equalised", "temporal:equalised"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def job(tmp_path):
    torch.manual_seed(0)
    save_network(Firenet(FirenetConfig(channels=4)), tmp_path / "net.safetensors")
    recording = write_any(tmp_path, "ros1", random_events(900), frames(12))
    return Job(recording, "made", tmp_path / "net.safetensors", "net", "icassp2022", KEYS, tmp_path / "out", "cpu")


def run_all(jobs, **options):
    return [(jobs[index], outcome) for index, outcome in run_jobs(run_job, jobs, **options)]


def test_a_result_has_a_row_for_each_frame_and_pictures_of_some(job):
    result = run_job(job)
    assert list(result.frames["index"]) == list(range(12))[-len(result.frames) :]
    assert set(result.scores) == set(KEYS.keys)
    assert len(result.pictures) == 4 and result.frames["events"].sum() <= 900
    pictures = job.folder / "pictures" / "icassp2022"
    for kind in (FRAME, "net"):
        assert read_picture(pictures, "made", kind, result.pictures[0]).shape == (HEIGHT, WIDTH)
    assert read_picture(pictures, "made", EVENTS, result.pictures[0]).shape == (HEIGHT, WIDTH, 3)


def test_a_frame_before_the_first_event_takes_no_pictures_place(job, tmp_path):
    (tmp_path / "late").mkdir()
    recording = write_any(tmp_path / "late", "ros1", random_events(900, t0=T0 + 1), frames(5))
    result = run_job(replace(job, recording=recording))
    assert result.unscored == 1 and result.pictures == result.frames["stamp_ns"].tolist()


def test_another_protocol_leaves_the_pictures_of_a_finished_result_as_they_are(job):
    run_job(replace(job, pictures=None))
    before = {path: path.read_bytes() for path in job.folder.glob("pictures/**/*.png")}
    run_job(replace(job, pictures=None, protocol="evreal", method="other"))
    assert before and {path: path.read_bytes() for path in before} == before


def test_a_finished_job_is_not_done_again_unless_something_changed(job, monkeypatch):
    first = run_job(job)
    done = []
    inner = module.read_result
    monkeypatch.setattr(module, "read_result", lambda *a: done.append(inner(*a)) or done[-1])
    assert run_job(job).frames.equals(first.frames) and done[-1] is not None
    changed = [replace(job, protocol="evreal"), replace(job, pictures=None), replace(job, sequence="made2")]
    torch.manual_seed(1)
    save_network(Firenet(FirenetConfig(channels=4)), job.weights)
    for other in [*changed, job]:
        run_job(other)
        assert done[-1] is None
    _, about = result_paths(job.folder, "made", "net")
    about.write_text(about.read_text()[:-40])  # a damaged result is not believed either
    run_job(job)
    assert done[-1] is None


def test_a_result_without_its_last_file_is_made_anew_and_equal(job):
    first = run_job(job)
    table, about = result_paths(job.folder, "made", "net")
    before = [line.split(",")[6:] for line in table.read_text().splitlines()]
    about.unlink()
    assert list(run_job(job).frames["mse:equalised"]) == list(first.frames["mse:equalised"])
    assert [line.split(",")[6:] for line in table.read_text().splitlines()] == before


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failed_sequence_is_named_and_the_others_give_the_same_in_any_process(job, tmp_path, processes):
    (tmp_path / "damaged.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(50))
    damaged = replace(job, recording=tmp_path / "damaged.bag", sequence="damaged")
    gone = replace(job, recording=tmp_path / "gone.bag", sequence="gone")
    outcomes = {j.sequence: outcome for j, outcome in run_all([damaged, job, gone], processes=processes)}
    assert "damaged.bag: cannot be read as a bag" in outcomes["damaged"].reason and not outcomes["damaged"].details
    assert "gone.bag" in outcomes["gone"].reason
    alone = run_job(replace(job, folder=tmp_path / "alone"))
    key = "ssim_7x7:equalised"
    assert list(outcomes["made"].frames[key]) == list(alone.frames[key])
    assert not result_paths(job.folder, "damaged", "net")[1].exists()


class Dying(Job):
    def settings(self):
        os._exit(9)


def test_processes_that_die_are_named_and_do_not_keep_the_others_from_their_work(job):
    killers = [Dying(**vars(replace(job, sequence=name))) for name in ("first", "second")]
    outcomes = {j.sequence: outcome for j, outcome in run_all([*killers, job], processes=2)}
    assert len(outcomes["made"].frames)
    assert [outcomes[name].reason for name in ("first", "second")] == 2 * ["its process died (out of memory?)"]


def test_a_failure_leaves_no_numbers_of_before(job):
    run_job(job)
    job.weights.write_bytes(b"")
    assert isinstance(attempt(run_job, job), Failure)
    assert not result_paths(job.folder, "made", "net")[1].exists()


def test_a_full_disk_stops_everything(job, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_result", full)
    with pytest.raises(OSError, match="No space left"):
        run_all([job, replace(job, sequence="other")])


def test_a_mistake_of_ours_is_told_in_full_and_the_others_go_on(job, monkeypatch):
    monkeypatch.setattr(module, "chosen_frames", lambda *_: 1 / 0)
    (_, failure), (_, other) = run_all([job, replace(job, pictures=None)])
    assert failure.reason == "ZeroDivisionError: division by zero" and "Traceback" in failure.details
    assert len(other.frames)


def test_a_recording_without_frames_has_only_scores_of_tasks(job, tmp_path):
    path = write_bag(tmp_path / "blind.bag", with_topics(event_messages(random_events(900))))
    blind = replace(job, recording=path, sequence="blind")
    for tasks in ((), ("tags",)):
        with pytest.raises(CistaError, match="blind: no camera frames to compare with"):
            run_job(replace(blind, scores=replace(KEYS, tasks=tasks)))
    result = run_job(replace(blind, scores=replace(KEYS, tasks=("tags", "orb_inliers"))))
    assert result.scores == ["orb_inliers"] and result.frames["orb_inliers"][1:].notna().all()
    assert len(result.frames) == 6 and "no camera frames" in result.note
    assert "mse:equalised" not in result.frames and len(result.pictures) == 4


def test_frames_after_the_last_event_are_told(job, tmp_path):
    (tmp_path / "short").mkdir()
    path = write_any(tmp_path / "short", "ros1", random_events(900, duration=NS // 4), frames(12))
    result = run_job(replace(job, recording=path, sequence="short"))
    assert result.note == "no events for its last 6 frames, which are scored all the same"
    assert list(result.frames["steps"][-6:]) == 6 * [0]


def test_events_that_could_not_be_used_are_counted_and_told(job, tmp_path):
    events = random_events(900)
    events["x"][:7] = 500
    (tmp_path / "wide").mkdir()
    path = write_any(tmp_path / "wide", "ros1", events, frames(12))
    result = run_job(replace(job, recording=path, sequence="wide"))
    assert result.note == "7 events outside the sensor were not used"


def test_events_of_another_time_are_told(job, tmp_path):
    chunks = event_messages(random_events(900))
    chunks[10].events["t"] -= 100 * NS
    rows = [(T0 + i * NS // 30, "/dvs/events", chunk) for i, chunk in enumerate(chunks)]
    rows += [(image.stamp, "/dvs/image_raw", image) for image in frames(12)]
    path = write_bag(tmp_path / "stray.bag", sorted(rows, key=lambda row: row[0]))
    result = run_job(replace(job, recording=path, sequence="stray"))
    assert result.note == "30 events of another time than those around them were not used"


def test_missing_packets_are_told(job, tmp_path):
    events = random_events(900)
    events["t"] -= events["t"] % 1000
    encoder, rows = PacketEncoder("mono"), [(image.stamp, "/dvs/image_raw", image) for image in frames(12)]
    for seq, message in enumerate(event_messages(events)):
        if seq not in (5, 6, 20):
            rows.append((T0 + seq * NS // 30, "/dvs/events", encoder.encode(message, seq)))
    path = write_bag(tmp_path / "packets.bag", sorted(rows, key=lambda row: row[0]))
    assert run_job(replace(job, recording=path, sequence="packets")).note == "event packets: 3 packets missing"


def test_results_are_read_back_to_the_bit_and_only_with_the_same_settings(tmp_path):
    frames = pd.DataFrame({"index": [0, 1], "mse:raw": [1 / 3, 0.1], "temporal:raw": [math.nan, 1e-17]})
    result = Result(
        "a", "m", frames, ["mse:raw", "temporal:raw"], rest={"1 /s": {"contrast": 1 / 7}}, settings={"a": 1}
    )
    write_result(tmp_path, result)
    again = read_result(tmp_path, "a", "m", {"a": 1})
    pd.testing.assert_frame_equal(again.frames, frames, check_exact=True)
    assert {**vars(again), "frames": 0} == {**vars(result), "frames": 0}
    assert read_result(tmp_path, "a", "m", {"a": 2}) is None
    assert read_result(tmp_path, "b", "m", {"a": 1}) is None
    result_paths(tmp_path, "a", "m")[1].write_text("rubbish")
    assert read_result(tmp_path, "a", "m", {"a": 1}) is None


def test_a_mask_file_leaves_its_zeros_out_and_bad_ones_are_named(job, tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:, 5:] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    masked = run_job(replace(job, mask=tmp_path / "mask.png")).frames["mse:equalised"]
    assert not np.allclose(masked, run_job(replace(job, folder=tmp_path / "all")).frames["mse:equalised"])
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros_like(mask))
    cv2.imwrite(str(tmp_path / "small.png"), mask[:5])
    (tmp_path / "no.png").write_bytes(b"")
    for name, text in {"black": "every pixel", "small": "expected the sensor's", "no": "empty"}.items():
        with pytest.raises(CistaError, match=f"{name}.png: .*{text}"):
            run_job(replace(job, mask=tmp_path / f"{name}.png"))


def test_the_real_protocol_ends_in_a_rest_test(job):
    choice = choose_scores(REAL.metrics)
    result = run_job(replace(job, protocol="real", scores=choice))
    assert set(result.scores) == set(REAL.metrics) == set(result.frames.columns[6:])
    assert set(result.rest) == {"0.1 /s", "0.1 /s + 10 hot", "1 /s", "1 /s + 10 hot"}
    assert all(-1 <= v["correlation"] <= 1 and v["contrast"] > 0 for v in result.rest.values())
    assert run_job(replace(job, protocol="real", scores=choice, rest=False)).rest == {}


def test_no_dask_scheduler_at_the_address_is_an_error(job):
    pytest.importorskip("distributed")
    with pytest.raises(JobsError, match=r"--dask tcp://127.0.0.1:9: no Dask scheduler there"):
        run_all([job], dask="tcp://127.0.0.1:9")
