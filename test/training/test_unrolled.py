"""Networks unrolled over windows: what teacher forcing gives to each, and what cutting the graph leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cista_ros.networks import MODELS, Cista, CistaConfig, Network, make_network
from cista_ros.training.trainer import Unrolled, detach


def narrow(name: str) -> Network:
    published = MODELS[name]
    return make_network(published if isinstance(published.channels, tuple) else replace(published, channels=4))


@pytest.mark.parametrize("name", MODELS)
def test_forced_windows_see_the_true_image_if_the_network_is_fed_back_at_all(name):
    torch.manual_seed(0)
    network = narrow(name).eval()
    unrolled = Unrolled(network)
    voxels, truth, other = torch.randn(3, 2, 5, 21, 26), torch.rand(3, 2, 1, 21, 26), torch.rand(3, 2, 1, 21, 26)
    second = torch.tensor([[False, False], [True, False], [False, False]])

    with torch.no_grad():
        free, _, code_l1 = unrolled(voxels, truth, torch.zeros_like(second), None)
        forced, otherwise = (unrolled(voxels, true, second, None)[0] for true in (truth, other))
        own, state = [], None
        for voxel in voxels:
            image, state = network(voxel, state)
            own.append(image)
    assert torch.equal(free, torch.stack(own))
    assert torch.equal(forced[0], free[0]) and torch.equal(forced[:, 1], free[:, 1])
    assert torch.allclose(forced[1:, 0], free[1:, 0], atol=1e-6) != network.fed_back
    assert torch.allclose(forced[1:, 0], otherwise[1:, 0], atol=1e-6) != network.fed_back
    assert (code_l1 > 0) == (network.codes(state) is not None) == name.startswith("cista")


@pytest.mark.parametrize("name", MODELS)
def test_a_detached_state_goes_on_without_its_graph(name):
    network = narrow(name).eval()
    voxel = torch.randn(1, 5, 20, 20)
    _, state = network(voxel)
    cut = detach(state)
    assert type(cut) is type(state)
    image, _ = network(voxel, cut)
    assert torch.equal(image, network(voxel, state)[0])
    network.zero_grad()
    image.sum().backward()


def test_a_compiled_step_gives_the_same_images():
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=4, iterations=1))
    voxels, truth = torch.randn(3, 2, 5, 16, 16), torch.rand(3, 2, 1, 16, 16)
    forced = torch.zeros(3, 2, dtype=torch.bool)
    plain = Unrolled(network)(voxels, truth, forced, None)[0]
    # The eager backend: what matters here is that a compiled module is taken at all, and it needs no compiler.
    compiled = Unrolled(network, torch.compile(network, backend="eager"))(voxels, truth, forced, None)[0]
    assert torch.allclose(plain, compiled, atol=1e-6)
