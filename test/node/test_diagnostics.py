"""What the node reports of its memory, and memory that goes back to the system."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from cista_ros.node.diagnostics import Trim, memory, resident_mb

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")


def test_memory_of_a_burst_is_given_back_and_what_is_in_use_stays():
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests left
    trim = Trim()
    trim()
    before = resident_mb()
    # Too small for pages of their own. Every fourth stays in use, so that the heap cannot simply end earlier.
    arrays = [np.ones(100_000, np.uint8) for _ in range(4000)]
    arrays = arrays[::4]
    kept = resident_mb()
    trim()
    assert kept - before > 250
    # Blocks that earlier tests left in use may share pages with these.
    assert 50 < resident_mb() - before < 200
    assert all(a.all() for a in arrays)


def test_the_reported_memory_is_the_systems_figure():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert memory(None)["process_memory_mb"] == pytest.approx(int(status["VmRSS"].split()[0]) / 1024, rel=0.05)


def test_a_failed_gpu_does_not_hide_the_process_memory(monkeypatch):
    def failed(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", failed)
    found = memory(torch.device("cuda"))
    assert list(found) == ["process_memory_mb"] and found["process_memory_mb"] > 50
