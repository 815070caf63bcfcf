"""PIE-Net and PIE-Net-Lite as VincentQQu/pie-net publishes them (pretrained/model.pth, model_lite.pth)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..pie_net import PIE_NET_LITE, PieNet, PieNetConfig
from .keys import Read, Weights, count, renamed, size_of, without_memory

NAME = "PIE-Net (keys model.stem, model.downs, model.ups, model.outc, cal_k)"

_NAMES = (
    ("model.stem.event_branch.mbconv.convna", "events_head"),
    ("model.stem.frame_branch.mbconv.convna", "image_head"),
    ("model.downs", "encoders"),
    ("model.ups", "decoders"),
    ("model.outc", "prediction"),
    ("cal_k.mbconv.convna", "offset"),
    ("mbd.Gates.mbconv.0.convna", "expand"),
    ("mbd.Gates.mbconv.1.fc1", "squeeze"),
    ("mbd.Gates.mbconv.1.fc2", "excite"),
    ("mbd.Gates.mbconv.2.convna", "project"),
    ("mbd.norm_h", "hidden_norm"),
    ("mbd.norm_c", "cell_norm"),
    ("out.mbconv_0.mbconv.convna", "block"),
    ("film.film", "film"),
    ("fuse.0.mbconv.convna", "fuse"),
    ("ugate.gate_conv", "gate"),
)


def recognises(weights: Weights) -> bool:
    """Return whether these are the weights of a PIE-Net."""
    return "model.stem.event_branch.mbconv.convna.0.weight" in weights


def read(weights: Weights) -> Read:
    """Return the network and its weights; ValueError for impossible sizes.

    The weights do not define the pooling: it is that of the published variant with as many encoders. PIE-Net's file
    also has residual blocks, which the published network of 154,201 parameters does not have; they are left out.
    """
    heads = "model.stem.event_branch.mbconv.convna.0.weight"
    encoders = count(weights, "model.downs")
    variants = {len(variant.pools): variant for variant in (PieNetConfig(), PIE_NET_LITE)}
    if encoders not in variants:
        raise ValueError(f"PIE-Net with {encoders} encoders; the published ones have 3, and 2 (Lite)")
    gates = [size_of(weights, f"model.downs.{i}.mbd.Gates.mbconv.2.convna.0.weight", 0) for i in range(encoders)]
    config = replace(
        variants[encoders],
        bins=size_of(weights, heads, 1),
        channels=(size_of(weights, heads, 0), *(size // 4 for size in gates)),
    )
    if not config.blocks:
        weights = {key: value for key, value in weights.items() if ".out.mbconv_0." not in key}
    return without_memory(partial(PieNet, config)), renamed(weights, _NAMES)
