"""The rest test: its noise, and what it says of networks whose answer to noise is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recordings.makers import HEIGHT, WIDTH, frames, random_events, write_any

from cista_ros.evaluation import rest
from cista_ros.evaluation.rest import HOT_RATE, RESTS, WINDOW_NS, WINDOWS, noise_windows, run_rest_test
from cista_ros.events import NS, in_order, inside
from cista_ros.networks import Conventions
from cista_ros.networks.firenet import Firenet, FirenetConfig
from cista_ros.reconstructor import Reconstructor
from cista_ros.recordings import open_recording

pytestmark = pytest.mark.usefixtures("one_thread")
SECONDS = WINDOWS * WINDOW_NS / NS


@pytest.mark.parametrize(("rate", "hot_pixels"), [(0.1, 0), (1.0, 10)])
def test_the_noise_has_its_rate_everywhere_and_its_hot_pixels(rate, hot_pixels):
    height, width = 90, 120
    windows = noise_windows(rate, hot_pixels, 5 * NS, height, width)
    assert len(windows) == WINDOWS
    for i, events in enumerate(windows):
        assert in_order(events) and inside(events, height, width).all()
        assert len(events) == 0 or events["t"][0] >= 5 * NS + i * WINDOW_NS
        assert len(events) == 0 or events["t"][-1] < 5 * NS + (i + 1) * WINDOW_NS
    events = np.concatenate(windows)
    counts = np.bincount(events["y"].astype(int) * width + events["x"], minlength=height * width)
    hot = counts > HOT_RATE * SECONDS / 2
    assert hot.sum() == hot_pixels
    expected = rate * SECONDS * (~hot).sum()
    assert abs(counts[~hot].sum() - expected) < 5 * expected**0.5
    ordinary = ~hot[events["y"].astype(int) * width + events["x"]]
    assert abs(events["p"][ordinary].mean() - 0.5) < 0.05


class Holding(Firenet):
    """Adds its voxel grids up while they have many events, and lets the sum fade by a factor for every other one."""

    conventions = Conventions(normalise=False)
    fading = 1.0

    def forward(self, voxel, state=None):
        state = 0.5 * torch.ones_like(voxel[:, :1]) if state is None else state
        if voxel.abs().sum() > 100:
            state = (state + 0.05 * voxel.sum(1, keepdim=True)).clamp(0.2, 0.8)
        else:
            state = 0.5 + self.fading * (state - 0.5)
        return state, state


@pytest.mark.parametrize(("fading", "kept"), [(1.0, 1.0), (0.99, 0.99**WINDOWS)])
def test_a_network_that_holds_its_image_keeps_all_and_one_that_fades_says_by_how_much(tmp_path, fading, kept):
    network = Holding(FirenetConfig(channels=1))
    network.fading = fading
    path = write_any(tmp_path, "ros1", random_events(2000, duration=NS), frames(6))
    with open_recording(path) as recording:
        found = run_rest_test(Reconstructor(network, HEIGHT, WIDTH, "cpu", runtime="eager"), recording)
        assert set(found) == set(RESTS)
        quiet = found["0.1 /s"]
        assert quiet["correlation"] == pytest.approx(1, abs=1e-5) and quiet["contrast"] == pytest.approx(kept, rel=1e-4)
        mask = np.arange(WIDTH) >= 6
        masked = run_rest_test(
            Reconstructor(network, HEIGHT, WIDTH, "cpu", runtime="eager"), recording, np.tile(mask, (HEIGHT, 1))
        )
        assert masked["0.1 /s"]["contrast"] == pytest.approx(kept, rel=1e-4)


def test_only_the_last_seconds_of_a_long_recording_precede_the_rest(tmp_path, monkeypatch):
    path = write_any(tmp_path, "ros1", random_events(900, duration=NS), frames(12))
    with open_recording(path) as recording:
        whole = rest.last_windows(recording)
        monkeypatch.setattr(rest, "BEFORE_NS", NS // 10)
        last = rest.last_windows(recording)
    assert sum(map(len, whole)) == 900 and 0 < len(last) < len(whole)
    assert last[-1]["t"][-1] == whole[-1]["t"][-1]
