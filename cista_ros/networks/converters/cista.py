"""CISTA, CISTA-D, CISTA-TC and CISTA-LSTC as their authors published them (lsying009/CISTA-EVREAL, V2E2V)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..cista import Cista, CistaConfig
from ..cista_lstc import CistaLstc, CistaLstcConfig
from .keys import Read, Weights, count, size_of, without_memory

NAME = "CISTA (keys We, Wi, W0, P0, lista_blocks, Dg)"

_NAMES = {
    "We": "events_head",
    "Wi": "image_head",
    "W0": "fusion",
    "P0": "first_code",
    "P0.P0": "first_code",
    "P0.gates": "gates",
    "P0.out_gates": "out_gate",
    "one_conv_for_prev": "attend_previous",
    "one_conv_for_cur": "attend_current",
    "Dg": "dictionary",
    "Dg.conv": "dictionary",
    "Dg.recurrent_block.Gates": "memory.gates",
    "upsamp_conv": "upsampled",
    "final_conv": "prediction",
}


def recognises(weights: Weights) -> bool:
    """Return whether these are the weights of a CISTA network."""
    return "We.conv2d.weight" in weights and any(key.endswith(".Lambda") for key in weights)


def read(weights: Weights) -> Read:
    """Return the network and its weights; ValueError for impossible sizes."""
    heads = size_of(weights, "We.conv2d.weight", 0)
    sizes = {
        "bins": size_of(weights, "We.conv2d.weight", 1),
        "channels": 2 * heads,
        "iterations": count(weights, "lista_blocks"),
    }
    ours, tied = _tie(_renamed(weights))
    if "P0.gates.weight" in weights:
        if not tied:
            raise ValueError("CISTA-LSTC with one block per iteration; only a shared block is supported")
        return without_memory(partial(CistaLstc, CistaLstcConfig(**sizes))), ours
    config = CistaConfig(
        **sizes,
        shared=tied,
        similarity="alpha.0" in weights,
        recurrent="Dg.recurrent_block.Gates.weight" in weights,
    )
    return without_memory(partial(Cista, config)), ours


def _renamed(weights: Weights) -> dict[str, Tensor]:
    ours = {}
    for key, value in weights.items():
        module, _, leaf = key.replace(".conv2d.", ".").rpartition(".")
        if key.startswith("alpha."):
            new = f"blocks.{leaf}.alpha"
        elif module.startswith("lista_blocks."):
            new = f"blocks.{module.removeprefix('lista_blocks.')}.{'theta' if leaf == 'Lambda' else leaf}"
        else:
            new = f"{_NAMES.get(module, module)}.{leaf}"
        ours[new] = value
    return ours


def _tie(ours: dict[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Merge blocks that are equal in all iterations into one shared block; return also whether they are."""
    blocks = {key: value for key, value in ours.items() if key.startswith("blocks.")}
    tied = all(_equal(value, blocks.get("blocks.0." + key.split(".", 2)[2])) for key, value in blocks.items())
    if tied:
        ours = {k: v for k, v in ours.items() if not k.startswith("blocks.") or k.startswith("blocks.0.")}
    return ours, tied


def _equal(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.dtype == other.dtype and torch.equal(one, other)
