"""Weights on disk: our own safetensors files, and the checkpoints that the paper's authors published.

No file is ever unpickled: safetensors hold numbers only, and `.pth.tar` files go through torch's weights-only reader.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from .cista import Cista, CistaConfig

FORMAT = "cista_ros/1"

# The authors' module names, and ours.
_RELEASED_NAMES = {
    "We": "events_head",
    "Wi": "image_head",
    "W0": "fusion",
    "P0": "first_code",
    "one_conv_for_prev": "attend_previous",
    "one_conv_for_cur": "attend_current",
    "Dg.conv": "dictionary",
    "Dg.recurrent_block.Gates": "memory.gates",
    "upsamp_conv": "upsampled",
    "final_conv": "prediction",
}


def save_network(network: Cista, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write weights to a safetensors file, with the architecture (and any further text) in its metadata."""
    header = {**(metadata or {}), "format": FORMAT, "config": json.dumps(asdict(network.config))}
    save_file({k: v.detach().contiguous().cpu() for k, v in network.state_dict().items()}, path, header)


def load_network(path: str | Path) -> Cista:
    """Read a network, on the CPU and in evaluation mode, from a `.safetensors` file of ours or an authors' `.pth.tar`.

    Raises:
        CheckpointError: no such file, not a checkpoint, or the weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    network, weights = (_read_own if path.suffix == ".safetensors" else _read_released)(path)
    _check(path, network, weights)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _read_own(path: Path) -> tuple[Cista, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: its metadata does not say format={FORMAT}; not written by cista_ros")
    try:
        network = _without_memory(CistaConfig(**json.loads(metadata["config"])))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata holds no CISTA configuration ({error})") from None
    return network, weights


def _read_released(path: Path) -> tuple[Cista, dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError on foreign bytes
        raise CheckpointError(
            f"{path}: neither .safetensors nor a torch checkpoint of plain weights ({type(error).__name__})"
        ) from None
    released = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(released, dict) or not all(isinstance(v, Tensor) for v in released.values()):
        raise CheckpointError(f"{path}: holds no dictionary 'state_dict' of tensors, as the authors' checkpoints do")
    iterations = sum(key.endswith(".Lambda") for key in released)
    shapes = [released.get(f"{name}.conv2d.weight") for name in ("We", "P0", "lista_blocks.0.D")]
    if not iterations or any(w is None or w.ndim != 4 for w in shapes):
        raise CheckpointError(f"{path}: not the weights of a CISTA network (no We, P0, lista_blocks)")
    weights = dict(_renamed(released))
    # Tied blocks are written once for each iteration; equal copies are read as one shared block.
    tied = all(
        torch.equal(value, weights.get("blocks.0." + key.split(".", 2)[2], value[:0]))
        for key, value in weights.items()
        if key.startswith("blocks.")
    )
    if tied:
        weights = {k: v for k, v in weights.items() if not k.startswith("blocks.") or k.startswith("blocks.0.")}
    return _released_network(path, released, iterations, tied), weights


def _released_network(path: Path, released: dict[str, Tensor], iterations: int, tied: bool) -> Cista:
    events_head = released["We.conv2d.weight"]
    try:
        config = CistaConfig(
            bins=events_head.shape[1],
            channels=2 * events_head.shape[0],
            iterations=iterations,
            shared=tied,
            similarity="alpha.0" in released,
            recurrent="Dg.recurrent_block.Gates.weight" in released,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return _without_memory(config)


def _without_memory(config: CistaConfig) -> Cista:
    """A network of shapes only: a file's configuration allocates nothing until its weights were seen to fit."""
    with torch.device("meta"):
        return Cista(config)


def _renamed(released: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The authors' keys by our names; keys that we do not know stay, for `_check` to name them."""
    renamed = []
    for key, value in released.items():
        module, _, leaf = key.replace(".conv2d.", ".").rpartition(".")
        if key.startswith("alpha."):
            new = f"blocks.{leaf}.alpha"
        elif module.startswith("lista_blocks."):
            new = f"blocks.{module.removeprefix('lista_blocks.')}.{'theta' if leaf == 'Lambda' else leaf}"
        else:
            new = f"{_RELEASED_NAMES.get(module, module)}.{leaf}"
        renamed.append((new, value))
    return renamed


def _check(path: Path, network: Cista, weights: dict[str, Tensor]) -> None:
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
        if not weights[name].isfinite().all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
