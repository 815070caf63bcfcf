"""Every runtime computes the images of the reference, over hundreds of recurrent steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cista_ros
from cista_ros.errors import RuntimeUnavailableError
from cista_ros.networks import Cista, CistaConfig, load_network, make_network, shipped_weights
from cista_ros.reconstructor import Reconstructor
from cista_ros.recordings import open_recording
from cista_ros.runtime import choice, make_runtime
from cista_ros.runtime.cista import ONE_GREY_LEVEL, check_bf16

CPU = torch.device("cpu")
EXACT = 1e-4
NATIVE = ["native", "winograd"] if shutil.which("g++") else []
FAST = ["fused", *NATIVE]
needs_compiler = pytest.mark.skipif(not NATIVE, reason="needs a C++ compiler")
needs_bf16 = pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bf16")


def grids(count, bins, height, width, seed=0):
    """Voxel grids with a third of the cells filled, mean 0, standard deviation 1, like real ones."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        filled = torch.rand(bins, height, width, generator=generator) < 0.3
        yield torch.randn(bins, height, width, generator=generator) * filled


@torch.inference_mode()
def largest_difference(name, network, height, width, steps, seed=0):
    reference = make_runtime("eager", network, height, width, CPU)[0]
    runtime = make_runtime(name, network, height, width, CPU)[0]
    return max(
        (runtime.step(grid) - reference.step(grid)).abs().max().item()
        for grid in grids(steps, network.bins, height, width, seed)
    )


def random_network(**config):
    """A small CISTA in which every parameter matters: biases, thetas of both signs, alphas."""
    torch.manual_seed(3)
    network = Cista(CistaConfig(**{"channels": 8, "iterations": 3, **config})).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == 1 or parameter.shape[0] == 1:
            parameter.uniform_(-0.3, 0.3)
    return network


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=30)
@given(height=st.integers(16, 45), width=st.integers(16, 45), seed=st.integers(0, 1000))
def test_any_size_is_exact_up_to_the_borders(name, height, width, seed):
    assert largest_difference(name, random_network(), height, width, steps=3, seed=seed) < 1e-6


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(
    "config",
    [
        {"shared": False},
        {"similarity": False},
        {"recurrent": False},
        {"similarity": False, "recurrent": False},
        {"bins": 3, "channels": 12, "iterations": 1},
    ],
)
def test_every_variant(name, config):
    assert largest_difference(name, random_network(**config), 22, 19, steps=5) < 1e-6


@pytest.mark.parametrize("name", FAST)
def test_200_steps_of_the_released_network(name, released_weights):
    assert largest_difference(name, load_network(released_weights), 21, 26, steps=200) < EXACT


@pytest.mark.parametrize("name", ["eager", *FAST])
def test_reset_starts_a_new_sequence(name):
    runtime = make_runtime(name, random_network(), 20, 24, CPU)[0]
    sequence = list(grids(3, 5, 20, 24))
    with torch.inference_mode():
        first = [runtime.step(grid).clone() for grid in sequence]
        runtime.reset()
        again = [runtime.step(grid).clone() for grid in sequence]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("name", FAST)
def test_two_runtimes_of_one_network_are_independent_and_leave_it_unchanged(name):
    network = random_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    one, other = (make_runtime(name, network, 20, 24, CPU)[0] for _ in range(2))
    a, b = grids(2, 5, 20, 24)
    with torch.inference_mode():
        alone = make_runtime(name, network, 20, 24, CPU)[0]
        expected = [alone.step(a).clone(), alone.step(b).clone()]
        got = [one.step(a).clone()]
        other.step(b)
        got.append(one.step(b).clone())
    assert all(map(torch.equal, got, expected))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@needs_compiler
@needs_bf16
@pytest.mark.parametrize("weights", shipped_weights())
@pytest.mark.parametrize("events", ["simulated", "real"])
def test_bf16_stays_within_one_grey_level_over_200_steps_if_auto_selects_it(weights, events, shared_file):
    network = load_network(weights)
    try:
        check_bf16(network)
    except RuntimeUnavailableError as error:
        pytest.skip(f"auto runs {weights} in fp32: {error}")
    if events == "real":
        recording = shared_file("recordings/slider_depth_start.bag")
    else:
        recording = next((Path(cista_ros.__file__).parent / "samples").glob("*.bag"))
    assert worst_mean_difference(recording, network) <= ONE_GREY_LEVEL


@needs_compiler
@needs_bf16
def test_auto_rejects_bf16_for_weights_with_growing_errors(authors_weights, monkeypatch):
    monkeypatch.setattr(choice, "has_matrix_unit", lambda: True)
    runtime, note = make_runtime("auto", load_network(authors_weights), 20, 24, CPU, "auto")
    assert (runtime.name, runtime.precision) == ("winograd", "fp32")
    assert "not native bf16: images differed by" in note


def worst_mean_difference(path, network, size=64, steps=200):
    """The worst mean difference of an image between bf16 and the reference, in the middle of a recording."""
    with open_recording(path) as recording:
        chunks = [r.message.events for r in recording.read(frames=False, camera_info=False)]
        height, width = recording.height, recording.width
    events = np.concatenate(chunks)
    top, left = (height - size) // 2, (width - size) // 2
    # Unsigned: coordinates left of or above the crop wrap around to large values.
    events["x"] -= left
    events["y"] -= top
    events = events[(events["x"] < size) & (events["y"] < size)]
    exact = Reconstructor(network, size, size, "cpu", runtime="eager")
    reduced = Reconstructor(network, size, size, "cpu", runtime="native", precision="bf16")
    return max(
        float(np.abs(exact.reconstruct(w, False).image - reduced.reconstruct(w, False).image).mean())
        for w in np.array_split(events, steps)
    )


@pytest.mark.parametrize("name", FAST)
@torch.inference_mode()
def test_every_runtime_returns_the_code_of_the_reference(name):
    network = random_network(channels=8)
    reference, runtime = (make_runtime(n, network, 25, 34, CPU)[0] for n in ("eager", name))
    for grid in grids(3, network.bins, 25, 34):
        reference.step(grid)
        runtime.step(grid)
        assert runtime.code().shape == (16, 13, 17)
        assert torch.allclose(runtime.code(), reference.code(), atol=EXACT)
    assert reference.code().abs().max() > 0.01


def test_code_is_none_for_a_network_without_a_sparse_code():
    runtime = make_runtime("eager", make_network("firenet"), 16, 16, CPU)[0]
    assert runtime.code() is None
    runtime.step(next(grids(1, 5, 16, 16)))
    assert runtime.code() is None
