"""SPADE-E2VID as published in RodrigoGantier/SPADE_E2VID, and as trained with it by the CISTA paper's authors.

The published file is a bare state dictionary, and its network takes raw counts; the file of the CISTA paper's authors
has the weights under `state_dict`, and its network takes normalised voxel grids (see checkpoints.py).
"""

from __future__ import annotations

from functools import partial

from ..spade_e2vid import SpadeE2vid, SpadeE2vidConfig
from .keys import Read, Weights, renamed, size_of, without_memory

NAME = "SPADE-E2VID (keys fc, rec0…2, res0…1, up0…2, conv_img, bn_img)"

_NAMES = (
    ("fc", "head.conv"),
    *((f"rec{i}", f"encoders.{i}") for i in range(3)),
    *((f"res{i}", f"residual.{i}") for i in range(2)),
    ("up2.conv0", "last.conv0"),
    ("up2.bn", "last.bn"),
    ("up2.recurrent_block", "last.recurrent_block"),
    *((f"up{i}.conv0", f"decoders.{i}.conv") for i in range(2)),
    *((f"up{i}.norm", f"decoders.{i}.spade") for i in range(2)),
    ("conv0", "conv.conv"),
    ("bn", "conv.norm"),
    ("recurrent_block.Gates", "memory.gates"),
    ("conv1", "first.conv"),
    ("conv2", "second.conv"),
    ("bn1", "first.norm"),
    ("bn2", "second.norm"),
    ("param_free_norm", "norm"),
    ("mlp_shared.0", "shared.conv"),
    ("mlp_gamma", "gain.conv"),
    ("mlp_beta", "shift.conv"),
    ("conv_img", "prediction"),
    ("bn_img", "prediction_norm"),
)


def recognises(weights: Weights) -> bool:
    """Return whether these are the weights of a SPADE-E2VID."""
    return "fc.weight" in weights and "up0.norm.mlp_gamma.weight" in weights


def read(weights: Weights) -> Read:
    """Return the network and its weights; ValueError for impossible sizes."""
    config = SpadeE2vidConfig(bins=size_of(weights, "fc.weight", 1), channels=size_of(weights, "fc.weight", 0))
    return without_memory(partial(SpadeE2vid, config)), renamed(weights, _NAMES)
