"""Published checkpoints: the network that they contain, and the names of their keys in this package.

Conventions of these weights (normalised grids or not) are decided in checkpoints.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .cista import CistaConfig
from .cista_lstc import CistaLstcConfig
from .e2vid import E2vidConfig
from .firenet import FirenetConfig
from .models import NetworkConfig, make_network
from .network import Network
from .pie_net import PIE_NET_LITE, PieNetConfig
from .spade_e2vid import SpadeE2vidConfig

Weights = Mapping[str, Tensor]
Read = tuple[NetworkConfig, dict[str, Tensor]]  # the configuration, by the shapes, and the renamed weights


def convert(weights: Weights) -> tuple[Network, dict[str, Tensor]]:
    """Return the network of published weights, on the meta device, and the renamed weights.

    Raises ValueError for unknown keys, impossible sizes, or an unsupported variant.
    """
    for marks, read in _LAYOUTS.values():
        if set(marks) <= weights.keys():
            config, renamed = read(weights)
            with torch.device("meta"):  # allocates no memory until the weights of the file fit
                return make_network(config), renamed
    raise ValueError(f"its keys are those of no network known here, which are {'; '.join(_LAYOUTS)}")


def _renamed(weights: Weights, names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Replace each run of key parts, separated by dots, that `names` lists, in turn; other parts stay."""
    result = {}
    for key, value in weights.items():
        dotted = f".{key}."
        for old, new in names:
            dotted = dotted.replace(f".{old}.", f".{new}." if new else ".")
        result[dotted[1:-1]] = value
    return result


def _size(weights: Weights, key: str, dimension: int) -> int:
    """Return one dimension of a convolution's weight; 0, which no network accepts, if there is no such weight."""
    value = weights.get(key)
    return 0 if value is None or value.ndim != 4 else value.shape[dimension]


def _count(weights: Weights, prefix: str) -> int:
    """Return the number of modules in a list: prefix.0., prefix.1., …"""
    return len({key[len(prefix) + 1 :].split(".")[0] for key in weights if key.startswith(f"{prefix}.")})


# CISTA, CISTA-D, CISTA-TC and CISTA-LSTC as their authors published them (lsying009/CISTA-EVREAL, V2E2V).
_CISTA = (
    ("conv2d", ""),
    ("We", "events_head"),
    ("Wi", "image_head"),
    ("W0", "fusion"),
    ("P0.P0", "first_code"),
    ("P0.gates", "gates"),
    ("P0.out_gates", "out_gate"),
    ("P0", "first_code"),
    ("one_conv_for_prev", "attend_previous"),
    ("one_conv_for_cur", "attend_current"),
    ("Dg.conv", "dictionary"),
    ("Dg.recurrent_block.Gates", "memory.gates"),
    ("Dg", "dictionary"),
    ("upsamp_conv", "upsampled"),
    ("final_conv", "prediction"),
    ("lista_blocks", "blocks"),
    ("Lambda", "theta"),
)


def _read_cista(weights: Weights) -> Read:
    bins, channels = _size(weights, "We.conv2d.weight", 1), 2 * _size(weights, "We.conv2d.weight", 0)
    iterations = _count(weights, "lista_blocks")
    names = (*_CISTA, *((f"alpha.{k}", f"blocks.{k}.alpha") for k in range(iterations)))
    ours = _renamed(weights, names)
    # Blocks that are equal in all iterations become one shared block.
    blocks = {key: value for key, value in ours.items() if key.startswith("blocks.") and key.count(".") > 1}
    first = {key: blocks.get("blocks.0." + key.split(".", 2)[2]) for key in blocks}
    shared = all(one is not None and blocks[k].dtype == one.dtype and blocks[k].equal(one) for k, one in first.items())
    if shared:
        ours = {k: v for k, v in ours.items() if k not in blocks or k.startswith("blocks.0.")}
    if "P0.gates.weight" in weights:
        if not shared:
            raise ValueError("CISTA-LSTC with one block per iteration; only a shared block is supported")
        return CistaLstcConfig(bins, channels, iterations), ours
    similarity, recurrent = "alpha.0" in weights, "Dg.recurrent_block.Gates.weight" in weights
    return CistaConfig(bins, channels, iterations, shared, similarity, recurrent), ours


# E2VID as published in uzh-rpg/rpg_e2vid (E2VID_lightweight.pth.tar), and weights trained with that code. The published
# network takes normalised voxel grids. Its authors' script then sharpens the images (unsharp mask, 0.3) and by default
# keeps their range; EVREAL stretches them between the 1st and 99th percentile and does not sharpen. Here only EVREAL's
# protocol stretches them.
_E2VID = (
    ("unetrecurrent", ""),
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


def _read_e2vid(weights: Weights) -> Read:
    if any(".reset_gate." in key for key in weights):
        raise ValueError("E2VID with ConvGRUs; only the variant with ConvLSTMs is supported")
    config = E2vidConfig(
        bins=_size(weights, "unetrecurrent.head.conv2d.weight", 1),
        channels=_size(weights, "unetrecurrent.head.conv2d.weight", 0),
        encoders=_count(weights, "unetrecurrent.encoders"),
        residual_blocks=_count(weights, "unetrecurrent.resblocks"),
        norm="unetrecurrent.pred.norm_layer.weight" in weights,
        transposed="unetrecurrent.decoders.0.transposed_conv2d.weight" in weights,
    )
    return config, _renamed(weights, _E2VID)


# FireNet as cedric-scheerlinck/rpg_e2vid published it, retrained by the CISTA paper's authors, and FireNet+ (Stoffregen
# et al., "Reducing the Sim-to-Real Gap for Event Cameras", ECCV 2020), the same network under other keys.
_FIRENET = (
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


def _read_firenet(weights: Weights) -> Read:
    head = "net.head.conv.conv2d.weight" if "net.head.conv.conv2d.weight" in weights else "head.conv2d.weight"
    return FirenetConfig(_size(weights, head, 1), _size(weights, head, 0)), _renamed(weights, _FIRENET)


# PIE-Net and PIE-Net-Lite as VincentQQu/pie-net publishes them (pretrained/model.pth, model_lite.pth).
_PIE_NET = (
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


def _read_pie_net(weights: Weights) -> Read:
    """Read PIE-Net. The weights do not define the pooling: it is that of the published variant with as many encoders.

    Its file also has residual blocks that the published network of 154,201 parameters does not have; they are left out.
    """
    head, encoders = "model.stem.event_branch.mbconv.convna.0.weight", _count(weights, "model.downs")
    variants = {len(variant.pools): variant for variant in (PieNetConfig(), PIE_NET_LITE)}
    if encoders not in variants:
        raise ValueError(f"PIE-Net with {encoders} encoders; the published ones have 3, and 2 (Lite)")
    gates = [_size(weights, f"model.downs.{i}.mbd.Gates.mbconv.2.convna.0.weight", 0) for i in range(encoders)]
    channels = (_size(weights, head, 0), *(size // 4 for size in gates))
    config = replace(variants[encoders], bins=_size(weights, head, 1), channels=channels)
    if not config.blocks:
        weights = {key: value for key, value in weights.items() if ".out.mbconv_0." not in key}
    return config, _renamed(weights, _PIE_NET)


# SPADE-E2VID as published in RodrigoGantier/SPADE_E2VID, and as trained with it by the CISTA paper's authors.
_SPADE = (
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


def _read_spade(weights: Weights) -> Read:
    config = SpadeE2vidConfig(_size(weights, "fc.weight", 1), _size(weights, "fc.weight", 0))
    return config, _renamed(weights, _SPADE)


# For messages -> keys that all these checkpoints have, and no others; and what reads them.
_LAYOUTS = {
    "CISTA (keys We, Wi, W0, P0, lista_blocks, Dg)": (("We.conv2d.weight", "lista_blocks.0.Lambda"), _read_cista),
    "E2VID (keys unetrecurrent.head, encoders, resblocks, decoders, pred)": (
        ("unetrecurrent.head.conv2d.weight",),
        _read_e2vid,
    ),
    "FireNet (keys net.head, net.resblocks, net.pred)": (("net.head.conv.conv2d.weight",), _read_firenet),
    "FireNet+ (keys head, G1, R1, G2, R2, pred)": (("head.conv2d.weight", "G1.reset_gate.weight"), _read_firenet),
    "PIE-Net (keys model.stem, downs, ups, outc, cal_k)": (
        ("model.stem.event_branch.mbconv.convna.0.weight",),
        _read_pie_net,
    ),
    "SPADE-E2VID (keys fc, rec0…2, res0…1, up0…2, conv_img)": (("fc.weight", "up0.norm.mlp_gamma.weight"), _read_spade),
}
