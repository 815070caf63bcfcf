"""What the node tells of its memory."""

from __future__ import annotations

import torch

from cista_ros.node.diagnostics import memory


def test_a_gpu_that_has_failed_does_not_keep_the_rest_from_being_told(monkeypatch):
    def failed(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", failed)
    told = memory(torch.device("cuda"))
    assert list(told) == ["process_memory_mb"] and told["process_memory_mb"] > 50
