"""The tables of an evaluation: sequences by methods, one for each metric, as numbers, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .jobs import Failure
from .metrics import METRICS, MetricChoice
from .protocols import ECD_SEQUENCES, Protocol
from .published import MEAN, PAPER_MEAN, published
from .results import Result, weighted_mean


@dataclass(frozen=True)
class Table:
    """One metric: rows are sequences and their frame-weighted mean, columns are methods.

    With the paper's numbers its methods are the last columns, and the mean over its own seven sequences the last row.

    cells[row][column] is nan where there is no number. ours: how many of the columns are our own.
    """

    metric: str
    rows: list[str]
    frames: list[int]
    columns: list[str]
    ours: int
    cells: list[list[float]]

    @property
    def heading(self) -> str:
        """The metric, and which way is better."""
        metric = METRICS[self.metric]
        return f"{metric.label} {'↑' if metric.more_is_better else '↓'}"

    def text(self, row: int, column: int) -> str:
        """A cell as it is printed; a dash for none."""
        value = self.cells[row][column]
        return "–" if math.isnan(value) else f"{value:.{METRICS[self.metric].decimals}f}"

    def is_best(self, row: int, column: int) -> bool:
        """Whether one of our columns holds the best of ours (as printed) in its row, of two or more."""
        values = {j: float(self.text(row, j)) for j in range(self.ours) if not math.isnan(self.cells[row][j])}
        best = max if METRICS[self.metric].more_is_better else min
        return column in values and len(values) > 1 and values[column] == best(values.values())


@dataclass(frozen=True)
class Summary:
    """All that came of an evaluation, its tables, and what must be known to read them.

    Attributes:
        sequences, methods: names, as they were asked for. results, failures: of each of them with each.
        protocol: its description, printed in each table.
        tables: one for each metric of the protocol.
        order: methods from best to worst by each metric's mean.
        notes: what is missing, and why.
    """

    sequences: Sequence[str]
    methods: Sequence[str]
    results: Sequence[Result]
    failures: Sequence[Failure]
    protocol: str
    tables: list[Table]
    order: dict[str, list[str]]
    notes: list[str]


def summarise(
    protocol: Protocol,
    metrics: MetricChoice,
    results: Sequence[Result],
    failures: Sequence[Failure],
    sequences: Sequence[str],
    methods: Sequence[str],
    paper: bool = False,
) -> Summary:
    """Build the tables of all metrics that the protocol prints; the paper's numbers go with its own protocol only."""
    by_name = {(result.sequence, result.method): result for result in results}
    rows = [name for name in ECD_SEQUENCES if name in sequences]
    rows += [name for name in sequences if name not in rows]
    rows = [name for name in rows if any((name, method) in by_name for method in methods)]
    tables, order = [], {}
    for key in _columns(protocol, metrics):
        beside = published(key) if paper else {}
        cells = []
        for row in rows:
            ours = [by_name[row, m].mean(key) if (row, m) in by_name else math.nan for m in methods]
            cells.append(ours + [values.get(row, math.nan) for values in beside.values()])
        means = [weighted_mean([r for r in results if r.method == method], key) for method in methods]
        cells.append(means + [math.nan for _ in beside])
        frames = [max(len(by_name[row, m].rows) for m in methods if (row, m) in by_name) for row in rows]
        names, frames = [*rows, MEAN], [*frames, sum(frames)]
        if beside:
            cells.append([math.nan for _ in methods] + [values[PAPER_MEAN] for values in beside.values()])
            names, frames = [*names, PAPER_MEAN], [*frames, 0]
        columns = [*methods, *(f"{method} (paper)" for method in beside)]
        tables.append(Table(key, names, frames, columns, len(methods), cells))
        ranked = [(mean, m) for mean, m in zip(means, methods, strict=True) if not math.isnan(mean)]
        ranked.sort(key=lambda pair: pair[0], reverse=METRICS[key].more_is_better)
        order[key] = [method for _, method in ranked]
    notes = _notes(metrics, results, failures, by_name, rows, methods, paper)
    return Summary(sequences, methods, results, failures, protocol.description, tables, order, notes)


def _columns(protocol: Protocol, metrics: MetricChoice) -> list[str]:
    ssim = "ssim_gaussian" if protocol.gaussian_ssim else "ssim_uniform"
    wanted = ["mse", "psnr", ssim, f"lpips_{protocol.lpips}", "lpips_squeeze_keras", "temporal"]
    there = {*metrics.keys, f"lpips_{protocol.lpips}"}
    return [key for key in wanted if key in there]


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
    for sequence in rows:
        said = sorted({r.note for r in results if r.sequence == sequence and r.note})
        notes += [f"{sequence}: {note}." for note in said]
        unscored = max(r.unscored for r in results if r.sequence == sequence)
        if unscored:
            notes.append(f"{sequence}: frames before its first event, which have no image and no score: {unscored}.")
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
        "protocol": summary.protocol,
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
            }
            for r in summary.results
        ],
        "failures": [{"sequence": f.sequence, "method": f.method, "reason": f.reason} for f in summary.failures],
        "notes": summary.notes,
    }


def as_markdown(summary: Summary) -> str:
    """All tables; the best of our methods in bold."""
    parts = [summary.protocol[0].upper() + summary.protocol[1:] + "."]
    for t in summary.tables:
        lines = ["| " + " | ".join([t.heading, "frames", *t.columns]) + " |", "|---|" + "---:|" * (len(t.columns) + 1)]
        for i, row in enumerate(t.rows):
            cells = [f"**{t.text(i, j)}**" if t.is_best(i, j) else t.text(i, j) for j in range(len(t.columns))]
            name = f"*{row}*" if row in (MEAN, PAPER_MEAN) else row
            lines.append("| " + " | ".join([name, str(t.frames[i] or ""), *cells]) + " |")
        parts.append("\n".join(lines))
    if summary.notes:
        parts.append("\n".join(f"- {note}" for note in summary.notes))
    return "\n\n".join(parts) + "\n"


def as_latex(summary: Summary) -> str:
    """One table for papers (booktabs), as wide as need be: methods under each metric."""
    tables = summary.tables
    if not tables:
        return ""
    spec = "l" + "".join("r" * len(t.columns) for t in tables)
    groups = [rf"\multicolumn{{{len(t.columns)}}}{{c}}{{{_tex(METRICS[t.metric].label)}}}" for t in tables]
    names = [_tex(column) for t in tables for column in t.columns]
    lines = [
        "% needs \\usepackage{booktabs}",
        rf"% {_tex(summary.protocol)}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        " & ".join(["", *groups]) + r" \\",
        " & ".join(["Dataset", *names]) + r" \\",
        r"\midrule",
    ]
    for row in max((t.rows for t in tables), key=len):
        if row == MEAN:
            lines.append(r"\midrule")
        cells = []
        for t in tables:
            i = t.rows.index(row) if row in t.rows else None
            texts = ["–" if i is None else t.text(i, j) for j in range(len(t.columns))]
            best = [i is not None and t.is_best(i, j) for j in range(len(t.columns))]
            cells += [rf"\textbf{{{text}}}" if b else _tex(text) for text, b in zip(texts, best, strict=True)]
        lines.append(" & ".join([_tex(row), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex(text: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash{}"), ("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#")):
        text = text.replace(plain, escaped)
    for plain, escaped in (("×", r"$\times$"), ("σ", r"$\sigma$"), ("–", "--")):
        text = text.replace(plain, escaped)
    return text
