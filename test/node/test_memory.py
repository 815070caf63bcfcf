"""Memory that is free goes back to the system; what is in use is told."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from cista_ros.node.memory import Trim, memory, resident_mb

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")


def test_what_a_rush_took_is_given_back_and_what_is_in_use_is_not():
    trim = Trim()
    trim._malloc_trim(0)  # of what the tests before left
    trim()
    before = resident_mb()
    # Too small for pages of their own. Every fourth stays in use, so that the heap cannot simply end earlier.
    arrays = [np.ones(100_000, np.uint8) for _ in range(4000)]
    arrays = arrays[::4]
    kept = resident_mb()
    trim()
    assert kept - before > 250
    assert 90 < resident_mb() - before < 130
    assert all(a.all() for a in arrays)


def test_the_memory_told_is_the_systems_figure():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert memory(None)["process_memory_mb"] == pytest.approx(int(status["VmRSS"].split()[0]) / 1024, rel=0.05)


def test_a_gpu_that_has_failed_does_not_keep_the_rest_from_being_told(monkeypatch):
    def failed(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", failed)
    told = memory(torch.device("cuda"))
    assert list(told) == ["process_memory_mb"] and told["process_memory_mb"] > 50
