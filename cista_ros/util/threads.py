"""How the threads of a network share a CPU with other programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def wait_without_spinning() -> None:
    """Let threads that wait for each other sleep. To be called before torch is imported: OpenMP reads it only then.

    By default they spin. On a CPU that has other work to do too, a spinning thread keeps away the very one it waits
    for: with more runnable threads than cores, steps took two to eight times as long (docs/performance.md). Who set
    OMP_WAIT_POLICY is obeyed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Have torch use only this thread, if that is wanted: for work that is done before others are awake."""
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
