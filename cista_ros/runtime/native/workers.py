"""Threads that each take a share of one convolution, and wait for each other once in it.

Torch's own threads meet after every operation. Where a convolution is dozens of small operations that is most of the
time, and on a CPU that has other work to do it is far worse: each meeting waits for whoever is not scheduled.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch


class Workers:
    """As many threads as torch uses now, this one among them; in the others every operation runs on one core."""

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        if self.count == 1:
            return
        started = Barrier(self.count)
        self._pool = ThreadPoolExecutor(self.count - 1, "cista", initializer=_one_core_each, initargs=(started,))
        for _ in range(self.count - 1):
            self._pool.submit(int)
        started.wait()
        # Where a thread sets its number of threads it also sets that of threads that start later.
        torch.set_num_threads(self.count)

    def run(self, work: Callable[[int], None]) -> None:
        """Call work(0) … work(count - 1) at the same time, each on one core; return when all have."""
        others = [self._pool.submit(_inferring, work, i) for i in range(1, self.count)]
        if others:
            torch.set_num_threads(1)
        try:
            work(0)
        finally:
            if others:
                torch.set_num_threads(self.count)
            for other in others:
                other.result()


def _one_core_each(started: Barrier) -> None:
    torch.set_num_threads(1)
    started.wait()


@torch.inference_mode()
def _inferring(work: Callable[[int], None], share: int) -> None:
    work(share)
