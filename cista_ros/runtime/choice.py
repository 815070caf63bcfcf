"""Select a runtime and a precision: by name, or the fastest that this machine supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import DeviceError, RuntimeUnavailableError, is_out_of_memory
from ..networks import Cista, Network
from .base import Runtime
from .eager import Eager

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# Of the runtimes that support more than fp32.
REDUCED_PRECISIONS = {"native": ("bf16",), "cuda-graph": ("bf16", "fp16"), "onnx": ("fp16",)}


@dataclass(frozen=True)
class Task:
    """A network, already on its device, to run at one sensor size and precision."""

    network: Network
    height: int
    width: int
    device: torch.device
    precision: str = "fp32"


def _eager(task: Task) -> Runtime:
    return Eager(task.network)


def _fused(task: Task) -> Runtime:
    from .fused import FusedCista

    return FusedCista(_cista_on_cpu("fused", task), task.height, task.width)


def _winograd(task: Task) -> Runtime:
    from .native.cista import WinogradCista

    return WinogradCista(_cista_on_cpu("winograd", task), task.height, task.width)


def _native(task: Task) -> Runtime:
    from .native.cista import NativeCista

    return NativeCista(_cista_on_cpu("native", task), task.height, task.width, task.precision)


def _cuda_graph(task: Task) -> Runtime:
    from .cuda_graph import CudaGraph

    return CudaGraph(task.network, task.height, task.width, task.device, task.precision)


def _onnx(task: Task) -> Runtime:
    from .onnx import Onnx

    return Onnx(task.network, task.height, task.width, task.device, task.precision)


_MAKERS: dict[str, Callable[[Task], Runtime]] = {
    "eager": _eager,
    "fused": _fused,
    "native": _native,
    "winograd": _winograd,
    "cuda-graph": _cuda_graph,
    "onnx": _onnx,
}
RUNTIMES = ("auto", *_MAKERS)


def make_runtime(
    name: str, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
) -> tuple[Runtime, str]:
    """Make a runtime by name. Return it with a note that names it and, for `auto`, gives the reason.

    Precision `auto` is fp32, except that runtime `auto` uses bf16 on a CPU with a matrix unit if a trial allows.

    Raises:
        RuntimeUnavailableError: unknown name, missing tools, or an unsupported network, device or precision.
        DeviceError: out of memory.
    """
    if name not in RUNTIMES:
        raise RuntimeUnavailableError(f"unknown runtime {name!r}: expected one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise RuntimeUnavailableError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if name != "auto":
        task = Task(network, height, width, device, "fp32" if precision == "auto" else precision)
        return _make(name, task), f"runtime {name} {task.precision}"
    rejected: dict[str, str] = {}
    for candidate, with_precision, reason in _candidates(device, precision):
        try:
            task = Task(network, height, width, device, with_precision)
            runtime = _make_checked(candidate, task) if precision == "auto" else _make(candidate, task)
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


def _make_checked(name: str, task: Task) -> Runtime:
    runtime = _make(name, task)
    if runtime.precision != "fp32" and isinstance(task.network, Cista):
        from .native.trial import check_bf16

        check_bf16(task.network)
    return runtime


def _make(name: str, task: Task) -> Runtime:
    supported = ("fp32", *REDUCED_PRECISIONS.get(name, ()))
    if task.precision not in supported:
        raise RuntimeUnavailableError(f"runtime {name} supports {' and '.join(supported)}, not {task.precision}")
    try:
        return _MAKERS[name](task)
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory on {task.device} at {task.width}x{task.height} pixels ({error});"
            " lower the resolution (downscale) or choose another device"
        ) from error


def _cista_on_cpu(name: str, task: Task) -> Cista:
    if task.device.type != "cpu":
        raise RuntimeUnavailableError(f"runtime {name} runs on the CPU, not on {task.device}: use --device cpu")
    if type(task.network) is not Cista:
        raise RuntimeUnavailableError(f"runtime {name} supports CISTA networks, not {task.network.name}")
    return task.network
