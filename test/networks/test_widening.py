"""Twice as wide, the same images."""

from __future__ import annotations

import pytest
import torch

from cista_ros.networks import Cista, CistaConfig
from cista_ros.networks.widening import widen


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
