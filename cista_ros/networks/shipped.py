"""Weights by name: those that come with the package, and those that `cista weights get` has fetched."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import CheckpointError
from .published import PUBLISHED, cached_weights

WEIGHTS_FOLDER = Path(__file__).parent.parent / "weights"
DEFAULT_WEIGHTS, SMALL_WEIGHTS = "cista-tc", "cista-tc-small"


def shipped_weights() -> dict[str, Path]:
    """Name -> safetensors file of every network shipped with this package."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"), key=lambda path: path.stem)}


def choose_weights(name: str, device: torch.device) -> tuple[str, str]:
    """The weights that a name stands for on a device, and a sentence that says which, and for `auto` why.

    `auto` is cista-tc on a GPU, and on a CPU cista-tc-small: images nearly as good (docs/training.md) in half the time
    (docs/performance.md). Any other name is itself.
    """
    if name != "auto":
        return name, f"weights {name}"
    if device.type == "cpu":
        return SMALL_WEIGHTS, f"weights {SMALL_WEIGHTS} (auto: on a CPU, where {DEFAULT_WEIGHTS} takes twice as long)"
    return DEFAULT_WEIGHTS, f"weights {DEFAULT_WEIGHTS} (auto: on a GPU)"


def find_weights(name: str) -> Path:
    """The file that a name of shipped or fetched weights, or a path, stands for.

    Raises:
        CheckpointError: neither; the message lists the names there are.
    """
    shipped = shipped_weights()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    if name in PUBLISHED:
        if (cached := cached_weights(name)).is_file():
            return cached
        raise CheckpointError(f"weights {name!r}: not fetched yet (run: cista weights get {name})")
    known = f"shipped with this version: {', '.join(shipped)}" if shipped else "this version ships none: give a file"
    raise CheckpointError(f"weights {name!r}: neither a file nor the name of shipped weights ({known})")
