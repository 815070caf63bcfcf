"""FireNet as cedric-scheerlinck/rpg_e2vid published it, and the one that the CISTA paper's authors trained with it."""

from __future__ import annotations

from functools import partial

from ..firenet import Firenet, FirenetConfig
from .keys import Read, Weights, renamed, size_of, without_memory

NAME = "FireNet (keys net.head, net.resblocks, net.pred)"

_NAMES = (
    ("net.head.conv.conv2d", "head.conv"),
    ("net.head.recurrent_block", "first_memory"),
    ("net.resblocks.0.conv", "first_block"),
    ("net.resblocks.0.recurrent_block", "second_memory"),
    ("net.resblocks.1", "second_block"),
    ("net.pred.conv2d", "prediction.conv"),
    ("reset_gate", "reset"),
    ("update_gate", "update"),
    ("out_gate", "candidate"),
    ("conv1", "first.conv"),
    ("conv2", "second.conv"),
)


def recognises(weights: Weights) -> bool:
    """Whether these are the weights of a FireNet."""
    return "net.head.conv.conv2d.weight" in weights


def read(weights: Weights) -> Read:
    """The network, and its weights; ValueError for sizes that cannot be."""
    head = "net.head.conv.conv2d.weight"
    config = FirenetConfig(bins=size_of(weights, head, 1), channels=size_of(weights, head, 0))
    return without_memory(partial(Firenet, config)), renamed(weights, _NAMES)
