"""Memory: what the node uses, and giving back what is free."""

from __future__ import annotations

import ctypes
import math
import os
from contextlib import suppress
from pathlib import Path

import torch

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes; not 4096 on every ARM machine
# Less than this is not worth the look through the heap.
GROWTH_MB = 64.0


def resident_mb() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MIB


def memory(device: torch.device | None) -> dict[str, float]:
    """MiB in use: by this process, and by torch on its GPU, unless that has failed (which the windows tell of)."""
    found = {"process_memory_mb": round(resident_mb(), 1)}
    if device is not None and device.type == "cuda":
        with suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info(device)
            names = "device_memory_mb", "device_memory_free_mb", "device_memory_total_mb"
            sizes = torch.cuda.memory_reserved(device), free, total
            found |= {name: round(size / MIB, 1) for name, size in zip(names, sizes, strict=True)}
    return found


class Trim:
    """After a rush of events glibc's malloc keeps what they took; this gives it back to the system.

    Without glibc (musl) nothing is done: its malloc keeps nothing.
    """

    def __init__(self) -> None:
        self._malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._least = math.inf

    def __call__(self) -> None:
        """To be called now and then, when nothing waits. Takes milliseconds, where memory has grown, else none."""
        now = resident_mb()
        if self._malloc_trim and now > self._least + GROWTH_MB:
            self._malloc_trim(0)
            now = self._least = resident_mb()
        self._least = min(self._least, now)
