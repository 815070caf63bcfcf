"""All networks behind one interface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cista_ros.events import make_events
from cista_ros.networks import MODELS, Conventions, load_network, make_network, model_of, save_network
from cista_ros.networks.cista import VARIANTS, Cista
from cista_ros.networks.cista_lstc import CistaLstc, CistaLstcConfig
from cista_ros.networks.e2vid import E2vid, E2vidConfig
from cista_ros.networks.firenet import Firenet, FirenetConfig
from cista_ros.networks.pie_net import PieNet, PieNetConfig
from cista_ros.networks.spade_e2vid import SpadeE2vid, SpadeE2vidConfig
from cista_ros.reconstructor import Reconstructor

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "cista-lstc": lambda: CistaLstc(CistaLstcConfig(channels=8, iterations=2)),
    "e2vid": lambda: E2vid(E2vidConfig(channels=4, residual_blocks=1)),
    "e2vid-bilinear": lambda: E2vid(E2vidConfig(channels=4, encoders=2, norm=False, transposed=False)),
    "firenet": lambda: Firenet(FirenetConfig(channels=4)),
    "pie-net-lite": lambda: PieNet(PieNetConfig(channels=(4, 8, 8), pools=(2, 2), blocks=True)),
    "spade-e2vid": lambda: SpadeE2vid(SpadeE2vidConfig(channels=4)),
}


@pytest.fixture(params=SMALL)
def network(request):
    torch.manual_seed(0)
    return SMALL[request.param]().eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (30, 41)])
def test_any_size_goes_in_and_comes_out_and_the_past_matters(network, size):
    voxel = torch.randn(1, 5, *size)
    first, state = network(voxel)
    second, _ = network(voxel, state)
    assert first.shape == second.shape == (1, 1, *size)
    assert not torch.equal(first, second)
    # A step is a pure function: neither its input nor the state were touched.
    assert torch.equal(network(voxel, state)[0], second)


def test_sequences_of_a_batch_do_not_mix(network):
    voxels = torch.randn(2, 3, 5, 20, 24)
    together = alone = None
    for voxel in voxels:
        images, together = network(voxel, together)
        image, alone = network(voxel[1:2], alone)
        torch.testing.assert_close(images[1:2], image)


def test_voxel_grids_and_states_of_other_shapes_are_refused(network):
    with pytest.raises(ValueError, match="takes 5 bins"):
        network(torch.zeros(1, 4, 32, 32))
    with pytest.raises(ValueError, match="at least 16x16"):
        network(torch.zeros(1, 5, 15, 32))
    _, state = network(torch.zeros(1, 5, 32, 32))
    with pytest.raises(ValueError, match="state is of"):
        network(torch.zeros(1, 5, 64, 32), state)


def test_networks_can_be_trained_and_saved_and_are_read_back(network, tmp_path):
    network.requires_grad_(True).train()
    voxel = torch.randn(2, 5, 24, 24)
    image, state = network(voxel)
    image, _ = network(voxel, state)
    image.square().mean().backward()
    # Nothing but alpha-like parameters of the first step may be idle; a gradient of nothing would be a broken graph.
    assert (
        sum(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
        > len(list(network.parameters())) / 2
    )
    network.eval()
    network.conventions = Conventions(normalise=False, robust=True)
    save_network(network, tmp_path / "a.safetensors")
    again = load_network(tmp_path / "a.safetensors")
    assert again.config == network.config and again.conventions == network.conventions
    with torch.no_grad():
        assert torch.equal(again(voxel)[0], network(voxel)[0])


def test_the_reconstructor_follows_the_conventions_of_the_weights():
    class Echo(Firenet):
        def forward(self, voxel, state=None):
            return 0.4 * voxel[:, 2:3] + 5 * voxel[:, 4:5], None

    events = make_events([3, 3, 5], [4, 4, 6], [0, 500, 1000], [True, True, False])
    network = Echo()
    raw = {}
    for normalise in (True, False):
        network.conventions = Conventions(normalise=normalise)
        raw[normalise] = Reconstructor(network, 16, 16, "cpu", runtime="eager").reconstruct(events).image
    assert raw[False][4, 3] == np.float32(0.4) and 0.2 < raw[True][4, 3] < 0.3
    # Its linear output, -5 there, is brought into the range of images.
    assert raw[False][6, 5] == 0


def test_names_make_networks_and_other_names_are_listed():
    papers = ["cista", "cista-d", "cista-tc"]
    assert list(MODELS) == [*papers, "cista-lstc", "e2vid", "firenet", "pie-net", "spade-e2vid", "pie-net-lite"]
    assert make_network("firenet").name == "firenet"
    with pytest.raises(ValueError, match="'unet' is not one of cista, "):
        make_network("unet")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: E2vidConfig(encoders=9), "encoders must be a whole number from 1 to 4"),
        (lambda: E2vidConfig(norm=1), "norm must be true or false"),
        (lambda: SpadeE2vidConfig(bins=2), "bins must be at least 3"),
        (lambda: CistaLstcConfig(channels=7), "channels must be even"),
        (lambda: FirenetConfig(channels=0), "channels must be a whole number"),
        (lambda: PieNetConfig(pools=(2, 2)), "4 channels do not fit 2 encoders"),
        (lambda: PieNetConfig(channels=(8, 16, 24, 30)), "multiples of 4"),
        (lambda: PieNetConfig(channels=8), "channels must be whole numbers"),
    ],
)
def test_configurations_that_cannot_be_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("name", MODELS)
def test_model_of_a_published_network_is_that_network(name):
    with torch.device("meta"):
        assert model_of(make_network(name)) == (name, {})


@pytest.mark.parametrize("name", VARIANTS)
def test_model_of_a_smaller_variant_gives_the_differences(name):
    assert model_of(Cista(replace(VARIANTS[name], channels=4, iterations=1))) == (
        name,
        {"channels": 4, "iterations": 1},
    )
