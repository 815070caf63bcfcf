"""Scores on disk: a CSV of frames and a JSON of what they are of, for each sequence and method.

A result counts as finished when its JSON is there, which is written last; both are put in place whole. A run that was
broken off finds what was finished by it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CistaError
from ..util.atomic import write_text, write_whole
from .metrics import METRICS

COLUMNS = ("index", "stamp_ns", "seconds", "events", "steps", "milliseconds")


@dataclass
class Result:
    """What came of one method on one sequence.

    Attributes:
        sequence, method: names.
        rows: one dictionary for each scored frame: COLUMNS, and the metrics' values (nan where there is none).
        metrics: keys of METRICS that were computed; empty where the recording has no frames.
        note: what of the protocol the recording could not give, and events that were not used.
        unscored: frames that the protocol wants scored and that no image could be had for.
        pictures: stamps (ns) of the frames whose pictures were kept.
        rest: what rest.run_rest_test returns; empty if the protocol has no rest test.
        settings: all that the numbers depend on; a result of other settings is made anew.
    """

    sequence: str
    method: str
    rows: list[dict[str, float]]
    metrics: list[str]
    note: str = ""
    unscored: int = 0
    pictures: list[int] = field(default_factory=list)
    rest: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def values(self, key: str) -> list[float]:
        """A column without its missing values."""
        return [row[key] for row in self.rows if key in row and not math.isnan(row[key])]

    def mean(self, key: str) -> float:
        """Mean of a column; nan if it has no value."""
        values = self.values(key)
        return math.fsum(values) / len(values) if values else math.nan


def weighted_mean(results: Sequence[Result], key: str) -> float:
    """Mean over all frames of several sequences; nan without any."""
    values = [value for result in results for value in result.values(key)]
    return math.fsum(values) / len(values) if values else math.nan


def result_paths(folder: Path, sequence: str, method: str) -> tuple[Path, Path]:
    """CSV and JSON of a result."""
    base = folder / "scores" / sequence / method
    return base.with_name(base.name + ".csv"), base.with_name(base.name + ".json")


def write_result(folder: Path, result: Result) -> None:
    """Write both files."""
    table, about = result_paths(folder, result.sequence, result.method)
    fields = [*COLUMNS, *(key for key in METRICS if key in result.metrics)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, extrasaction="ignore")
    writer.writeheader()
    for row in result.rows:
        # repr of a float reads back as the very same; an empty field stands for nan.
        writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else repr(v) for k, v in row.items()})
    written = text.getvalue().encode()
    write_whole(table, written)
    content = {"table_sha256": hashlib.sha256(written).hexdigest(), **asdict(result)}
    del content["rows"]
    write_text(about, json.dumps(content, indent=1) + "\n")


def read_result(folder: Path, sequence: str, method: str, settings: dict[str, Any]) -> Result | None:
    """A finished result of the same settings; None if there is none (or its files are damaged)."""
    table, about = result_paths(folder, sequence, method)
    try:
        content = json.loads(about.read_text())
        if content.pop("settings") != settings:
            return None
        written = table.read_bytes()
        if content.pop("table_sha256") != hashlib.sha256(written).hexdigest():
            return None
        rows = [_numbers(row) for row in csv.DictReader(written.decode().splitlines())]
        return Result(rows=rows, settings=settings, **content)
    except (OSError, ValueError, KeyError, TypeError, CistaError):
        return None


def forget_result(folder: Path, sequence: str, method: str) -> None:
    """Remove what an earlier run left, so that a failure leaves no old numbers behind."""
    for path in result_paths(folder, sequence, method):
        path.unlink(missing_ok=True)


def _numbers(row: dict[str, str]) -> dict[str, float]:
    whole = ("index", "stamp_ns", "events", "steps")
    return {k: int(v) if k in whole else float(v) if v else math.nan for k, v in row.items()}
