"""Which runtime, in which precision: by name, or the fastest that this machine has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import DeviceError, RuntimeUnavailableError, is_out_of_memory
from ..networks import Cista, Network
from .runtime import Eager, Runtime

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# Of runtimes that compute in more than fp32.
_REDUCED = {"native": ("bf16",), "cuda-graph": ("bf16", "fp16"), "cuda-graph-compile": ("bf16", "fp16")}


@dataclass(frozen=True)
class Task:
    """What is to be run: a network, already on its device, for one sensor size."""

    network: Network
    height: int
    width: int
    device: torch.device
    precision: str = "fp32"


def _eager(task: Task) -> Runtime:
    return Eager(task.network)


def _fused(task: Task) -> Runtime:
    from .fused_cista import FusedCista

    return FusedCista(_cista_on_cpu("fused", task), task.height, task.width)


def _winograd(task: Task) -> Runtime:
    from .native.cista import WinogradCista

    return WinogradCista(_cista_on_cpu("winograd", task), task.height, task.width)


def _native(task: Task) -> Runtime:
    from .native.cista import NativeCista

    return NativeCista(_cista_on_cpu("native", task), task.height, task.width, task.precision)


def _compile(task: Task) -> Runtime:
    from .compiled import Compiled

    return Compiled(task.network, task.height, task.width, task.device)


def _openvino(task: Task) -> Runtime:
    from .openvino_cpu import OpenVino

    if task.device.type != "cpu":
        raise RuntimeUnavailableError(f"runtime openvino runs on the CPU, not on {task.device}: give --device cpu")
    return OpenVino(task.network, task.height, task.width)


def _cuda_graph(task: Task) -> Runtime:
    from .cuda_graph import CudaGraph

    return CudaGraph(task.network, task.height, task.width, task.device, task.precision)


def _cuda_graph_compile(task: Task) -> Runtime:
    from .cuda_graph import CompiledCudaGraph

    return CompiledCudaGraph(task.network, task.height, task.width, task.device, task.precision)


_MAKERS: dict[str, Callable[[Task], Runtime]] = {
    "eager": _eager,
    "fused": _fused,
    "winograd": _winograd,
    "native": _native,
    "compile": _compile,
    "openvino": _openvino,
    "cuda-graph": _cuda_graph,
    "cuda-graph-compile": _cuda_graph_compile,
}
RUNTIMES = ("auto", *_MAKERS)


def make_runtime(
    name: str, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
) -> tuple[Runtime, str]:
    """A runtime by its name, and a sentence that says which it is and, for `auto`, why.

    Precision `auto` is fp32, but with the runtime `auto` on a CPU that has a matrix unit for bf16 it is that.

    Raises:
        RuntimeUnavailableError: not one of RUNTIMES, not installed, or not for this network, device or precision.
        DeviceError: out of memory.
    """
    if name not in RUNTIMES:
        raise RuntimeUnavailableError(f"runtime {name!r} is not one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise RuntimeUnavailableError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if name != "auto":
        task = Task(network, height, width, device, "fp32" if precision == "auto" else precision)
        return _make(name, task), f"runtime {name} {task.precision}"
    passed: dict[str, str] = {}
    for candidate, with_precision, reason in _candidates(device, precision):
        try:
            task = Task(network, height, width, device, with_precision)
            runtime = _make_if_it_holds(candidate, task) if precision == "auto" else _make(candidate, task)
        except RuntimeUnavailableError as error:
            passed.setdefault(str(error), f"not {candidate} {with_precision}: {error}")
            continue
        return runtime, f"runtime {candidate} {with_precision} ({'; '.join([reason, *passed.values()])})"
    raise RuntimeUnavailableError(f"no runtime for {precision} on {device}: {'; '.join(passed.values())}")


def has_matrix_unit() -> bool:
    """This CPU multiplies matrices of bfloat16 in a unit of its own (Intel's AMX), many times as fast as fp32."""
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)  # older torch does not know
    return check is not None and check()


def _candidates(device: torch.device, precision: str) -> list[tuple[str, str, str]]:
    """Names, precisions and reasons, best first; docs/performance.md has the measurements behind the order."""
    exact = "fp32" if precision == "auto" else precision
    eager = ("eager", exact, "runs everywhere")
    if device.type == "cuda":
        return [("cuda-graph", exact, "one launch a step"), eager]
    reduced = ("native", "bf16", "this CPU has a matrix unit, and in a trial images stayed at fp32's")
    if precision not in ("auto", "fp32"):
        return [("native", precision, "asked for")]
    return [
        *([reduced] if precision == "auto" and has_matrix_unit() else []),
        ("winograd", exact, "exact, fewest multiplications"),
        ("fused", exact, "exact, nothing to install"),
        eager,
    ]


def _make_if_it_holds(name: str, task: Task) -> Runtime:
    runtime = _make(name, task)
    if runtime.precision != "fp32":
        from .native.trial import check_bf16

        check_bf16(task.network)
    return runtime


def _make(name: str, task: Task) -> Runtime:
    offered = ("fp32", *_REDUCED.get(name, ()))
    if task.precision not in offered:
        names = " or ".join(offered)
        raise RuntimeUnavailableError(f"runtime {name} computes in {names} only, not in {task.precision}")
    try:
        return _MAKERS[name](task)
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"{task.width}x{task.height} pixels need more memory than {task.device} has free ({error});"
            " reconstruct at a lower resolution (downscale), or choose another device"
        ) from error


def _cista_on_cpu(name: str, task: Task) -> Cista:
    if task.device.type != "cpu":
        raise RuntimeUnavailableError(f"runtime {name} runs on the CPU, not on {task.device}: give --device cpu")
    if type(task.network) is not Cista:
        raise RuntimeUnavailableError(f"runtime {name} is for the CISTA networks, not for {task.network.name}")
    return task.network
