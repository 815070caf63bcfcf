"""FireNet as cedric-scheerlinck/rpg_e2vid published it, retrained by the CISTA paper's authors, and FireNet+.

FireNet+ (Stoffregen et al., "Reducing the Sim-to-Real Gap for Event Cameras", ECCV 2020) is the same network under
other keys; its voxel grids are not normalised (see checkpoints.py).
"""

from __future__ import annotations

from functools import partial

from ..firenet import Firenet, FirenetConfig
from .keys import Read, Weights, renamed, size_of, without_memory

NAME = "FireNet (keys net.head, net.resblocks, net.pred) or FireNet+ (keys head, G1, R1, G2, R2, pred)"

_NAMES = (
    ("net.head.conv.conv2d", "head.conv"),
    ("net.head.recurrent_block", "first_memory"),
    ("net.resblocks.0.conv", "first_block"),
    ("net.resblocks.0.recurrent_block", "second_memory"),
    ("net.resblocks.1", "second_block"),
    ("net.pred.conv2d", "prediction.conv"),
    ("head.conv2d", "head.conv"),
    ("G1", "first_memory"),
    ("R1", "first_block"),
    ("G2", "second_memory"),
    ("R2", "second_block"),
    ("pred.conv2d", "prediction.conv"),
    ("reset_gate", "reset"),
    ("update_gate", "update"),
    ("out_gate", "candidate"),
    ("conv1", "first.conv"),
    ("conv2", "second.conv"),
)


def recognises(weights: Weights) -> bool:
    """Return whether these are the weights of a FireNet."""
    return "net.head.conv.conv2d.weight" in weights or is_plus(weights)


def is_plus(weights: Weights) -> bool:
    """Return whether these are the weights of a FireNet+."""
    return {"head.conv2d.weight", "G1.reset_gate.weight"} <= weights.keys()


def read(weights: Weights) -> Read:
    """Return the network and its weights; ValueError for impossible sizes."""
    head = "head.conv2d.weight" if is_plus(weights) else "net.head.conv.conv2d.weight"
    config = FirenetConfig(bins=size_of(weights, head, 1), channels=size_of(weights, head, 0))
    return without_memory(partial(Firenet, config)), renamed(weights, _NAMES)
