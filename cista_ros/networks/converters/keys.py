"""Keys of state dictionaries: renaming them, and reading shapes off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..network import Network

Weights = Mapping[str, Tensor]
Read = tuple[Network, dict[str, Tensor]]


def without_memory(make: Callable[[], Network]) -> Network:
    """Make a network on the meta device: it allocates no memory until the weights of a file fit."""
    with torch.device("meta"):
        return make()


def renamed(weights: Weights, names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Rename keys: split at dots, replace the runs of parts listed in `names`, in turn.

    Keys without a match stay unchanged and are reported by the check that follows.
    """
    result = {}
    for key, value in weights.items():
        dotted = f".{key}."
        for old, new in names:
            dotted = dotted.replace(f".{old}.", f".{new}." if new else ".")
        result[dotted[1:-1]] = value
    return result


def size_of(weights: Weights, key: str, dimension: int) -> int:
    """Return one dimension of a convolution's weight; 0, which no network accepts, if there is no such weight."""
    value = weights.get(key)
    return 0 if value is None or value.ndim != 4 else value.shape[dimension]


def count(weights: Weights, prefix: str) -> int:
    """Return the number of modules in a list: prefix.0., prefix.1., …"""
    return len({key[len(prefix) + 1 :].split(".")[0] for key in weights if key.startswith(f"{prefix}.")})
