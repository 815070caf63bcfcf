"""Jobs (one network on one recording) and their results on disk.

A result is a JSON, and a CSV of its frames for other programs. It is finished when its JSON exists, which is written
last; both are written atomically. A run that is started again finds what an interrupted one has finished.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__, noise_filter
from ..networks import load_network
from ..recordings import open_recording
from ..util.atomic import digest_of, write_text
from ..util.jobs import identify
from .pictures import chosen_frames, picture_path, write_pictures
from .protocols import PROTOCOLS, EvaluationError
from .rest import run_rest_test
from .scores import ScoreChoice, Scorer
from .sequence import Comparison
from .tasks import NEED_FRAMES

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 8  # of results; one more whenever the same settings may give other numbers or notes, or pictures elsewhere


@dataclass(frozen=True)
class Job:
    """One network on one recording; picklable."""

    recording: Path
    sequence: str  # its name
    weights: Path
    method: str  # the name of the weights in tables
    protocol: str
    scores: ScoreChoice
    folder: Path  # where results are written
    device: str = "auto"
    pictures: int | None = 4  # number of frames to keep as pictures; None for all
    read: dict[str, Any] = field(default_factory=dict)  # options of open_recording
    rest: bool = True  # whether to run the protocol's rest test, if it has one
    mask: Path | None = None  # file of the pixels that count; None for the protocol's own

    def settings(self) -> dict[str, Any]:
        """Return everything that the result depends on, as JSON. CistaError or OSError for missing files."""
        content = {**asdict(self), "format": FORMAT, "version": __version__}
        del content["folder"]
        content["recording"] = identify(self.recording)
        content["weights"] = digest_of(self.weights)
        content["scores"] = [*self.scores.keys, *map(digest_of, self.scores.squeeze or ())]
        content["tasks"] = [*self.scores.tasks, self.scores.target]
        content["mask"] = self.mask and digest_of(self.mask)
        return content


@dataclass
class Result:
    """The scores of one method on one sequence."""

    sequence: str
    method: str
    frames: pd.DataFrame  # of the scored: index, stamp_ns, seconds, events, steps, milliseconds, and the scores
    scores: list[str]  # keys of the scores; only of tasks if the recording has no frames
    note: str = ""  # what of the protocol the recording could not give, and events that were not used
    unscored: int = 0  # frames that the protocol scores and that had no image yet
    pictures: list[int] = field(default_factory=list)  # stamps (ns) of the frames whose pictures were kept
    rest: dict[str, dict[str, float]] = field(default_factory=dict)  # of run_rest_test; empty without it
    settings: dict[str, Any] = field(default_factory=dict)  # of the job; a result of others is made again


def result_paths(folder: Path, sequence: str, method: str) -> tuple[Path, Path]:
    """Return the CSV and the JSON of a result."""
    base = folder / "scores" / sequence / method
    return base.with_name(base.name + ".csv"), base.with_name(base.name + ".json")


def write_result(folder: Path, result: Result) -> None:
    """Write both files of a result."""
    table, about = result_paths(folder, result.sequence, result.method)
    write_text(table, result.frames.to_csv(index=False))
    content = {**vars(result), "frames": result.frames.to_dict("list")}
    write_text(about, json.dumps(content) + "\n")  # floats as repr, which read back equal


def read_result(folder: Path, sequence: str, method: str, settings: dict[str, Any]) -> Result | None:
    """Return the finished result of the same settings; None if it is missing or its JSON is damaged."""
    import pandas as pd

    try:
        content = json.loads(result_paths(folder, sequence, method)[1].read_text())
        result = Result(**{**content, "frames": pd.DataFrame(content["frames"])})
        return result if result.settings == settings else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_job(job: Job) -> Result:
    """Run a job, or return its finished result. CistaError for bad input, OSError for failed writes."""
    import pandas as pd

    settings = job.settings()
    finished = read_result(job.folder, job.sequence, job.method, settings)
    if finished is not None:
        return finished
    for path in result_paths(job.folder, job.sequence, job.method):
        path.unlink(missing_ok=True)  # a failure must not leave old numbers
    network = load_network(job.weights)
    with open_recording(job.recording, **job.read) as recording:
        protocol = PROTOCOLS[job.protocol]
        size = recording.height, recording.width
        mask = read_mask(job.mask, *size) if job.mask else protocol.mask(job.sequence, *size)
        comparison = Comparison(recording, job.sequence, network, protocol, job.device)
        plan = comparison.plan
        tasks = [key for key in job.scores.tasks if plan or key not in NEED_FRAMES]
        scores = [*(job.scores.keys if plan else ()), *tasks]
        if not scores:
            raise EvaluationError(
                f"{job.sequence}: no camera frames to compare with; only --task tracks and corners need none"
            )
        scorer = Scorer(job.scores, mask)
        kept = None if job.pictures is None else chosen_frames(plan, job.pictures, recording.first_event)
        pictures, stamps = job.folder / "pictures" / job.protocol, []
        for old in picture_path(pictures, job.sequence, job.method, 0).parent.glob("*.png"):
            old.unlink()
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
            row |= scorer.score(one.image, one.truth)
            if kept is None or one.index in kept:
                write_pictures(pictures, job.sequence, job.method, protocol.view, one)
                stamps.append(one.stamp)
            rows.append(row)
        if not rows:
            raise EvaluationError(f"{job.sequence}: the recording gave no image")
        rest = {}
        if plan and protocol.rest and job.rest:
            rest = run_rest_test(comparison.reconstructor, recording, mask)
    note = _note(comparison, rows, str(recording.packet_counts))
    frames = pd.DataFrame(rows)
    result = Result(job.sequence, job.method, frames, scores, note, unscored, stamps, rest, settings)
    write_result(job.folder, result)
    return result


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """Read a mask of the pixels that count, bool (H, W), with noise_filter.read_mask; EvaluationError if empty."""
    mask = noise_filter.read_mask(path, height, width)
    if not mask.any():
        raise EvaluationError(f"{path}: every pixel of the mask is zero; expected non-zero pixels to score")
    return mask


def _note(comparison: Comparison, rows: list[dict[str, float]], packets: str) -> str:
    """Return how a sequence deviates from the protocol, and its unused events and frames."""
    plan, counts = comparison.plan, comparison.counts
    notes = [plan.note if plan else "no camera frames, so no scores against them"]
    notes += [f"{counts.outside} events outside the sensor were not used"] if counts.outside else []
    notes += [f"{counts.late} events older than those before them were not used"] if counts.late else []
    notes += [f"{counts.stray} events of another time than those around them were not used"] if counts.stray else []
    notes += [f"event packets: {packets}"] if packets else []
    silent = sum(1 for _ in takewhile(lambda row: not row["events"], reversed(rows)))
    notes += [f"no events for its last {silent} frames, which are scored all the same"] if silent else []
    return "; ".join(filter(None, notes))
