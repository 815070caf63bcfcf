from __future__ import annotations

import json
import os
import pickle
import re
from types import SimpleNamespace

import pytest
import torch
from published_networks import firenet_shapes, random_weights
from safetensors.torch import load_file, save_file

from cista_ros.errors import CheckpointError
from cista_ros.networks import Cista, CistaConfig, load_network, save_network
from cista_ros.networks.checkpoints import FORMAT


def released_copy(released_weights, tmp_path, change):
    content = torch.load(released_weights, map_location="cpu", weights_only=True)
    change(content["state_dict"])
    path = tmp_path / "changed.pth.tar"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "config",
    [CistaConfig(channels=8), CistaConfig(channels=8, shared=False), CistaConfig(channels=6, bins=3, similarity=False)],
)
def test_saved_networks_are_loaded_with_their_architecture(tmp_path, config):
    network = Cista(config).eval()
    save_network(network, tmp_path / "a.safetensors", {"note": "hello"})
    again = load_network(tmp_path / "a.safetensors")
    assert again.config == config
    voxel = torch.randn(1, config.bins, 16, 18)
    assert torch.equal(network(voxel)[0], again(voxel)[0])
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())


def test_values_that_bfloat16_holds_take_half_the_room_and_come_back_as_they_were(tmp_path):
    network = Cista(CistaConfig(channels=16)).eval()
    save_network(network, tmp_path / "whole.safetensors")
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.bfloat16())
    save_network(network, tmp_path / "short.safetensors")
    again = load_network(tmp_path / "short.safetensors").state_dict()
    assert all(v.dtype == torch.float32 and torch.equal(v, again[k]) for k, v in network.state_dict().items())
    assert (tmp_path / "short.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size


def test_released_weights_load_as_a_shared_block_and_convert_to_our_format(released_weights, tmp_path):
    network = load_network(released_weights)
    assert network.config == CistaConfig()
    save_network(network, tmp_path / "a.safetensors")
    voxel = torch.randn(1, 5, 20, 20)
    assert torch.equal(network(voxel)[0], load_network(tmp_path / "a.safetensors")(voxel)[0])


def test_released_layout_with_different_blocks_loads_as_separate_blocks(released_weights, tmp_path):
    def untie(weights):
        weights["lista_blocks.3.Lambda"] = weights["lista_blocks.3.Lambda"] + 1

    network = load_network(released_copy(released_weights, tmp_path, untie))
    assert not network.config.shared
    assert len(network.blocks) == 5
    torch.testing.assert_close(network.blocks[3].theta, network.blocks[0].theta + 1)


class Bomb:
    def __reduce__(self):
        return (print, ("a pickle was run",))


def write_pickle(path):
    path.write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2))


def write_bare_tensor(path):
    torch.save(torch.zeros(3), path)


def write_list(path):
    torch.save({"state_dict": [1, 2]}, path)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_weights_files_have_the_mode_that_the_umask_asks_for(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_network(Cista(CistaConfig(channels=4)), tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
@pytest.mark.parametrize(
    ("content", "stub"),
    [
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"<html><body>404", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "git-lfs pointer"),
        (b"", "empty file"),
    ],
)
def test_what_often_comes_in_place_of_weights_is_recognised(tmp_path, name, content, stub):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)}: .*{stub}"):
        load_network(tmp_path / name)


def test_half_a_weights_file_is_called_truncated(tmp_path):
    path = tmp_path / "a.safetensors"
    save_network(Cista(CistaConfig(channels=4)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        load_network(path)


@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
@pytest.mark.parametrize("content", [b"hello", b"\x00" * 4096, b"PK\x03\x04broken"])
def test_files_that_are_no_checkpoints_are_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: (not a safetensors|not a weights file)"):
        load_network(path)


@pytest.mark.parametrize("write", [write_pickle, write_bare_tensor, write_list])
def test_foreign_torch_files_are_refused_and_never_run(tmp_path, capsys, write):
    write(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"neither .safetensors nor|no dictionary 'state_dict'"):
        load_network(tmp_path / "a.pth")
    assert "a pickle was run" not in capsys.readouterr().out


def test_objects_of_unknown_classes_beside_the_weights_are_left_out(tmp_path):
    """As in the files of FireNet+ and E2VID+, which hold a parse_config.ConfigParser."""
    weights = random_weights(firenet_shapes())
    torch.save({"config": SimpleNamespace(a=1), "state_dict": weights}, tmp_path / "plus.pth")
    network = load_network(tmp_path / "plus.pth")
    assert network.name == "firenet" and not network.conventions.normalise


@pytest.mark.parametrize("content", [SimpleNamespace(a=1), {"state_dict": SimpleNamespace(a=torch.zeros(1))}])
def test_objects_of_unknown_classes_in_place_of_weights_are_named(tmp_path, content):
    torch.save(content, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"whole.pth: .*types.SimpleNamespace") as caught:
        load_network(tmp_path / "whole.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("left", [0, 20, 0.5, 0.99])
def test_truncated_files_are_reported_as_truncated(tmp_path, old, left):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": random_weights(firenet_shapes())}, path, _use_new_zipfile_serialization=not old)
    content = path.read_bytes()
    path.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    with pytest.raises(CheckpointError, match=r"truncated") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_named_as_such(tmp_path):
    torch.save({"state_dict": {"net.head.weight": torch.zeros(1)}}, tmp_path / "firenet.pth.tar")
    with pytest.raises(CheckpointError, match=r"firenet.pth.tar: its keys are those of no network known here"):
        load_network(tmp_path / "firenet.pth.tar")


def test_missing_and_unknown_keys_are_listed(released_weights, tmp_path):
    def change(weights):
        del weights["W0.conv2d.bias"]
        weights["surprise.weight"] = torch.zeros(1)

    with pytest.raises(CheckpointError, match=r"missing: fusion.bias; unknown: surprise.weight"):
        load_network(released_copy(released_weights, tmp_path, change))


def test_wrong_shapes_and_values_that_are_not_finite_are_named(released_weights, tmp_path):
    def shape(weights):
        weights["W0.conv2d.bias"] = torch.zeros(63)

    def nan(weights):
        weights["W0.conv2d.bias"][0] = torch.nan

    with pytest.raises(CheckpointError, match=r"fusion.bias is \(63,\), expected \(64,\)"):
        load_network(released_copy(released_weights, tmp_path, shape))
    with pytest.raises(CheckpointError, match=r"fusion.bias holds values that are not finite"):
        load_network(released_copy(released_weights, tmp_path, nan))


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (None, "does not say format"),
        ({"format": FORMAT}, "no configuration of a network"),
        ({"format": FORMAT, "config": "{"}, "no configuration of a network"),
        ({"format": FORMAT, "config": json.dumps({"colour": 1})}, "no configuration of a network"),
        (
            {"format": FORMAT, "config": json.dumps({"channels": 10**9})},
            "channels must be a whole number from 1 to 4096",
        ),
        ({"format": FORMAT, "config": json.dumps({"channels": 16})}, "expected"),
    ],
)
def test_safetensors_without_our_metadata_or_with_an_architecture_that_does_not_fit(tmp_path, metadata, text):
    save_network(Cista(CistaConfig(channels=8)), tmp_path / "a.safetensors")
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", metadata)
    with pytest.raises(CheckpointError, match=text):
        load_network(tmp_path / "b.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="neither a file nor"):
        load_network(tmp_path / "nothing.safetensors")
