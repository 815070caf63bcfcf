"""Weights: our safetensors, and the layouts of others in torch's new and old file format, with places changed.

The header of a safetensors file and the records of a torch archive are changed within a valid frame, too. Only
CheckpointError may be raised; what is read is a network whose weights are no larger than the file. Never does a file
run anything: a marker that every opcode of a pickle could call is watched.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from functools import cache
from pathlib import Path

import torch
from bounds import expect
from files import Folder
from source import Source, patched

from cista_ros.errors import CheckpointError
from cista_ros.networks import load_network, save_network
from cista_ros.networks.models import make_kind
from cista_ros.training.config import TrainingConfig
from cista_ros.training.state import TrainingError, TrainingState, load_state, save_state

MODULES = (
    "cista_ros.networks.checkpoints",
    "cista_ros.networks.torch_files",
    "cista_ros.networks.converters.keys",
    "cista_ros.networks.converters.cista",
    "cista_ros.networks.converters.e2vid",
    "cista_ros.networks.converters.firenet",
    "cista_ros.networks.converters.spade_e2vid",
    "cista_ros.training.state",
)
SMALL = {
    "cista": {"channels": 2, "iterations": 1, "bins": 1},
    "cista-lstc": {"channels": 2, "iterations": 1, "bins": 1},
    "e2vid": {"channels": 1, "encoders": 1, "residual_blocks": 1, "bins": 1},
    "firenet": {"channels": 1, "bins": 1},
    "spade-e2vid": {"channels": 1, "bins": 3},
}
PUBLISHED = ("cista", "cista-blocks", "lstc", "e2vid", "firenet", "spade-e2vid")
JSON_VALUES = (
    "-1", "1e9", "4096", "100", "true", "null", '"x"', "[]", "{}", "[" * 5000, "9" * 5000, "NaN", "2.0", "512", "0",
    '{"channels": 4096, "iterations": 100, "shared": false}', '{"channels": 512, "encoders": 4}', '"e2vid"',
    '"firenet"',
)  # fmt: skip
DTYPES = ("F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "C64", "F4", "U64", "X")
_FOLDER = Folder("checkpoints")
warnings.filterwarnings("ignore")  # torch's, of rarely used kinds of tensors
_FORMATS = "own", "zip", "legacy", "state"
SEEDS = [
    bytes([fmt, which, flags, 3, 1, 2, 3, 4, 5, 6, 7, 8])
    for fmt in range(4)
    for which in range(6)
    for flags in range(6)
]


def _conv(out: int, into: int, size: int = 3, name: str = "conv2d") -> dict[str, torch.Tensor]:
    return {f".{name}.weight": torch.ones(out, into, size, size), f".{name}.bias": torch.ones(out)}


@cache
def _published(name: str) -> dict[str, torch.Tensor]:
    """Small weights in a published layout: enough keys to be recognised, some complete."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    if name in ("cista", "cista-blocks", "lstc"):
        parts = {"We": _conv(1, 1), "Wi": _conv(1, 1), "W0": _conv(2, 2), "P0": _conv(4, 2)}
        parts |= {"Dg.conv": _conv(2, 4), "upsamp_conv": _conv(2, 2), "final_conv": _conv(1, 2)}
        parts["Dg.recurrent_block"] = _conv(8, 4, name="Gates")
        for i in range(2):
            value = torch.full((1, 4, 1, 1), 1.0 + i * (name == "cista-blocks"))
            block = {".Lambda": value}
            block |= {f".{k}{key}": v for k, s in (("D", (2, 4)), ("P", (4, 2))) for key, v in _conv(*s).items()}
            parts[f"lista_blocks.{i}"] = block
            if name != "lstc":
                parts["alpha"] = parts.get("alpha", {}) | {f".{i}": torch.ones(1, 4, 1, 1)}
        if name == "lstc":
            parts["P0"] = {key.replace("conv2d", "P0.conv2d"): v for key, v in _conv(4, 2).items()}
            parts["P0"] |= _conv(8, 6, name="gates") | _conv(4, 8, name="out_gates")
        else:
            parts |= {"one_conv_for_prev": _conv(1, 4), "one_conv_for_cur": _conv(1, 4)}
    elif name == "e2vid":
        parts = {"unetrecurrent.head": _conv(1, 1, 5), "unetrecurrent.encoders.0.conv": _conv(2, 1, 5)}
        parts |= {"unetrecurrent.encoders.0.recurrent_block": _conv(8, 4, name="Gates")}
        parts |= {"unetrecurrent.resblocks.0": _conv(2, 2, name="conv1") | _conv(2, 2, name="conv2")}
        parts |= {"unetrecurrent.decoders.0": _conv(1, 2, 5), "unetrecurrent.pred": _conv(1, 1, 1)}
    elif name == "firenet":
        parts = {"net.head.conv": _conv(1, 1), "net.pred": _conv(1, 1, 1)}
        for gate in ("reset_gate", "update_gate", "out_gate"):
            for block in ("net.head.recurrent_block", "net.resblocks.0.recurrent_block"):
                parts[block] = parts.get(block, {}) | _conv(1, 2, name=gate)
        for block in ("net.resblocks.0.conv", "net.resblocks.1"):
            parts[block] = _conv(1, 1, name="conv1") | _conv(1, 1, name="conv2")
    else:
        parts = {"": _conv(1, 3, 5, name="fc"), "up0.norm": _conv(1, 1, name="mlp_gamma")}
    return {(part + key).lstrip("."): value for part, keys in parts.items() for key, value in keys.items()}


@cache
def _file(fmt: str, which: int) -> bytes:
    """A valid file, or for layouts that are not made whole here one that is recognised."""
    path = _FOLDER.path / "made.safetensors"
    if fmt == "own":
        kind = list(SMALL)[which % len(SMALL)]
        torch.manual_seed(0)
        save_network(make_kind(kind, SMALL[kind]), path)
        return path.read_bytes()
    if fmt == "state":
        weights = {"a": torch.ones(3)}
        state = TrainingState(TrainingConfig(), 5, weights, weights, {"state": {0: {"step": torch.ones(1)}}}, 1.5)
        save_state(state, path)
        return path.read_bytes()
    out = io.BytesIO()
    content = {"epoch": 1, "arch": "x", "state_dict": _published(PUBLISHED[which % len(PUBLISHED)])}
    torch.save(content, out, _use_new_zipfile_serialization=fmt == "zip")
    return out.getvalue()


def check(data: bytes) -> None:
    """Break a file of weights, or a training's state, and read it."""
    source = Source(data)
    fmt, which, flags = source.pick(_FORMATS), source.number(), source.number()
    raw = _file(fmt, which)
    if fmt == "own" and flags & 1:
        raw = _other_header(raw, source)
    elif fmt in ("zip", "state") and flags & 1:
        raw = _other_records(raw, source)
    if flags & 2 and fmt != "own":
        raw = _other_tensors(which, source, fmt == "zip")
    if not flags & 4:
        raw = patched(raw, source)
    if fmt == "state":
        expect(TrainingError, lambda: load_state(_FOLDER.write("a.state", raw)))
        return
    path = _FOLDER.write("a.safetensors" if fmt == "own" else "a.pth.tar", raw)
    expect(CheckpointError, lambda: _load(path))


def _load(path: Path) -> None:
    network = load_network(path)
    held = sum(value.nbytes for value in network.state_dict().values())
    # A shared block is kept once; numbers of 16 bits become ones of 32 or, where they count something, of 64.
    assert held <= 4 * path.stat().st_size
    assert all(not p.requires_grad and p.isfinite().all() for p in network.parameters())


def _other_header(raw: bytes, source: Source) -> bytes:
    """Another JSON header, of its right length."""
    size = int.from_bytes(raw[:8], "little")
    header, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    for _ in range(1 + source.below(3)):
        choice = source.below(6)
        tensors = [key for key in header if key != "__metadata__"]
        if not tensors:
            break
        tensor = header[source.pick(tensors)]
        if choice == 0:
            header["__metadata__"][source.pick(("config", "conventions", "network", "format"))] = source.pick(
                JSON_VALUES
            )
        elif choice == 1:
            config = json.loads(header["__metadata__"].get("config", "{}")) if choice else {}
            if isinstance(config, dict) and config:
                config[source.pick(sorted(config))] = source.pick((-1, 0, 1, 2, 4096, 10**9, True, None, "x", 1.0, 100))
                header["__metadata__"]["config"] = json.dumps(config)
        elif choice == 2:
            tensor["dtype"] = source.pick(DTYPES)
        elif choice == 3:
            tensor["shape"] = [source.pick((0, 1, 2, 2**31, 2**62, 2**63)) for _ in range(source.below(5))]
        elif choice == 4:
            tensor["data_offsets"] = [source.number(2), source.number(2)]
        else:
            del header[source.pick(tensors)]
    text = json.dumps(header).encode()
    if source.number() & 1:
        text = patched(text, source, 3)
    return len(text).to_bytes(8, "little") + text + body


def _other_records(raw: bytes, source: Source) -> bytes:
    """The archive with records changed, left out or compressed, and right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive, zipfile.ZipFile(out, "w") as changed:
        for info in archive.infolist():
            content, choice = archive.read(info), source.below(8)
            if choice == 1:
                content = patched(content, source)
            if choice != 2:
                method = zipfile.ZIP_DEFLATED if choice == 3 else zipfile.ZIP_STORED
                changed.writestr(info.filename, content, method)
    return out.getvalue()


def _other_tensors(which: int, source: Source, new_format: bool) -> bytes:
    """A checkpoint in which some values are other tensors, or none."""
    weights: dict[object, object] = dict(_published(PUBLISHED[which % len(PUBLISHED)]))
    for _ in range(1 + source.below(4)):
        key = source.pick(sorted(map(str, weights)))
        weights[key] = source.pick(_ODD)
        if source.number() & 1:
            weights[source.pick(("lista_blocks.0", "lista_blocks..D.x", "alpha.", "", ".", 5, None, "a.b.c"))] = (
                torch.ones(())
            )
    out = io.BytesIO()
    content = weights if source.number() & 1 else {"state_dict": weights}
    torch.save(
        content,
        out,
        _use_new_zipfile_serialization=new_format,
        pickle_protocol=source.pick((2, 2, pickle.HIGHEST_PROTOCOL)),
    )
    return out.getvalue()


_ODD = (
    torch.ones(()), torch.ones(0), torch.ones(1, 4, 1, 1, dtype=torch.complex64), torch.ones(1).expand(10**6, 10**6),
    torch.ones(2, 2).to_sparse(), torch.ones(2, 2).to_sparse_csr(), torch.full((1, 4, 1, 1), torch.nan),
    torch.ones(4, 1, 1, 1).transpose(0, 1), torch.ones(1, 4, 1, 1, dtype=torch.float16), torch.ones(4096, 1, 1, 1),
    torch.ones(1, 4, 1, 1, dtype=torch.bool), torch.ones(1, 4, 1, 1, dtype=torch.float64) * 1e300, 5, "text", None,
    [torch.ones(1)], torch.nn.Parameter(torch.ones(1, 4, 1, 1)), torch.ones(1).expand(4096, 4096, 3, 3),
    torch.ones(1, 4, 1, 1, device="meta"), torch.ones(1, 4, 1, 1, dtype=torch.int64),
    torch.ones(1).to(torch.float8_e4m3fn),
    torch.quantize_per_tensor(torch.ones(1, 4, 1, 1), 0.1, 0, torch.qint8),
)  # fmt: skip
