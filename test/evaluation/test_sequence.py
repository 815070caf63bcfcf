"""What the evaluation computes of a real recording equals an independent computation, frame by frame."""

from __future__ import annotations

import independent
import numpy as np
import pytest
import torch
from recordings.makers import HEIGHT, NS, T0, WIDTH, event_messages, frames, random_events, with_topics, write_bag

from cista_ros.errors import CistaError
from cista_ros.evaluation.protocols import EVREAL, ICASSP2022, EvaluationError
from cista_ros.evaluation.scores import Scorer, choose_scores
from cista_ros.evaluation.sequence import Comparison, every_stamp
from cista_ros.events import concatenate, no_events
from cista_ros.networks import Conventions, load_network
from cista_ros.networks.firenet import Firenet, FirenetConfig
from cista_ros.recordings import open_recording
from cista_ros.recordings.convert import convert
from cista_ros.windows import Window
from cista_ros.wire.event_packet import PacketEncoder
from cista_ros.wire.ros_types import EventMessage, ImageMessage

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def content(slider_bag):
    """All events and all frames (stamp, image) of the real recording."""
    with open_recording(slider_bag) as recording:
        messages = [r.message for r in recording.read(camera_info=False)]
    events = concatenate([m.events for m in messages if isinstance(m, EventMessage)])
    return events, [(m.stamp, m.image) for m in messages if isinstance(m, ImageMessage)]


@pytest.mark.parametrize("weights", ["authors-cista-tc.pth.tar", "authors-firenet.pth.tar"])
@pytest.mark.parametrize("protocol", [ICASSP2022, EVREAL], ids=lambda p: p.name)
def test_scores_of_both_protocols_equal_an_independent_computation_frame_by_frame(
    slider_bag, shared_file, content, weights, protocol
):
    network = load_network(shared_file(f"weights/{weights}"))
    events, images = content
    if protocol is ICASSP2022:
        expected = independent.icassp2022(network, events, images)
    else:
        expected = independent.evreal(network, events, images, 16 if "firenet" in weights else 8)
    with open_recording(slider_bag) as recording:
        compared = Comparison(recording, "slider_depth_start", network, protocol, "cpu").images
        scorer = Scorer(choose_scores(protocol.metrics))
        found = [(c.stamp, scorer.score(c.image, c.truth)) for c in compared if c.image is not None]
    assert [stamp for stamp, _ in found] == [stamp for stamp, _ in expected]
    assert len(found) == 4
    ssim, view = ("ssim_evreal_v2", "raw") if protocol is EVREAL else ("ssim_7x7", "equalised")
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        assert ours[f"mse:{view}"] == pytest.approx(theirs["mse"], rel=1e-4)
        assert ours[f"psnr:{view}"] == pytest.approx(theirs["psnr"], abs=1e-3)
        assert ours[f"{ssim}:{view}"] == pytest.approx(theirs["ssim"], abs=1e-4)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Firenet(FirenetConfig(channels=4)).eval().requires_grad_(False)


def compared(path, network, protocol=ICASSP2022, sequence="made"):
    with open_recording(path) as recording:
        comparison = Comparison(recording, sequence, network, protocol, "cpu")
        return comparison.plan, list(comparison.images)


def bag(tmp_path, events, images):
    return write_bag(tmp_path / "made.bag", with_topics(event_messages(events, 10), images))


def test_frames_without_events_keep_the_last_image_or_are_empty_steps(tmp_path, network):
    events = random_events(600)
    silent = (events["t"] < T0 + 3 * NS // 20) | (events["t"] > T0 + 6 * NS // 20)
    path = bag(tmp_path, events[silent], frames(10))
    _, kept = compared(path, network, ICASSP2022)
    assert [c.steps for c in kept] == [0, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert kept[0].image is None and kept[0].truth is not None
    assert np.array_equal(kept[4].image, kept[3].image) and np.array_equal(kept[6].image, kept[3].image)
    _, stepped = compared(path, network, EVREAL)
    assert [c.steps for c in stepped] == [1] * 9
    assert not np.array_equal(stepped[4].image, stepped[3].image)


def test_a_cut_is_warmed_up_and_scored_alone(tmp_path, network):
    from dataclasses import replace

    protocol = replace(EVREAL, cuts={"made": (0.2, 0.3)})
    path = bag(tmp_path, random_events(600), frames(12))
    plan, cut = compared(path, network, protocol)
    _, whole = compared(path, network, EVREAL)
    assert [c.index for c in cut] == [4, 5, 6] and plan.stamps[0] == T0
    for c in cut:
        assert np.array_equal(c.image, whole[c.index].image)


def test_images_of_weights_that_say_so_are_scaled_in_evreals_protocol_alone(tmp_path, network):
    path = bag(tmp_path, random_events(600), frames(4))
    plain = compared(path, network, EVREAL)[1][2].image
    network.conventions = Conventions(robust=True)
    scaled = compared(path, network, EVREAL)[1][2].image
    low, high = np.percentile(plain, (1, 99))
    np.testing.assert_allclose(scaled, np.clip((plain - low) / (high - low), 0, 1), atol=1e-4)
    assert compared(path, network, ICASSP2022)[1][2].image.shape == (HEIGHT, WIDTH)


def test_frames_that_come_late_find_their_images(tmp_path, network):
    events, images = random_events(600), frames(8)
    rows = with_topics(event_messages(events, 10), images)
    late = [(t + (NS // 8 if isinstance(m, ImageMessage) else 0), topic, m) for t, topic, m in rows]
    in_time = compared(bag(tmp_path, events, images), network)[1]
    found = compared(write_bag(tmp_path / "late.bag", sorted(late, key=lambda row: row[0])), network)[1]
    assert len(found) == len(in_time) == 8
    for a, b in zip(found, in_time, strict=True):
        assert a.stamp == b.stamp and np.array_equal(a.truth, b.truth)


def test_a_recording_without_frames_gives_images_and_nothing_to_compare(tmp_path, network):
    plan, found = compared(bag(tmp_path, random_events(600), []), network)
    assert plan is None and len(found) == 600 // 150 and all(c.truth is None for c in found)


class Broken(Firenet):
    def forward(self, voxel, state=None):
        return voxel[:, :1] * float("nan"), None


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_bad_input_is_named(tmp_path, network):
    events = random_events(600)
    with pytest.raises(EvaluationError, match="made: the network's image 1 has values that are not finite"):
        compared(bag(tmp_path, events, frames(3)), Broken(FirenetConfig(channels=4)))
    small = [ImageMessage(m.stamp, "", "mono8", m.image[:, :20]) for m in frames(3)]
    with pytest.raises(EvaluationError, match=r"frame 0 is of 20x18 pixels, the events of 24x18"):
        compared(write_bag(tmp_path / "b.bag", with_topics(event_messages(events), small)), network)
    for far in (-10, 10):
        path = write_bag(tmp_path / f"{far}.bag", with_topics(event_messages(events), frames(3, t0=T0 + far * NS)))
        for protocol in (ICASSP2022, EVREAL):
            with pytest.raises(EvaluationError, match=r"none of its frames lies within the time of its events$"):
                compared(path, network, protocol)
    depth = [ImageMessage(m.stamp, "", "32FC1", np.float32(m.image)) for m in frames(3)]
    with pytest.raises(EvaluationError, match="encoding 32FC1; expected mono, rgb or bgr"):
        compared(write_bag(tmp_path / "d.bag", with_topics(event_messages(events), depth)), network)
    twice = event_messages(random_events(300), 5) + event_messages(random_events(300), 5)
    looped = [(T0 + i * NS // 10, "/dvs/events", m) for i, m in enumerate(twice)]
    looped += [(T0 + 11 * NS // 10, "/dvs/image_raw", m) for m in frames(3, period=NS // 3)]
    with pytest.raises(CistaError, match="time jumps back in its events"):
        compared(write_bag(tmp_path / "e.bag", looped), network)


def test_packets_of_another_clock_than_the_frames_are_told_what_helps_and_it_does(tmp_path, network):
    events = random_events(600, t0=0)  # by the camera's clock
    events["t"] -= events["t"] % 1000
    encoder, rows = PacketEncoder("evt3"), [(m.stamp, "/dvs/image_raw", m) for m in frames(8)]
    for seq, part in enumerate(np.array_split(events, 10)):
        stamp = T0 + int(part["t"][0])
        packet = encoder.encode(EventMessage(stamp, "", HEIGHT, WIDTH, part), seq)
        rows.append((stamp, "/camera/events", packet))
    path = write_bag(tmp_path / "packets.bag", sorted(rows, key=lambda row: row[0]))
    for protocol in (ICASSP2022, EVREAL):
        with pytest.raises(EvaluationError, match=r"none of its frames lies .* `cista convert --event-time host`"):
            compared(path, network, protocol)
    with open_recording(path, event_time="host") as recording:
        convert(recording, tmp_path / "host.bag", "ros1")
    assert len(compared(tmp_path / "host.bag", network)[1]) == 8


def test_colour_frames_are_compared_as_grey(tmp_path, network):
    grey = frames(3)
    colour = [ImageMessage(m.stamp, "", "bgr8", np.repeat(m.image[..., None], 3, 2)) for m in grey]
    found = compared(write_bag(tmp_path / "b.bag", with_topics(event_messages(random_events(600)), colour)), network)[1]
    expected = compared(bag(tmp_path, random_events(600), grey), network)[1]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.truth, b.truth)


def test_every_stamp_has_a_window_also_when_two_are_the_same():
    events = random_events(3)
    windows = [Window(events, 20, first=True), Window(events, 40)]
    found = list(every_stamp(np.array([10, 20, 20, 30, 40, 50]), windows))
    assert [w.stamp for w in found] == [10, 20, 20, 30, 40, 50]
    assert [len(w.events) for w in found] == [0, 3, 0, 0, 3, 0]
    assert len(no_events()) == 0
