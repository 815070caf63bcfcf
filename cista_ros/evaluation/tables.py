"""The tables of an evaluation, as numbers: the methods' means, and for each metric sequences by methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..networks import Model
from .jobs import Failure
from .metrics import METRICS, MetricChoice
from .protocols import ECD_SEQUENCES, Protocol
from .published import MEAN, PAPER_MEAN, PAPER_MEANS, PAPER_METRICS, PAPER_NAMES, published
from .results import Result, weighted_mean


@dataclass(frozen=True)
class Table:
    """One metric: rows are sequences and their frame-weighted mean, columns are methods.

    Beside sequences of its Table 1 the paper's methods are the last columns; unless these are all its seven, the mean
    over its own seven is the last row.

    cells[row][column] is nan where there is no number. ours: how many of the columns are our own.
    """

    metric: str
    rows: list[str]
    frames: list[int]
    columns: list[str]
    ours: int
    cells: list[list[float]]


@dataclass(frozen=True)
class MeanRow:
    """A method's frame-weighted means over all sequences, or one of the paper's.

    Attributes:
        name: of the method; of the paper's rows which data they are of.
        network: what it is, in the paper's words, and how its configuration differs from the published one.
        frames: how many; 0 if the paper does not say.
        ours: not the paper's.
        means: metric -> mean; nan where there is none.
    """

    name: str
    network: str
    frames: int
    ours: bool
    means: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """All that came of an evaluation, its tables, and what must be known to read them.

    Attributes:
        sequences, methods: names, as they were asked for. results, failures: of each of them with each.
        protocol: its name, printed in each table. description: what numbers of it mean.
        means: the methods' rows, and the paper's. With all of CISTA, CISTA-D and CISTA-TC this is its Table 2.
        tables: one for each metric of the protocol; of the seven sequences together they are its Table 1.
        order: methods from best to worst by each metric's mean.
        notes: what is missing, and why.
    """

    sequences: Sequence[str]
    methods: Sequence[str]
    results: Sequence[Result]
    failures: Sequence[Failure]
    protocol: str
    description: str
    means: list[MeanRow]
    tables: list[Table]
    order: dict[str, list[str]]
    notes: list[str]


def summarise(
    protocol: Protocol,
    metrics: MetricChoice,
    results: Sequence[Result],
    failures: Sequence[Failure],
    sequences: Sequence[str],
    methods: Mapping[str, Model],
    paper: bool = False,
) -> Summary:
    """Build the tables of all metrics that the protocol prints.

    Args:
        methods: name -> what its network is.
        paper: put the paper's numbers beside, which go with its own protocol only.
    """
    by_name = {(result.sequence, result.method): result for result in results}
    rows = [name for name in ECD_SEQUENCES if name in sequences]
    rows += [name for name in sequences if name not in rows]
    rows = [name for name in rows if any((name, method) in by_name for method in methods)]
    keys = _columns(protocol, metrics)
    means = _means(keys, results, methods) + (_paper_means(keys, methods) if paper else [])
    order = {}
    for key in keys:
        ranked = [(row.means[key], row.name) for row in means if row.ours and not math.isnan(row.means[key])]
        ranked.sort(key=lambda pair: pair[0], reverse=METRICS[key].more_is_better)
        order[key] = [method for _, method in ranked]
    tables = [_table(key, rows, list(methods), by_name, [row.means[key] for row in means], paper) for key in keys]
    notes = _notes(metrics, results, failures, by_name, rows, list(methods), paper)
    return Summary(
        sequences,
        list(methods),
        results,
        failures,
        protocol.name,
        protocol.description,
        means,
        tables,
        order,
        notes,
    )


def _table(
    key: str,
    rows: Sequence[str],
    methods: Sequence[str],
    by_name: Mapping[tuple[str, str], Result],
    means: Sequence[float],
    paper: bool,
) -> Table:
    beside = published(key) if paper and any(row in ECD_SEQUENCES for row in rows) else {}
    cells = []
    for row in rows:
        ours = [by_name[row, m].mean(key) if (row, m) in by_name else math.nan for m in methods]
        cells.append(ours + [values.get(row, math.nan) for values in beside.values()])
    frames = [max(len(by_name[row, m].rows) for m in methods if (row, m) in by_name) for row in rows]
    names, frames = [*rows, MEAN], [*frames, sum(frames)]
    ours, papers = list(means[: len(methods)]), [values[PAPER_MEAN] for values in beside.values()]
    if set(rows) == set(ECD_SEQUENCES):
        cells.append(ours + papers)
    else:
        cells.append(ours + [math.nan for _ in beside])
        if beside:
            cells.append([math.nan for _ in methods] + papers)
            names, frames = [*names, PAPER_MEAN], [*frames, 0]
    columns = [*methods, *(f"{PAPER_NAMES[model]} (paper)" for model in beside)]
    return Table(key, names, frames, columns, len(methods), cells)


def _means(keys: Sequence[str], results: Sequence[Result], methods: Mapping[str, Model]) -> list[MeanRow]:
    rows = []
    for method, model in methods.items():
        own = [result for result in results if result.method == method]
        differences = [f"{key}={value}" for key, value in model.differences.items()]
        network = ", ".join([PAPER_NAMES.get(model.name, model.name), *differences])
        frames = sum(len(result.rows) for result in own)
        rows.append(MeanRow(method, network, frames, True, {key: weighted_mean(own, key) for key in keys}))
    return rows


def _paper_means(keys: Sequence[str], methods: Mapping[str, Model]) -> list[MeanRow]:
    """The paper's means over its real and over its simulated data, in the order of our own methods."""
    order = [*dict.fromkeys(model.name for model in methods.values() if model.name in PAPER_NAMES), *PAPER_NAMES]
    rows = []
    for data, means in PAPER_MEANS.items():
        for model in dict.fromkeys(order):
            values = dict(zip(PAPER_METRICS, means[model], strict=True))
            values = {key: values.get(key, math.nan) for key in keys}
            rows.append(MeanRow(f"paper, {data}", PAPER_NAMES[model], 0, False, values))
    return rows


def _columns(protocol: Protocol, metrics: MetricChoice) -> list[str]:
    """The protocol's metrics, but for LPIPS-squeeze where it was not asked for."""
    return [key for key in protocol.metrics if key in metrics.keys or key in dict(metrics.missing)]


def _notes(
    metrics: MetricChoice,
    results: Sequence[Result],
    failures: Sequence[Failure],
    by_name: dict[tuple[str, str], Result],
    rows: Sequence[str],
    methods: Sequence[str],
    paper: bool,
) -> list[str]:
    notes = [f"{METRICS[key].label} was not computed: {reason}." for key, reason in metrics.missing]
    # What is to be said of several sequences is said once.
    said: dict[str, list[str]] = {}
    for sequence in rows:
        own = [r for r in results if r.sequence == sequence]
        for note in sorted({r.note for r in own if r.note}):
            said.setdefault(note, []).append(sequence)
        if unscored := max(r.unscored for r in own):
            note = f"frames before the first event, which have no image and no score: {unscored}"
            said.setdefault(note, []).append(sequence)
    notes += [f"{', '.join(names)}: {note}." for note, names in said.items()]
    notes += [f"{f.sequence}, {f.method}: failed: {f.reason}." for f in failures]
    incomplete = [m for m in methods if any((row, m) not in by_name for row in rows)]
    if incomplete:
        notes.append(f"The means of {', '.join(incomplete)} are over fewer sequences than the others'.")
    if paper:
        notes.append("The paper's numbers are of networks that its authors trained; its LPIPS is that of VGG.")
    return notes


def as_json(summary: Summary) -> dict[str, Any]:
    """Everything as plain JSON: nan becomes null."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "protocol": summary.description,
        "means": [{**asdict(row), "means": {k: plain(v) for k, v in row.means.items()}} for row in summary.means],
        "tables": {
            t.metric: {
                "rows": t.rows,
                "frames": t.frames,
                "columns": t.columns,
                "cells": [[plain(value) for value in row] for row in t.cells],
            }
            for t in summary.tables
        },
        "order": summary.order,
        "sequences": [
            {
                "sequence": r.sequence,
                "method": r.method,
                "frames": len(r.rows),
                "milliseconds": plain(r.mean("milliseconds")),
                "means": {key: plain(r.mean(key)) for key in r.metrics},
                "rest": r.rest,
            }
            for r in summary.results
        ],
        "rest": rest_means(summary.results),
        "failures": [{"sequence": f.sequence, "method": f.method, "reason": f.reason} for f in summary.failures],
        "notes": summary.notes,
    }


def rest_means(results: Sequence[Result]) -> dict[str, dict[str, dict[str, float]]]:
    """The rest test: method -> kind of rest -> "correlation" and "contrast", means over sequences."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in dict.fromkeys(r.method for r in results if r.rest):
        tests = [r.rest for r in results if r.method == method and r.rest]
        found[method] = {
            label: {key: sum(t[label][key] for t in tests) / len(tests) for key in tests[0][label]}
            for label in tests[0]
        }
    return found
