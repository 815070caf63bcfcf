"""Keys of state dictionaries: renaming them, and reading shapes off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..network import Network

Weights = Mapping[str, Tensor]
Read = tuple[Network, dict[str, Tensor]]


def without_memory(make: Callable[[], Network]) -> Network:
    """A network of shapes only: it allocates nothing until a file's weights were seen to fit."""
    with torch.device("meta"):
        return make()


def renamed(weights: Weights, names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Weights by our names: of each key's parts, split at dots, the runs listed in `names` are replaced in turn.

    Keys that nothing matches stay as they are, for whoever checks them to name them.
    """
    result = {}
    for key, value in weights.items():
        dotted = f".{key}."
        for old, new in names:
            dotted = dotted.replace(f".{old}.", f".{new}." if new else ".")
        result[dotted[1:-1]] = value
    return result


def size_of(weights: Weights, key: str, dimension: int) -> int:
    """One dimension of a convolution's weight; 0 (which no network accepts) if it is missing or no such weight."""
    value = weights.get(key)
    return 0 if value is None or value.ndim != 4 else value.shape[dimension]


def count(weights: Weights, prefix: str) -> int:
    """How many numbered members a list of modules has: prefix.0., prefix.1., …"""
    return len({key[len(prefix) + 1 :].split(".")[0] for key in weights if key.startswith(f"{prefix}.")})
