"""Which runtime: by name, or the fastest that is exact and needs nothing that is not here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import DeviceError, RuntimeUnavailableError
from ..networks import Cista, Network
from .runtime import Eager, Runtime

PRECISIONS = ("fp32", "bf16", "fp16")
_PRECISIONS = {"native": ("fp32", "bf16"), "cuda-graph": PRECISIONS, "cuda-graph-compile": PRECISIONS}


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
WINOGRAD_CHANNELS = 64


def make_runtime(
    name: str, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
) -> tuple[Runtime, str]:
    """A runtime by its name, and a sentence that says which it is and, for `auto`, why.

    Raises:
        RuntimeUnavailableError: not one of RUNTIMES, not installed, or not for this network, device or precision.
        DeviceError: out of memory.
    """
    if name not in RUNTIMES:
        raise RuntimeUnavailableError(f"runtime {name!r} is not one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise RuntimeUnavailableError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    task = Task(network, height, width, device, precision)
    if name != "auto":
        return _make(name, task), f"runtime {name}"
    passed = []
    for candidate, reason in _candidates(network, device):
        try:
            runtime = _make(candidate, task)
        except RuntimeUnavailableError as error:
            passed.append(f"not {candidate}: {error}")
            continue
        return runtime, f"runtime {candidate} ({'; '.join([reason, *passed])})"
    raise RuntimeUnavailableError(f"no runtime for {precision} on {device}: {'; '.join(passed)}")


def _candidates(network: Network, device: torch.device) -> list[tuple[str, str]]:
    """Names and reasons, best first; docs/performance.md has the measurements behind the order."""
    if device.type == "cuda":
        return [("cuda-graph", "one launch a step"), ("eager", "runs everywhere")]
    # A Winograd transform costs as much a channel as it saves in a product of few channels.
    if isinstance(network, Cista) and network.config.channels < WINOGRAD_CHANNELS:
        return [("fused", "exact, nothing to install"), ("eager", "runs everywhere")]
    return [("winograd", "fewest multiplications, exact, nothing to install"), ("eager", "runs everywhere")]


def _make(name: str, task: Task) -> Runtime:
    if task.precision not in _PRECISIONS.get(name, ("fp32",)):
        raise RuntimeUnavailableError(f"runtime {name} computes in fp32 only, not in {task.precision}")
    try:
        return _MAKERS[name](task)
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _is_out_of_memory(error):
            raise
        raise DeviceError(
            f"{task.width}x{task.height} pixels need more memory than {task.device} has free ({error});"
            " reconstruct at a lower resolution (downscale), or choose another device"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or ("memory" in text and "alloc" in text)


def _cista_on_cpu(name: str, task: Task) -> Cista:
    if task.device.type != "cpu":
        raise RuntimeUnavailableError(f"runtime {name} runs on the CPU, not on {task.device}: give --device cpu")
    if type(task.network) is not Cista:
        raise RuntimeUnavailableError(f"runtime {name} is for the CISTA networks, not for {task.network.name}")
    return task.network
