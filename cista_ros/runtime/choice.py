"""Select a runtime and a precision: by name, or the fastest that this machine supports."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import DeviceError, RuntimeUnavailableError, is_out_of_memory
from ..networks import Cista, Network
from .base import DTYPES, Eager, Runtime
from .cista import FusedCista, NativeCista, WinogradCista, check_bf16
from .cuda_graph import CudaGraph
from .onnx import Onnx

PRECISIONS = ("auto", *DTYPES)
_CLASSES: dict[str, type[Runtime]] = {
    kind.name: kind for kind in (Eager, FusedCista, NativeCista, WinogradCista, CudaGraph, Onnx)
}
RUNTIMES = ("auto", *_CLASSES)


def make_runtime(
    name: str, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
) -> tuple[Runtime, str]:
    """Make a runtime by name. Return it with a note that names it and, for `auto`, gives the reason.

    Precision `auto` is fp32, except that runtime `auto` uses bf16 on a CPU with a matrix unit if a trial allows.
    RuntimeUnavailableError for an unknown name, missing tools, or an unsupported network, device or precision;
    DeviceError if memory does not suffice.
    """
    for kind, value, known in (("runtime", name, RUNTIMES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise RuntimeUnavailableError(f"unknown {kind} {value!r}: expected one of {', '.join(known)}")
    if name != "auto":
        precision = "fp32" if precision == "auto" else precision
        return _make(name, network, height, width, device, precision), f"runtime {name} {precision}"
    rejected: dict[str, str] = {}
    for candidate, with_precision, reason in _candidates(device, precision):
        try:
            runtime = _make(candidate, network, height, width, device, with_precision)
            if precision == "auto" and with_precision == "bf16" and isinstance(network, Cista):
                check_bf16(network)
        except RuntimeUnavailableError as error:
            rejected.setdefault(str(error), f"not {candidate} {with_precision}: {error}")
            continue
        return runtime, f"runtime {candidate} {with_precision} ({'; '.join([reason, *rejected.values()])})"
    raise RuntimeUnavailableError(f"no runtime supports {precision} on {device}: {'; '.join(rejected.values())}")


def has_matrix_unit() -> bool:
    """Return whether this CPU has a bfloat16 matrix unit (Intel AMX), several times as fast as fp32."""
    check: Callable[[], bool] | None = getattr(torch.cpu, "_is_amx_tile_supported", None)  # missing in older torch
    return check is not None and check()


def _candidates(device: torch.device, precision: str) -> list[tuple[str, str, str]]:
    """Names, precisions and reasons, best first, in the order measured in docs/reference/performance.md."""
    exact = "fp32" if precision == "auto" else precision
    eager = ("eager", exact, "runs everywhere")
    if device.type == "cuda":
        return [("cuda-graph", exact, "one launch per step"), eager]
    if precision not in ("auto", "fp32"):
        return [("native", precision, "requested precision")]
    reduced = ("native", "bf16", "this CPU has a matrix unit, and a trial stayed close to fp32")
    return [
        *([reduced] if precision == "auto" and has_matrix_unit() else []),
        ("winograd", exact, "exact, fewest multiplications"),
        ("fused", exact, "exact, needs no compiler"),
        eager,
    ]


def _make(name: str, network: Network, height: int, width: int, device: torch.device, precision: str) -> Runtime:
    supported = _CLASSES[name].precisions
    if precision not in supported:
        raise RuntimeUnavailableError(f"runtime {name} supports {' and '.join(supported)}, not {precision}")
    try:
        return _CLASSES[name](network, height, width, device, precision)
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory on {device} at {width}x{height} pixels ({error});"
            " lower the resolution (downscale) or choose another device"
        ) from error
