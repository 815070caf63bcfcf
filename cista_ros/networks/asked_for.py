"""A network as those commands take it that measure: a kind, with random weights, or weights by name or file."""

from __future__ import annotations

from pathlib import Path

from .checkpoints import load_network
from .models import MODELS, make_network
from .network import Network
from .shipped import find_weights


def find_asked_for(name: str) -> Path | None:
    """The weights' file that a name stands for; None for the name of a kind. CheckpointError if it is neither."""
    return None if name in MODELS else find_weights(name)


def load_asked_for(name: str, weights: Path | None) -> Network:
    """The network on the CPU, ready to be run: of `weights`, or without them of the kind `name`, drawn at random.

    CheckpointError for a file that holds no weights.
    """
    network = make_network(name) if weights is None else load_network(weights)
    return network.eval().requires_grad_(False)
