"""E2VID as published in uzh-rpg/rpg_e2vid (E2VID_lightweight.pth.tar), and weights trained with that code.

The published network takes normalised voxel grids. Its authors' script then sharpens the images (unsharp mask, 0.3)
and by default keeps their range; EVREAL stretches them between the 1st and 99th percentile and does not sharpen. Here
only EVREAL's protocol stretches them. Unlike the published file, that of the CISTA paper has no key `arch` (see
checkpoints.py).
"""

from __future__ import annotations

from functools import partial

from ..e2vid import E2vid, E2vidConfig
from .keys import Read, Weights, count, renamed, size_of, without_memory

NAME = "E2VID (keys unetrecurrent.head, encoders, resblocks, decoders, pred)"
PREFIX = "unetrecurrent"

_NAMES = (
    (PREFIX, ""),
    ("recurrent_block.Gates", "memory.gates"),
    ("conv.conv2d", "conv.conv"),
    ("conv.norm_layer", "conv.norm"),
    ("transposed_conv2d", "conv"),
    ("conv2d", "conv"),
    ("norm_layer", "norm"),
    ("resblocks", "residual"),
    ("conv1", "first.conv"),
    ("conv2", "second.conv"),
    ("bn1", "first.norm"),
    ("bn2", "second.norm"),
    ("pred", "prediction"),
)


def recognises(weights: Weights) -> bool:
    """Return whether these are the weights of a recurrent E2VID."""
    return f"{PREFIX}.head.conv2d.weight" in weights


def read(weights: Weights) -> Read:
    """Return the network and its weights; ValueError for impossible sizes or another kind of memory."""
    if any(".reset_gate." in key for key in weights):
        raise ValueError("E2VID with ConvGRUs; only the variant with ConvLSTMs is supported")
    config = E2vidConfig(
        bins=size_of(weights, f"{PREFIX}.head.conv2d.weight", 1),
        channels=size_of(weights, f"{PREFIX}.head.conv2d.weight", 0),
        encoders=count(weights, f"{PREFIX}.encoders"),
        residual_blocks=count(weights, f"{PREFIX}.resblocks"),
        norm=f"{PREFIX}.pred.norm_layer.weight" in weights,
        transposed=f"{PREFIX}.decoders.0.transposed_conv2d.weight" in weights,
    )
    return without_memory(partial(E2vid, config)), renamed(weights, _NAMES)
