"""The thread that runs the network."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import torch

from .backlog import Backlog, Errand, Job
from .image_source import NotReadyError

if TYPE_CHECKING:
    from ..reconstructor import Frame
    from .counts import Counts
    from .diagnostics import Troubles

CLOSE_S = 10.0
# Of this thread, beside the one that takes messages. Where the machine has too little time for both, it is the network
# that must wait: a late window is merged, a message that is not taken in time is lost.
NICENESS = 10


class Worker:
    """Takes windows from a backlog and has their images published; other work of torch's is done here, too.

    Args:
        backlog: what to do.
        publish: is called, in this thread, with each picture and its job.
        counts, troubles: are told what came of the jobs.
        on_image: is told how many seconds after its window was complete an image was published.
    """

    def __init__(
        self,
        backlog: Backlog,
        publish: Callable[[Frame, Job], None],
        counts: Counts,
        on_image: Callable[[float], None],
        troubles: Troubles,
    ) -> None:
        self.backlog = backlog
        self._publish, self._counts, self._on_image, self._troubles = publish, counts, on_image, troubles
        self._thread = threading.Thread(target=self._work, name="reconstruct", daemon=True)
        self._thread.start()

    def submit(self, do: Callable[[], Any]) -> Future[Any]:
        """Have something done in this thread, before the windows that wait."""
        errand = Errand(do)
        self.backlog.put_errand(errand)
        return errand.done

    def close(self) -> bool:
        """End the thread, after the window it is at; whether it did end within 10 s."""
        self.backlog.close()
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _work(self) -> None:
        _step_back()
        while task := self.backlog.get():
            if isinstance(task, Errand):
                self._run(task)
            else:
                self._make(task)
            # While it waits, it must not hold the events of the last window.
            del task

    @staticmethod
    def _run(errand: Errand) -> None:
        try:
            errand.done.set_result(errand.do())
        except BaseException as error:  # it belongs to who asked for it
            errand.done.set_exception(error)

    def _make(self, job: Job) -> None:
        counts = self._counts
        try:
            self._publish(job.images.make(job.window), job)
            counts.images += 1
            counts.used_events += job.events
            self._on_image(time.monotonic() - job.since)
        except NotReadyError as error:
            counts.not_ready_windows += 1
            counts.not_ready_events += job.events
            self._troubles.add("not ready", f"No images: {error}")
        except Exception as error:  # whatever the network, the driver or the middleware says: the node goes on
            counts.failed_windows += 1
            counts.failed_events += job.events
            self._troubles.add("failed", f"A window of {job.events} events failed: {type(error).__name__}: {error}")
            job.images.give_up()


def _step_back() -> None:
    """Let other threads of this process go before this one and those that it starts (OpenMP's, torch's)."""
    thread = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
    except OSError:  # a sandbox may forbid even that; it is no reason not to run
        return


def free_memory() -> None:
    """Give back what freed networks leave behind: cycles of Python's, and torch's cache of GPU memory."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
