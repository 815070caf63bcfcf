"""Twice as wide, the same images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cista_ros.networks import Cista, CistaConfig
from cista_ros.networks.widening import adapt, widen


@pytest.mark.parametrize(
    "options", [{}, {"shared": False}, {"similarity": False}, {"similarity": False, "recurrent": False}]
)
def test_a_widened_network_computes_the_same(options):
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=8, iterations=3, **options)).double().eval()
    for block in network.blocks:
        torch.nn.init.uniform_(block.theta, -0.1, 0.1)
        if block.alpha is not None:
            torch.nn.init.uniform_(block.alpha, -1, 1)
    wide = widen(network.float()).double()
    network = network.double()
    assert wide.config == CistaConfig(channels=16, iterations=3, **options)
    state = wide_state = None
    for _ in range(4):
        voxel = torch.randn(2, 5, 24, 33, dtype=torch.float64)
        image, state = network(voxel, state)
        wide_image, wide_state = wide(voxel, wide_state)
        assert torch.allclose(image, wide_image, atol=1e-7)


def test_the_twins_differ_in_what_they_pass_on():
    wide = widen(Cista(CistaConfig(channels=8)))
    first, second = wide.dictionary.weight.chunk(2, 1)
    assert not torch.allclose(first, second, rtol=0.01)


def images(network: Cista, voxels: torch.Tensor) -> list[torch.Tensor]:
    state, found = None, []
    for voxel in voxels:
        image, state = network(voxel, state)
        found.append(image)
    return found


@pytest.fixture
def taught() -> Cista:
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=8, iterations=3)).eval()
    torch.nn.init.uniform_(network.blocks[0].alpha, 0.5, 1)
    return network


@torch.no_grad()
def test_separate_blocks_begin_as_the_shared_one(taught):
    separate = adapt(taught, replace(taught.config, shared=False))
    voxels = torch.randn(3, 1, 5, 20, 24)
    assert len(separate.blocks) == 3
    assert all(torch.equal(a, b) for a, b in zip(images(taught, voxels), images(separate, voxels), strict=True))


@torch.no_grad()
def test_an_ablation_begins_as_the_network_whose_similarity_is_switched_off(taught):
    ablated = adapt(taught, replace(taught.config, similarity=False))
    voxels = torch.randn(3, 1, 5, 20, 24)
    ours = images(ablated, voxels)
    assert not torch.allclose(images(taught, voxels)[-1], ours[-1], atol=1e-6)
    taught.blocks[0].alpha.zero_()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(images(taught, voxels), ours, strict=True))


def test_other_channels_have_no_place(taught):
    with pytest.raises(ValueError, match="8 channels and 5 bins do not fit a network of 16 and 5"):
        adapt(taught, CistaConfig(channels=16))
