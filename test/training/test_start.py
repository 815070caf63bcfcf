"""Networks with compiled element-wise parts compute the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cista_ros.networks import MODELS, make_network
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
