"""Weights on disk: safetensors files of this package, and published checkpoints (converters.py).

No file is unpickled: safetensors contain numbers only, and `.pth.tar` files are read by torch's weights-only reader.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import CheckpointError
from ..util.atomic import write_whole
from .converters import convert
from .models import MODELS, make_kind, make_network
from .network import Conventions, Network, check_switches
from .torch_files import NUMBERS, Inert, plain_tensors, read_torch_file
from .weights import find_weights

FORMAT = "cista_ros/1"


def save_network(network: Network, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write weights to a safetensors file, with the architecture (and `metadata`) in its metadata.

    Values that bfloat16 represents exactly are stored so; loading makes them float32 again. OSError names the file.
    """
    header = {
        **(metadata or {}),
        "format": FORMAT,
        "network": network.name,
        "config": json.dumps(asdict(network.config)),
        "conventions": json.dumps(asdict(network.conventions)),
    }
    tensors = {k: _compact(v.detach().contiguous().cpu()) for k, v in network.state_dict().items()}
    # save_file of safetensors makes files that only their owner can read.
    write_whole(Path(path), save(tensors, header))


def _compact(values: Tensor) -> Tensor:
    """Return the values as bfloat16 if it represents all of them exactly, else unchanged."""
    short = values.bfloat16()
    return short if values.dtype == torch.float32 and torch.equal(short.float(), values) else values


def load_network(path: str | Path) -> Network:
    """Read a network from a file, or by the name of shipped or fetched weights, ready for inference on the CPU.

    Raises:
        CheckpointError: no such file or name, not weights, weights of another network, or values that are not finite.
    """
    path = find_weights(str(path))
    if foreign := _foreign_content(path):
        raise CheckpointError(f"{path}: {foreign}, not weights")
    network, weights = (_read_own if path.suffix == ".safetensors" else _read_published)(path)
    _check(path, network, weights)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def find_weights_unless_kind(name: str) -> Path | None:
    """Return the file of weights by name, or None for a kind of network in MODELS; CheckpointError if it is neither."""
    return None if name in MODELS else find_weights(name)


def load_or_make_network(kind: str, weights: Path | None) -> Network:
    """Return a network for inference on the CPU, of a weights file or without one of a kind with random weights."""
    network = make_network(kind) if weights is None else load_network(weights)
    return network.eval().requires_grad_(False)


def _foreign_content(path: Path) -> str:
    """Describe a file of a kind that users often have in place of weights; empty for any other file."""
    with path.open("rb") as file:
        begin = file.read(512).lstrip().lower()
    if not begin:
        return "an empty file"
    if begin.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "an HTML page, such as a download page"
    if begin.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer (run `git lfs pull` in its repository)"
    return ""


def _read_own(path: Path) -> tuple[Network, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a truncated one ({error})") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: its metadata does not say format={FORMAT}; not written by cista_ros")
    kind = metadata.get("network", "cista")  # older files do not name it
    try:
        config = json.loads(metadata["config"])
        with torch.device("meta"):  # allocates no memory until the weights fit
            network = make_kind(kind, config)
        network.conventions = Conventions(**json.loads(metadata.get("conventions", "{}")))
        check_switches(network.conventions, "normalise", "robust")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata holds no configuration of a network ({error})") from None
    return network, weights


def _read_published(path: Path) -> tuple[Network, dict[str, Tensor]]:
    try:
        content = read_torch_file(path, unknown_classes=True)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not a weights file: neither .safetensors nor a torch checkpoint of plain weights ({error})"
        ) from None
    published = content.get("state_dict", content) if isinstance(content, dict) else content
    if isinstance(published, Inert):
        raise CheckpointError(f"{path}: holds an object of {published.of}, expected a dictionary of tensors")
    if not plain_tensors(published):
        raise CheckpointError(f"{path}: holds no dictionary 'state_dict' of tensors, as published checkpoints do")
    try:
        network, weights = convert(published)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    network.conventions = _conventions(network.name, content)
    return network, weights


def _conventions(name: str, content: dict[str, Any]) -> Conventions:
    """Return the conventions of published weights, as their authors and EVREAL use them, by marks in the file."""
    # Stoffregen et al. (E2VID+, FireNet+) save their ConfigParser; rpg_e2vid's `config`, if any, is a plain dictionary.
    if name == "pie-net" or isinstance(content.get("config"), Inert):
        return Conventions(normalise=False)
    if name == "e2vid" and "arch" in content:  # of rpg_e2vid; the CISTA paper's have only epoch and state_dict
        return Conventions(robust=True)
    if name == "spade-e2vid" and "state_dict" not in content:
        return Conventions(normalise=False)
    return Conventions()


def _check(path: Path, network: Network, weights: dict[str, Tensor]) -> None:
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{path}: the weights of another network (missing: {', '.join(missing) or 'none'};"
            f" unknown: {', '.join(unknown) or 'none'})"
        )
    for name, value in expected.items():
        if weights[name].shape != value.shape:
            raise CheckpointError(f"{path}: {name} is {tuple(weights[name].shape)}, expected {tuple(value.shape)}")
        if weights[name].dtype not in NUMBERS:
            raise CheckpointError(f"{path}: {name} holds {weights[name].dtype}, expected {value.dtype}")
        given, weights[name] = weights[name], weights[name].to(value.dtype)
        if not (given.isfinite().all() and weights[name].isfinite().all()):
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
