"""Windows in a row through a network."""

from __future__ import annotations

import torch

from cista_ros.networks import Cista, CistaConfig
from cista_ros.training.unrolled import Unrolled


def test_a_compiled_step_gives_the_same_images():
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=4, iterations=1))
    voxels, truth = torch.randn(3, 2, 5, 16, 16), torch.rand(3, 2, 1, 16, 16)
    forced = torch.zeros(3, 2, dtype=torch.bool)
    plain = Unrolled(network)(voxels, truth, forced, None)[0]
    # The eager backend: what matters here is that a compiled module is taken at all, and it needs no compiler.
    compiled = Unrolled(network, torch.compile(network, backend="eager"))(voxels, truth, forced, None)[0]
    assert torch.allclose(plain, compiled, atol=1e-6)
