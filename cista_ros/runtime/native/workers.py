"""Threads that share one convolution and synchronise once.

Torch's own threads synchronise after every operation. A convolution here consists of dozens of small operations, so
that synchronising would take most of the time. On a busy CPU it would take far more, because each synchronisation waits
for the slowest thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch


class Workers:
    """As many threads as torch uses, including the calling one. In the others, each torch operation uses one core."""

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        if self.count == 1:
            return
        started = Barrier(self.count)
        self._pool = ThreadPoolExecutor(self.count - 1, "cista", initializer=_one_core_each, initargs=(started,))
        for _ in range(self.count - 1):
            self._pool.submit(int)
        started.wait()
        # set_num_threads in a thread also changes the default of threads that start later.
        torch.set_num_threads(self.count)

    def run(self, work: Callable[[int], None]) -> None:
        """Run work(0) … work(count - 1) in parallel, each on one core, and wait for all."""
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
