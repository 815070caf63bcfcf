"""CISTA against an independent implementation, and its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import reference
from torch import nn

from cista_ros.networks import VARIANTS, Cista, CistaConfig, load_network
from cista_ros.networks.layers import conv3x3
from cista_ros.voxel_grid import normalise


def parameters(config):
    return sum(p.numel() for p in Cista(config).parameters())


def test_parameter_counts_are_the_published_ones():
    assert parameters(CistaConfig()) == 669_251
    assert parameters(CistaConfig(shared=False)) == 1_260_867


def test_variants_lack_the_parts_that_the_paper_ablates():
    lstm = 9 * 128 * 256 + 256
    similarity = 2 * (9 * 128 + 1) + 128
    assert parameters(VARIANTS["cista-tc"]) - parameters(VARIANTS["cista-d"]) == similarity
    assert parameters(VARIANTS["cista-d"]) - parameters(VARIANTS["cista"]) == lstm


def test_released_weights_give_the_images_of_an_independent_float64_computation(released_weights):
    released = torch.load(released_weights, map_location="cpu", weights_only=True)["state_dict"]
    expected, network, state = reference.ReferenceCistaTC(released), load_network(released_weights), None
    rng = np.random.default_rng(0)
    for _ in range(4):
        n = 600
        t = np.sort(rng.integers(0, 10**7, n))
        grid = reference.voxel_grid(rng.integers(0, 32, n), rng.integers(0, 24, n), t, rng.integers(0, 2, n), 24, 32)
        with torch.inference_mode():
            image, state = network(normalise(torch.from_numpy(grid).float())[None], state)
        np.testing.assert_allclose(image[0, 0], expected.step(grid), atol=2e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(16, 16), (17, 16), (18, 33), (45, 67)])
def test_any_size_and_batch_gives_images_of_that_size_between_0_and_1(variant, size):
    config = CistaConfig(channels=8, iterations=2, similarity=variant == "cista-tc", recurrent=variant != "cista")
    network, state = Cista(config), None
    for _ in range(3):
        image, state = network(torch.randn(2, 5, *size), state)
    assert image.shape == (2, 1, *size)
    assert 0 < image.min() < image.max() < 1


def test_a_step_is_a_pure_function(small_network):
    voxel = torch.randn(1, 5, 20, 24)
    _, state = small_network(voxel)
    kept = [entry.clone() for entry in state]
    first, _ = small_network(voxel, state)
    again, _ = small_network(voxel, state)
    assert torch.equal(first, again)
    assert all(map(torch.equal, state, kept))


@pytest.mark.parametrize("similarity, recurrent", [(False, False), (False, True), (True, True)])
def test_each_variant_keeps_only_the_state_that_it_uses(similarity, recurrent):
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=8, iterations=2, similarity=similarity, recurrent=recurrent))
    voxel = torch.randn(1, 5, 20, 24)
    _, state = network(voxel)

    def matters(**changed):
        return not torch.equal(network(voxel, state)[0], network(voxel, state._replace(**changed))[0])

    assert matters(image=state.image + 0.1), "the previous image is an input of all of them"
    assert matters(code=state.code + 1) == similarity
    assert matters(hidden=state.hidden + 0.1, cell=state.cell + 1) == recurrent


def test_sequences_of_a_batch_do_not_mix(small_network):
    voxels = torch.randn(3, 2, 5, 20, 24)
    state = alone = None
    for voxel in voxels:
        image, state = small_network(voxel, state)
        single, alone = small_network(voxel[1:], alone)
    torch.testing.assert_close(image[1:], single, atol=1e-6, rtol=0)


def test_iterations_of_separate_blocks_each_use_their_own():
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=8, iterations=3, shared=False))
    voxel = torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        for k in range(3):
            before = network(voxel)[0]
            network.blocks[k].theta += 0.2
            assert not torch.equal(network(voxel)[0], before)


@pytest.mark.parametrize("shape", [(1, 4, 20, 20), (1, 5, 15, 20)])
def test_a_grid_that_does_not_fit_is_refused_with_what_was_expected(small_network, shape):
    with pytest.raises(ValueError, match=r"this network takes 5 bins and at least 16x16 pixels"):
        small_network(torch.zeros(shape))


def test_a_state_of_another_size_is_refused(small_network):
    _, state = small_network(torch.zeros(1, 5, 20, 20))
    with pytest.raises(ValueError, match="state is of size"):
        small_network(torch.zeros(1, 5, 20, 22), state)


@pytest.mark.parametrize("wrong", [{"channels": 7}, {"channels": 0}, {"bins": -1}, {"iterations": "5"}, {"shared": 1}])
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CistaConfig(**wrong)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_reflected_convolution_equals_that_of_torch_and_is_close_under_autocast(stride):
    torch.manual_seed(0)
    layer = conv3x3(6, 4, stride)
    plain = nn.Conv2d(6, 4, 3, stride, padding=1, padding_mode="reflect")
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 17, 21, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    layer(x).square().sum().backward()
    plain(y).square().sum().backward()
    assert torch.equal(layer(x), plain(x)) and torch.equal(x.grad, y.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
        torch.testing.assert_close(layer(x).float(), plain(x).float(), atol=0.02, rtol=0.02)
