"""Independent jobs, in processes on this machine or on the workers of a Dask cluster, both through joblib."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CistaError, reason_of

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
Job = TypeVar("Job")
Output = TypeVar("Output")


class JobsError(CistaError):
    """Jobs cannot be run as requested."""


@dataclass(frozen=True)
class Failure:
    """Why a job failed, in one line; with details for a bug report if the input is not to blame."""

    reason: str
    details: str = ""


def identify(path: Path) -> list[Any]:
    """Identify a file or folder by names, sizes and times, as JSON; hashing gigabytes takes too long."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return [path.name, len(files), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]


def attempt(run: Callable[[Job], Output], job: Job) -> Output | Failure:
    """Run a job and turn errors into a Failure, so that other jobs continue. A full disk stops all: OSError."""
    try:
        return run(job)
    except CistaError as error:
        return Failure(str(error))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        return Failure(f"{type(error).__name__}: {reason_of(error)}")
    except Exception as error:  # a bug of ours or of a library
        return Failure(f"{type(error).__name__}: {reason_of(error)}", traceback.format_exc())


def run_jobs(
    run: Callable[[Job], Output], jobs: Sequence[Job], processes: int = 1, dask: str | None = None
) -> Iterator[tuple[int, Output | Failure]]:
    """Run all jobs and yield the index and outcome of each when it is ready, in any order.

    Args:
        run, jobs: picklable, if they run in other processes.
        processes: number of processes on this machine; with 1, the jobs run in this process.
        dask: address of a Dask scheduler whose workers run the jobs instead. They need this package, and the same
            paths to all files.

    JobsError without a scheduler there, or for a missing package; OSError if the disk is full.
    """
    if processes <= 1 and not dask:
        yield from ((index, attempt(run, job)) for index, job in enumerate(jobs))
        return
    cluster, deaths = _workers(dask)
    with cluster:
        left = dict(enumerate(jobs))
        with suppress(*deaths):
            for index, outcome in _in_parallel(run, left, processes, dask, "generator_unordered"):
                del left[index]
                yield index, outcome
        # A worker that dies (out of memory, for example) ends the whole batch: the rest runs one by one. With Dask
        # joblib's generator can also end before its last outcomes.
        for index, job in left.items():
            try:
                yield from _in_parallel(run, {index: job}, 2, dask, "list")
            except deaths:
                yield index, Failure("its process died (out of memory?)")


def _in_parallel(
    run: Callable[[Job], Output], jobs: dict[int, Job], processes: int, dask: str | None, return_as: str
) -> Iterable[tuple[int, Output | Failure]]:
    from joblib import Parallel, delayed, parallel_config

    # Processes share the cores, so that they do not compete for them.
    options = {} if dask else {"inner_max_num_threads": max(1, (os.cpu_count() or 1) // processes)}
    with parallel_config("dask" if dask else "loky", **options):
        work = Parallel(-1 if dask else processes, return_as=return_as, batch_size=1)
        yield from work(delayed(_attempt)(index, run, job) for index, job in list(jobs.items()))


def _attempt(index: int, run: Callable[[Job], Output], job: Job) -> tuple[int, Output | Failure]:
    return index, attempt(run, job)


def _workers(dask: str | None) -> tuple[AbstractContextManager[object], tuple[type[Exception], ...]]:
    """Return a connection to a Dask scheduler, if any, and the errors that mean that a worker process died."""
    try:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        if not dask:
            return nullcontext(), (TerminatedWorkerError,)
        from distributed import CancelledError, Client, KilledWorker
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        raise JobsError(f"--jobs and --dask need the package {package}: pip install {package}") from None
    try:
        return Client(dask, timeout=10, set_as_default=True), (KilledWorker, CancelledError)
    except (OSError, ValueError) as error:
        raise JobsError(f"--dask {dask}: no Dask scheduler there ({type(error).__name__})") from None
