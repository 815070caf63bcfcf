"""Jobs: what they leave on disk, how they resume, and how some fail while others go on."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

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

from cista_ros.evaluation import jobs as module
from cista_ros.evaluation.jobs import Failure, Job, attempt, run_job, run_jobs
from cista_ros.evaluation.metrics import MetricChoice
from cista_ros.evaluation.pictures import EVENTS, FRAME, pictures_of, read_picture
from cista_ros.evaluation.results import result_paths
from cista_ros.networks import save_network
from cista_ros.networks.firenet import Firenet, FirenetConfig
from cista_ros.wire.event_packet import PacketEncoder

KEYS = MetricChoice(("mse:equalised", "ssim_7x7:equalised", "temporal:equalised"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def job(tmp_path):
    torch.manual_seed(0)
    save_network(Firenet(FirenetConfig(channels=4)), tmp_path / "net.safetensors")
    recording = write_any(tmp_path, "ros1", random_events(900), frames(12))
    return Job(recording, "made", tmp_path / "net.safetensors", "net", "icassp2022", KEYS, tmp_path / "out", "cpu")


def test_a_result_has_a_row_for_each_frame_and_pictures_of_some(job):
    result = run_job(job)
    assert [row["index"] for row in result.rows] == list(range(12))[-len(result.rows) :]
    assert set(result.metrics) == set(KEYS.keys)
    assert len(result.pictures) == 4 and sum(row["events"] for row in result.rows) <= 900
    pictures = pictures_of(job.folder, "icassp2022")
    for kind in (FRAME, "net"):
        assert read_picture(pictures, "made", kind, result.pictures[0]).shape == (HEIGHT, WIDTH)
    assert read_picture(pictures, "made", EVENTS, result.pictures[0]).shape == (HEIGHT, WIDTH, 3)


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
    assert run_job(job).rows == first.rows and done[-1] is not None
    changed = [replace(job, protocol="evreal"), replace(job, pictures=None), replace(job, sequence="made2")]
    torch.manual_seed(1)
    save_network(Firenet(FirenetConfig(channels=4)), job.weights)
    for other in [*changed, job]:
        run_job(other)
        assert done[-1] is None
    table, _ = result_paths(job.folder, "made", "net")
    table.write_text(table.read_text()[:-40])  # a damaged table is not believed either
    run_job(job)
    assert done[-1] is None


def test_a_result_without_its_last_file_is_made_anew_and_equal(job):
    first = run_job(job)
    table, about = result_paths(job.folder, "made", "net")
    before = [line.split(",")[6:] for line in table.read_text().splitlines()]
    about.unlink()
    assert [row["mse:equalised"] for row in run_job(job).rows] == [row["mse:equalised"] for row in first.rows]
    assert [line.split(",")[6:] for line in table.read_text().splitlines()] == before


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failed_sequence_is_named_and_the_others_give_the_same_in_any_process(job, tmp_path, processes):
    (tmp_path / "damaged.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(50))
    damaged = replace(job, recording=tmp_path / "damaged.bag", sequence="damaged")
    gone = replace(job, recording=tmp_path / "gone.bag", sequence="gone")
    outcomes = {j.sequence: outcome for j, outcome in run_jobs([damaged, job, gone], processes)}
    assert "damaged.bag: cannot be read as a bag" in outcomes["damaged"].reason and not outcomes["damaged"].details
    assert "gone.bag" in outcomes["gone"].reason
    alone = run_job(replace(job, folder=tmp_path / "alone"))
    assert [row["ssim_7x7:equalised"] for row in outcomes["made"].rows] == [
        row["ssim_7x7:equalised"] for row in alone.rows
    ]
    assert not result_paths(job.folder, "damaged", "net")[1].exists()


class Dying(Job):
    def settings(self):
        os._exit(9)


def test_processes_that_die_are_named_and_do_not_keep_the_others_from_their_work(job):
    killers = [Dying(**vars(replace(job, sequence=name))) for name in ("first", "second")]
    outcomes = {j.sequence: outcome for j, outcome in run_jobs([*killers, job], processes=2)}
    assert outcomes["made"].rows
    assert [outcomes[name].reason for name in ("first", "second")] == 2 * ["its process died (out of memory?)"]


def test_a_failure_leaves_no_numbers_of_before(job):
    run_job(job)
    job.weights.write_bytes(b"")
    assert isinstance(attempt(job), Failure)
    assert not result_paths(job.folder, "made", "net")[1].exists()


def test_a_full_disk_stops_everything(job, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_result", full)
    with pytest.raises(OSError, match="No space left"):
        list(run_jobs([job, replace(job, sequence="other")]))


def test_a_mistake_of_ours_is_told_in_full_and_the_others_go_on(job, monkeypatch):
    monkeypatch.setattr(module, "chosen_frames", lambda *_: 1 / 0)
    (_, failure), (_, other) = run_jobs([job, replace(job, pictures=None)])
    assert failure.reason == "ZeroDivisionError: division by zero" and "Traceback" in failure.details
    assert other.rows


def test_a_recording_without_frames_has_images_and_no_scores(job, tmp_path):
    path = write_bag(tmp_path / "blind.bag", with_topics(event_messages(random_events(900))))
    result = run_job(replace(job, recording=path, sequence="blind"))
    assert result.metrics == [] and len(result.rows) == 6 and "no camera frames" in result.note
    assert "mse:equalised" not in result.rows[0] and len(result.pictures) == 4


def test_frames_after_the_last_event_are_told(job, tmp_path):
    (tmp_path / "short").mkdir()
    path = write_any(tmp_path / "short", "ros1", random_events(900, duration=NS // 4), frames(12))
    result = run_job(replace(job, recording=path, sequence="short"))
    assert result.note == "no events for its last 6 frames, which are scored all the same"
    assert [row["steps"] for row in result.rows[-6:]] == 6 * [0]


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
    assert run_job(replace(job, recording=path, sequence="packets")).note == "of the event packets: 3 packets missing"
