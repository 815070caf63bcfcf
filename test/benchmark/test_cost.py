from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest
import torch

from cista_ros.benchmark import BenchmarkError
from cista_ros.benchmark.cost import PAPER_COSTS, as_markdown, count_mac, measure, measure_all
from cista_ros.errors import RuntimeUnavailableError
from cista_ros.networks import make_network
from cista_ros.networks.cista import Cista, CistaConfig
from cista_ros.networks.firenet import Firenet, FirenetConfig


def test_operations_of_firenet_equal_a_count_by_hand():
    h, w, c = 16, 20, 4
    # head 5 -> c; two GRUs of three convolutions 2c -> c; two blocks of two c -> c; 1x1 c -> 1.
    by_hand = h * w * (9 * 5 * c + 6 * 9 * 2 * c * c + 4 * 9 * c * c + c)
    assert count_mac(Firenet(FirenetConfig(channels=c)).eval(), h, w) == by_hand


def test_operations_of_cista_tc_equal_a_count_by_hand():
    h, w, c, k = 32, 48, 8, 5
    full, half = h * w, h * w // 4
    heads = full * 9 * (5 + 1) * (c // 2)
    codes = half * 9 * (c * c + 2 * c * c + k * (2 * 2 * c * c) + (k + 1) * 2 * c)
    image = half * 9 * (2 * c * c + 8 * c * c) + full * 9 * (c * c + c)
    assert count_mac(Cista(CistaConfig(channels=c)).eval(), h, w) == heads + codes + image


def test_cost_table_shows_the_papers_numbers():
    cost = measure("firenet", None, 16, 16, "cpu", steps=2)
    assert cost.parameters == 37_777 and cost.megabytes == pytest.approx(0.151108)
    assert cost.milliseconds > 0 and cost.memory >= 0 and cost.model == "firenet"
    text = as_markdown([cost], 16, 16, "this machine", "eager, fp32")
    assert text.startswith("One step at 16×16 on this machine (eager, fp32).")
    assert "| firenet | 37,777 | 0.15 (0.16) |" in text and "(1.2) |" in text


def test_operations_do_not_depend_on_the_runtime():
    assert (
        measure("cista", None, 16, 16, "cpu", 2, runtime="fused").gmac == measure("cista", None, 16, 16, "cpu", 2).gmac
    )
    with pytest.raises(RuntimeUnavailableError, match="fused supports fp32"):
        measure("cista", None, 16, 16, "cpu", 2, runtime="fused", precision="bf16")


@pytest.mark.parametrize("name", ["cista-tc", "e2vid", "firenet", "spade-e2vid"])
def test_sizes_agree_with_table_3(name):
    with torch.device("meta"):
        network = make_network(name)
    megabytes = sum(t.numel() * t.element_size() for t in network.state_dict().values()) / 1e6
    # FireNet's 0.16 is the size of its file, 9 kB of which are names and alignment.
    assert megabytes == pytest.approx(PAPER_COSTS[name][0], abs=0.05)


def test_memory_excludes_what_the_caller_holds():
    status = Path("/proc/self/status")
    if not status.exists() or "VmHWM" not in status.read_text():
        pytest.skip("needs VmHWM in /proc")
    held = b"1" * 500_000_000  # more than the measuring process needs
    (cost,) = measure_all([("firenet", None)], 90, 120, "cpu", steps=1)
    assert len(held) and cost.memory > 0


def test_a_killed_process_names_its_network():
    others = set(multiprocessing.active_children())  # such as joblib's, of earlier tests

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not (children := set(multiprocessing.active_children()) - others) and time.monotonic() < deadline:
            time.sleep(0.05)
        for child in children:
            child.kill()  # like the kernel when memory runs out

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(BenchmarkError, match=r"network firenet: its process was killed \(out of memory\?\)"):
        measure_all([("firenet", None)], 16, 16, "cpu", steps=1)
    killer.join()
