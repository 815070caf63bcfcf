"""These need a CUDA GPU; scripts/measure_gpu.sh runs them there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cista_ros.events import make_events, no_events
from cista_ros.networks import load_network
from cista_ros.reconstructor import Reconstructor
from cista_ros.runtime import make_runtime

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
H, W = 44, 60


def windows(count):
    rng = np.random.default_rng(5)
    for i in range(count):
        n = int(rng.integers(1, 6000))
        t = np.sort(rng.integers(0, 10**7, n)) + i * 10**7
        yield make_events(rng.integers(0, W, n), rng.integers(0, H, n), t, rng.integers(0, 2, n))


def reconstructor(weights, runtime, precision="fp32"):
    return Reconstructor(load_network(weights), H, W, "cuda", max_events=10**9, runtime=runtime, precision=precision)


@pytest.mark.parametrize("runtime", ["cuda-graph", "cuda-graph-compile", "compile"])
def test_200_steps_in_fp32_show_the_same(runtime, released_weights, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    one, other = reconstructor(released_weights, "eager"), reconstructor(released_weights, runtime)
    for events in windows(200):
        np.testing.assert_allclose(other.reconstruct(events).image, one.reconstruct(events).image, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_200_steps_in_half_precision_stay_within_one_grey_level(precision, released_weights):
    one, other = reconstructor(released_weights, "eager"), reconstructor(released_weights, "cuda-graph", precision)
    differences = [
        np.abs(other.reconstruct(events).image - one.reconstruct(events).image).mean() for events in windows(200)
    ]
    assert max(differences) <= 1 / 255


def test_hot_pixels_and_more_events_than_ever_are_taken_in_the_middle_of_a_sequence(released_weights):
    one, other = reconstructor(released_weights, "eager"), reconstructor(released_weights, "cuda-graph")
    for i, events in enumerate(windows(6)):
        one.clip_hot_pixels = other.clip_hot_pixels = i >= 3
        if i == 4:
            events = np.concatenate([events] * 9)
            events["t"].sort()
        np.testing.assert_allclose(other.reconstruct(events).image, one.reconstruct(events).image, atol=1e-3)


def test_a_first_window_without_events_shows_the_same(released_weights):
    one, other = reconstructor(released_weights, "eager"), reconstructor(released_weights, "cuda-graph")
    for events in (no_events(), *windows(2)):
        np.testing.assert_allclose(other.reconstruct(events).image, one.reconstruct(events).image, atol=1e-3)


def test_reset_forgets(released_weights):
    one = reconstructor(released_weights, "cuda-graph")
    sequence = list(windows(3))
    first = [one.reconstruct(events).image for events in sequence]
    one.reset()
    for events, image in zip(sequence, first, strict=True):
        np.testing.assert_allclose(one.reconstruct(events).image, image, atol=1e-5)


def test_auto_on_a_gpu_is_a_graph(small_network):
    runtime, note = make_runtime("auto", small_network.cuda(), H, W, torch.device("cuda"))
    assert runtime.name == "cuda-graph" and "cuda-graph" in note
