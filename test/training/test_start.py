"""What a training starts with: compiled element-wise parts, and the optimiser Muon."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from cista_ros.networks import MODELS, make_network
from cista_ros.training.muon import Muon, orthogonal
from cista_ros.training.start import check_compiler, compile_elementwise
from cista_ros.training.state import TrainingError


def images_and_gradients(network, voxels):
    images, state = [], None
    for voxel in voxels:
        image, state = network(voxel, state)
        images.append(image.float())
    network.zero_grad()
    torch.stack(images).square().mean().backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return torch.stack(images).detach(), gradients, state


@pytest.mark.parametrize("name", ["cista", "cista-d", "cista-tc", "cista-lstc"])
def test_compiled_parts_give_the_same_images_and_gradients(name):
    torch.manual_seed(0)
    network = make_network(replace(MODELS[name], channels=4))
    voxels = torch.randn(3, 2, 5, 18, 23)
    images, gradients, _ = images_and_gradients(network, voxels)
    calls = []

    def counted(function):
        return lambda *arguments: (calls.append(function), function(*arguments))[1]

    compile_elementwise(network, counted)  # what is compiled, without the minute that compiling takes
    again, gradients_again, _ = images_and_gradients(network, voxels)
    codes = 3 * network.config.iterations * (name != "cista-lstc")
    assert len(calls) == codes + 3 * (name != "cista")
    torch.testing.assert_close(again, images, atol=1e-6, rtol=0)
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[key], gradient, atol=1e-6, rtol=1e-4)


def test_under_autocast_codes_are_bf16_and_images_are_close():
    torch.manual_seed(0)
    network = make_network(replace(MODELS["cista-tc"], channels=8))
    voxels = torch.randn(3, 2, 5, 18, 23)
    images, _, _ = images_and_gradients(network, voxels)
    compile_elementwise(network, lambda function: function)
    with torch.autocast("cpu", torch.bfloat16):
        near, gradients, state = images_and_gradients(network, voxels)
    assert state.code.dtype is torch.bfloat16 and state.cell.dtype is torch.float32
    torch.testing.assert_close(near, images, atol=0.01, rtol=0)
    assert all(g.isfinite().all() for g in gradients.values())


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "g++-of-nowhere -O2")
    with pytest.raises(TrainingError, match=r"g\+\+-of-nowhere is not installed"):
        check_compiler(torch.device("cpu"))


def test_steps_are_nearly_orthogonal_and_keep_their_directions():
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16), (24, 24)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        made = orthogonal(matrix)
        values = (u.T @ made @ v.T).diagonal()
        assert values.min() > 0.5 and values.max() < 1.3
        assert torch.allclose(made, u @ values.diag() @ v, atol=1e-3)


def test_weights_that_are_not_matrices_use_adam():
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


def test_muon_reduces_a_loss():
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
