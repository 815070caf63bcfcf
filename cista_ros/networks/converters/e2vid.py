"""E2VID as uzh-rpg/rpg_e2vid published it (E2VID_lightweight.pth.tar), and whoever trained that code anew.

The published network takes normalised voxel grids. Its authors' own script then sharpens its images (unsharp mask,
0.3) and leaves their range alone unless told otherwise; EVREAL stretches them between the 1st and 99th percentile and
sharpens nothing. Of these only EVREAL's stretch is kept here, and only in EVREAL's protocol: the weights that the
CISTA paper trained are told from the published ones by the `arch` that the latter's file names (see checkpoints.py).
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
    """Whether these are the weights of a recurrent E2VID."""
    return f"{PREFIX}.head.conv2d.weight" in weights


def read(weights: Weights) -> Read:
    """The network, and its weights; ValueError for sizes that cannot be, or another kind of memory or norm."""
    if any(".reset_gate." in key for key in weights):
        raise ValueError("E2VID with ConvGRUs, of which only the one with ConvLSTMs is known")
    config = E2vidConfig(
        bins=size_of(weights, f"{PREFIX}.head.conv2d.weight", 1),
        channels=size_of(weights, f"{PREFIX}.head.conv2d.weight", 0),
        encoders=count(weights, f"{PREFIX}.encoders"),
        residual_blocks=count(weights, f"{PREFIX}.resblocks"),
        norm=f"{PREFIX}.pred.norm_layer.weight" in weights,
        transposed=f"{PREFIX}.decoders.0.transposed_conv2d.weight" in weights,
    )
    return without_memory(partial(E2vid, config)), renamed(weights, _NAMES)
