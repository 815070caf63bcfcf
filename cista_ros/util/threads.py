"""Settings for threads that share a CPU with other programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def wait_without_spinning() -> None:
    """Make waiting threads sleep. Call it before torch is imported: OpenMP reads the setting only then.

    By default they spin. On a busy CPU a spinning thread displaces the one it waits for: with more runnable threads
    than cores, steps took two to eight times as long (docs/reference/performance.md). An OMP_WAIT_POLICY that is set is
    kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Restrict torch to this thread, if wanted: for work that is done before other threads wake up."""
    import torch  # not earlier: see above

    threads = torch.get_num_threads()
    if not wanted or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
