"""Describe the machine, its load, and the memory of this process."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the facts that a table of times needs: processor, threads, versions, current load, GPU."""
    described: dict[str, Any] = {
        "processor": processor_name(),
        "vector_units": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "waiting_threads": os.environ.get("OMP_WAIT_POLICY", "spin"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
        described["cuda"] = torch.version.cuda
    return described


def processor_name() -> str:
    """Return the processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: allocated by torch on a GPU, else resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Preferred to getrusage, which on Linux starts with the peak of the parent process.
    with suppress(OSError, ValueError):
        words = Path("/proc/self/status").read_text().split()
        return 1024 * int(words[words.index("VmHWM:") + 1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def timed(run: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Return the seconds that a call takes, with the work that it leaves to a GPU, and its result."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda _: None
    wait(device)
    began = time.perf_counter()
    result = run()
    wait(device)
    return time.perf_counter() - began, result
