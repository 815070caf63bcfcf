"""Published checkpoints, by the key lists they have: synthetic weights, and the real ones where they lie beside."""

from __future__ import annotations

import pytest
import torch
from published_networks import (
    e2vid_shapes,
    e2vid_step,
    firenet_plus_shapes,
    firenet_plus_step,
    firenet_shapes,
    firenet_step,
    lstc_shapes,
    lstc_step,
    pie_net_shapes,
    pie_net_step,
    random_weights,
    spade_shapes,
    spade_step,
)

from cista_ros.errors import CheckpointError
from cista_ros.networks import Conventions, count_parameters, load_network, save_network

pytestmark = pytest.mark.usefixtures("one_thread")

# Of a few channels, so that they are quick.
CASES = {
    "e2vid": (e2vid_shapes(c=4), e2vid_step),
    "e2vid-no-norm": (e2vid_shapes(bn=False, c=4), e2vid_step),
    "e2vid-bilinear": (e2vid_shapes(bn=False, transposed=False, c=4), e2vid_step),
    "firenet": (firenet_shapes(), firenet_step),
    "firenet-plus": (firenet_plus_shapes(), firenet_plus_step),
    "pie-net": (pie_net_shapes(3), pie_net_step),
    "pie-net-lite": (pie_net_shapes(2), pie_net_step),
    "spade": (spade_shapes(c=4), spade_step),
    "lstc": (lstc_shapes(c=8), lstc_step),
}
# Parameters, and megabytes with the statistics of batch normalisation. The paper's Table 3 says 42.9 and 45.9; the 0.16
# that it says of FireNet is the size of the file.
SIZES = [
    (e2vid_shapes(), 10_712_098, 42.9),
    (firenet_shapes(), 37_777, 0.2),
    (firenet_plus_shapes(), 37_777, 0.2),
    (pie_net_shapes(3), 154_201, 0.6),
    (pie_net_shapes(2), 78_537, 0.3),
    (spade_shapes(), 11_461_353, 45.9),
    (lstc_shapes(), 1_404_481, 5.6),
]


def written(tmp_path, weights, bare=False, **more):
    torch.save(weights if bare else {"epoch": 3, "state_dict": weights, **more}, tmp_path / "a.pth.tar")
    return tmp_path / "a.pth.tar"


@pytest.mark.parametrize("name", CASES)
def test_published_keys_give_the_published_network(tmp_path, name):
    shapes, step = CASES[name]
    weights = random_weights(shapes)
    network = load_network(written(tmp_path, weights))
    state = theirs = None
    torch.manual_seed(1)
    for _ in range(3):
        voxel = torch.randn(1, 5, 24, 32)
        image, state = network(voxel, state)
        expected, theirs = step(weights, voxel, theirs)
        torch.testing.assert_close(image, expected, atol=2e-6, rtol=1e-5)
    assert image.std() > 1e-4, "images of one value would hide mistakes"


@pytest.mark.parametrize(("shapes", "parameters", "megabytes"), SIZES)
def test_sizes_are_the_published_ones(tmp_path, shapes, parameters, megabytes):
    network = load_network(written(tmp_path, {key: torch.zeros(shape) for key, shape in shapes.items()}))
    assert count_parameters(network) == parameters
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    assert round(size / 1e6, 1) == megabytes


def test_files_determine_the_conventions_of_their_weights(tmp_path):
    e2vid, spade = random_weights(e2vid_shapes(c=4)), random_weights(spade_shapes(c=4))
    assert load_network(written(tmp_path, e2vid, arch="E2VIDRecurrent")).conventions == Conventions(robust=True)
    assert load_network(written(tmp_path, e2vid)).conventions == Conventions()
    assert load_network(written(tmp_path, spade, bare=True)).conventions == Conventions(normalise=False)
    assert load_network(written(tmp_path, spade)).conventions == Conventions()
    for encoders in (2, 3):
        path = written(tmp_path, random_weights(pie_net_shapes(encoders)), bare=True)
        assert load_network(path).conventions == Conventions(normalise=False)


def test_firenet_of_the_papers_authors_is_loaded(shared_file):
    path = shared_file("weights/authors-firenet.pth.tar")
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert {key: tuple(value.shape) for key, value in weights.items()} == firenet_shapes()
    network = load_network(path)
    voxel = torch.randn(2, 5, 19, 30)
    first, state = network(voxel)
    expected, theirs = firenet_step(weights, voxel, None)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(network(voxel, state)[0], firenet_step(weights, voxel, theirs)[0])


def remove_a_key(weights):
    del weights["unetrecurrent.resblocks.1.bn2.weight"]


def turn_into_gru(weights):
    weights["unetrecurrent.encoders.0.recurrent_block.reset_gate.weight"] = torch.zeros(1)


def swell(weights):
    weights["unetrecurrent.head.conv2d.weight"] = torch.zeros(513, 5, 5, 5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (remove_a_key, r"missing: residual.1.second.norm.weight; unknown: none"),
        (turn_into_gru, "only the variant with ConvLSTMs is supported"),
        (swell, "channels must be a whole number from 1 to 512, not 513"),
    ],
)
def test_weights_of_a_like_network_are_refused_and_say_why(tmp_path, change, text):
    weights = random_weights(e2vid_shapes(c=4))
    change(weights)
    with pytest.raises(CheckpointError, match=text):
        load_network(written(tmp_path, weights))


def test_untied_cista_lstc_is_refused(tmp_path):
    weights = random_weights(lstc_shapes(c=8))
    weights["lista_blocks.2.Lambda"] = weights["lista_blocks.2.Lambda"] + 1
    with pytest.raises(CheckpointError, match="only a shared block is supported"):
        load_network(written(tmp_path, weights))


def test_a_key_of_a_block_without_a_layer_is_named(tmp_path):
    weights = random_weights(lstc_shapes(c=8)) | {"lista_blocks.0": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"unknown: .*blocks\.0"):
        load_network(written(tmp_path, weights))


def test_pie_net_of_another_depth_is_refused(tmp_path):
    weights = {key: v for key, v in random_weights(pie_net_shapes(2)).items() if not key.startswith("model.downs.1.")}
    with pytest.raises(CheckpointError, match="PIE-Net with 1 encoders"):
        load_network(written(tmp_path, weights))


def test_firenet_plus_as_evreal_distributes_it(shared_file):
    network = load_network(shared_file("weights/evreal-firenet-plus.pth"))
    assert count_parameters(network) == 37_777 and network.conventions == Conventions(normalise=False)


def test_a_saved_pie_net_is_read_back(tmp_path):
    network = load_network(written(tmp_path, random_weights(pie_net_shapes(2)), bare=True))
    save_network(network, tmp_path / "a.safetensors")
    again = load_network(tmp_path / "a.safetensors")
    assert again.config == network.config and again.conventions == network.conventions
    voxel = torch.randn(1, 5, 24, 32)
    torch.testing.assert_close(again(voxel)[0], network(voxel)[0])
