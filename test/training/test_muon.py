"""Muon: orthogonal steps, and Adam where there is no matrix."""

from __future__ import annotations

import torch
from torch import nn

from cista_ros.training.muon import Muon, orthogonal


def test_steps_are_nearly_orthogonal_and_keep_their_directions():
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16), (24, 24)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        made = orthogonal(matrix)
        values = (u.T @ made @ v.T).diagonal()
        assert values.min() > 0.5 and values.max() < 1.3
        assert torch.allclose(made, u @ values.diag() @ v, atol=1e-3)


def test_what_is_no_matrix_is_left_to_adam():
    torch.manual_seed(0)
    ours, theirs = nn.Conv2d(3, 1, 3), nn.Conv2d(3, 1, 3)
    theirs.load_state_dict(ours.state_dict())
    steps = [Muon(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.9, 0.99))]
    for _ in range(5):
        image = torch.randn(2, 3, 8, 8)
        for network, optimiser in zip((ours, theirs), steps, strict=True):
            optimiser.zero_grad()
            network(image).square().mean().backward()
            optimiser.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_step_has_the_size_of_adams():
    torch.manual_seed(0)
    network = nn.Conv2d(32, 64, 3, bias=False)
    before = network.weight.detach().clone()
    network(torch.randn(1, 32, 9, 9)).square().sum().backward()
    Muon(network.parameters(), lr=1e-3).step()
    size = (network.weight - before).square().mean().sqrt()
    assert 0.1e-3 < size < 0.4e-3


def test_it_goes_downhill():
    torch.manual_seed(0)
    network, image, wanted = nn.Conv2d(4, 4, 3), torch.randn(4, 4, 9, 9), torch.randn(4, 4, 7, 7)
    optimiser = Muon(network.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (network(image) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
