"""One method on one sequence, as a piece of work that another process can do; and many of them, in parallel."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .. import __version__
from ..errors import CistaError
from ..util.atomic import sha256_of
from .metrics import MetricChoice, Scorer
from .pictures import PictureFolder, chosen_frames, pictures_of
from .protocols import PROTOCOLS, EvaluationError
from .results import Result, forget_result, read_result, write_result

if TYPE_CHECKING:
    from .sequence import Comparison

FORMAT = 4  # of results; one more whenever the same settings may give other numbers or notes, or pictures elsewhere


@dataclass(frozen=True)
class Job:
    """What is to be done; everything in it can be sent to another process.

    Attributes:
        recording, sequence: its path and its name.
        weights, method: the checkpoint's path and the name it goes by.
        protocol: its name.
        folder: where results are written.
        pictures: how many frames of the sequence are kept as pictures; None for all.
        rest: run the protocol's rest test, if it has one.
        mask: image file of the pixels that count (not zero); None for the protocol's own.
    """

    recording: Path
    sequence: str
    weights: Path
    method: str
    protocol: str
    metrics: MetricChoice
    folder: Path
    device: str = "auto"
    pictures: int | None = 4
    events_topic: str | None = None
    frames_topic: str | None = None
    rest: bool = True
    mask: Path | None = None

    def settings(self) -> dict[str, Any]:
        """All that the numbers and pictures depend on, as plain JSON. CistaError or OSError for missing files."""
        content = {**asdict(self), "format": FORMAT, "version": __version__}
        del content["folder"]
        content["recording"] = _identity(self.recording)
        content["weights"] = sha256_of(self.weights)
        content["metrics"] = [*self.metrics.keys, *map(sha256_of, self.metrics.squeeze or ())]
        content["mask"] = self.mask and sha256_of(self.mask)
        return content


@dataclass(frozen=True)
class Failure:
    """A job that failed, and why, in one line; details for a bug report if it was none of the user's fault."""

    sequence: str
    method: str
    reason: str
    details: str = ""


Outcome = Result | Failure
Progress = Callable[[int], None]  # is told how many frames of a job are done


def _identity(path: Path) -> list[Any]:
    """A recording by its files' names, sizes and times of change: hashing gigabytes would take longer than reading."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return [path.name, len(files), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]


def run_job(job: Job, progress: Progress | None = None) -> Result:
    """Do a job, or find it done. Raises CistaError for bad input, and OSError where files cannot be written."""
    settings = job.settings()
    finished = read_result(job.folder, job.sequence, job.method, settings)
    if finished is not None:
        return finished
    from ..networks import load_network
    from ..recordings import open_recording
    from .rest import run_rest_test
    from .sequence import compare_sequence

    forget_result(job.folder, job.sequence, job.method)
    network = load_network(job.weights)
    with open_recording(job.recording, events_topic=job.events_topic, frames_topic=job.frames_topic) as recording:
        protocol = PROTOCOLS[job.protocol]
        mask = (
            read_mask(job.mask, recording)
            if job.mask
            else protocol.mask(job.sequence, recording.height, recording.width)
        )
        comparison = compare_sequence(recording, job.sequence, network, protocol, job.device)
        plan = comparison.plan
        scorer = Scorer(job.metrics, mask) if plan else None
        kept = None if job.pictures is None else chosen_frames(plan, job.pictures)
        kept_in = pictures_of(job.folder, job.protocol)
        pictures = PictureFolder(kept_in, job.sequence, job.method, protocol.view)
        rows: list[dict[str, float]] = []
        unscored = 0
        for one in comparison.images:
            if one.image is None:
                unscored += 1
                continue
            row: dict[str, float] = {
                "index": one.index,
                "stamp_ns": one.stamp,
                "seconds": (one.stamp - recording.start) / 1e9,
                "events": len(one.events),
                "steps": one.steps,
                "milliseconds": one.milliseconds,
            }
            if scorer and one.truth is not None:
                row.update(scorer.score(one.image, one.truth))
            if kept is None or one.index in kept:
                pictures.write(one)
            rows.append(row)
            if progress:
                progress(len(rows))
        if not rows:
            raise EvaluationError(f"{job.sequence}: the recording gave no image")
        rest = {}
        if plan and protocol.rest and job.rest:
            rest = run_rest_test(comparison.reconstructor, recording, mask)
    result = Result(
        job.sequence,
        job.method,
        rows,
        list(job.metrics.keys) if plan else [],
        _note(comparison, rows, str(recording.packet_counts)),
        unscored,
        pictures.stamps,
        rest,
        settings,
    )
    write_result(job.folder, result)
    return result


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """Read an image file of a sensor's size as bool (H, W): the pixels that are not zero count."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise EvaluationError(f"{path}: not an image file")
    if image.shape != (height, width):
        raise EvaluationError(
            f"{path}: the mask has {image.shape[1]}x{image.shape[0]} pixels, expected the sensor's {width}x{height}"
        )
    if not image.any():
        raise EvaluationError(f"{path}: every pixel of the mask is zero, so that none counts")
    return image > 0


def _note(comparison: Comparison, rows: list[dict[str, float]], packets: str) -> str:
    """What is to be known of a sequence: what the protocol missed, and which events or frames were of no use."""
    plan, counts = comparison.plan, comparison.counts
    notes = [plan.note if plan else "no camera frames: the metrics, which compare with them, have no value"]
    notes += [f"{counts.outside} events outside the sensor were not used"] if counts.outside else []
    notes += [f"{counts.late} events older than those before them were not used"] if counts.late else []
    notes += [f"{counts.stray} events of another time than those around them were not used"] if counts.stray else []
    notes += [f"of the event packets: {packets}"] if packets else []
    silent = sum(1 for _ in takewhile(lambda row: not row["events"], reversed(rows)))
    notes += [f"no events for its last {silent} frames, which are scored all the same"] if silent else []
    return "; ".join(filter(None, notes))


def attempt(job: Job, progress: Progress | None = None) -> Outcome:
    """Do a job; what goes wrong with it becomes a Failure, so that others can go on. A full disk stops everything."""
    try:
        return run_job(job, progress)
    except CistaError as error:
        return Failure(job.sequence, job.method, str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return Failure(job.sequence, job.method, f"{type(error).__name__}: {error}")
    except Exception as error:  # a mistake of ours, or of a library: told in full, but the other sequences go on
        return Failure(job.sequence, job.method, f"{type(error).__name__}: {error}", traceback.format_exc())


def run_jobs(
    jobs: Sequence[Job], processes: int = 1, progress: Progress | None = None
) -> Iterator[tuple[Job, Outcome]]:
    """Do all jobs, each job's outcome as soon as it is there; with several processes, in any order.

    progress: is told how many frames the present job has done; with one process only.
    """
    if processes <= 1:
        for job in jobs:
            yield job, attempt(job, progress)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    todo = list(jobs)
    # A process that dies (out of memory, say) takes the pool with it: what is left is then done again one by one.
    with suppress(BrokenProcessPool):
        yield from _in_pool(todo, list(todo), processes, threads)
    while todo:
        job = todo[0]
        try:
            yield from _in_pool(todo, [job], 1, threads)
        except BrokenProcessPool:
            todo.remove(job)
            yield job, Failure(job.sequence, job.method, "its process died (out of memory?)")


def _in_pool(todo: list[Job], batch: list[Job], processes: int, threads: int) -> Iterator[tuple[Job, Outcome]]:
    """Do a batch of what is still to be done, and strike off what is done."""
    # Not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_process, (threads,)) as pool:
        futures: dict[Future[Outcome], Job] = {pool.submit(attempt, job): job for job in batch}
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    job = futures.pop(future)
                    todo.remove(job)
                    yield job, outcome
        finally:
            for future in futures:
                future.cancel()


def _begin_process(threads: int) -> None:
    import cv2
    import torch

    torch.set_num_threads(threads)
    with suppress(cv2.error):
        cv2.setNumThreads(threads)
