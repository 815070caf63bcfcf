"""The tables of an evaluation as they are printed: in words and digits, then in Markdown or LaTeX (report.py: HTML)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .metrics import METRICS
from .published import MEAN, PAPER_MEAN
from .tables import MeanRow, Summary, Table, rest_means

# Characters that LaTeX takes for commands, or that its usual fonts lack.
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "–": "--"}
    | {"×": r"$\times$", "σ": r"$\sigma$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
)


@dataclass(frozen=True)
class Grid:
    """A table as it is printed.

    Attributes:
        head: of each column. words: how many of them, from the left, hold words and not numbers.
        rows: cells of each.
        means: which rows are means of the others.
        best: which cells (row, column) are the best of ours. paper: which are the paper's.
    """

    head: list[str]
    words: int
    rows: list[list[str]]
    means: set[int]
    best: set[tuple[int, int]]
    paper: set[tuple[int, int]]


def grids(summary: Summary) -> list[Grid]:
    """All tables, each under the protocol's name: first the methods' means, then one for each metric."""
    keys = [table.metric for table in summary.tables]
    return [_means(summary.protocol, keys, summary.means), *(_table(summary.protocol, t) for t in summary.tables)]


def _means(protocol: str, keys: Sequence[str], rows: Sequence[MeanRow]) -> Grid:
    head = [f"means, {protocol}", "network", "frames", *map(_heading, keys)]
    cells = [
        [row.name, row.network, str(row.frames or ""), *(_number(key, row.means[key]) for key in keys)] for row in rows
    ]
    best = set()
    for j, key in enumerate(keys):
        best |= {(i, 3 + j) for i in _best_of(key, {i: row.means[key] for i, row in enumerate(rows) if row.ours})}
    paper = {(i, j) for i, row in enumerate(rows) if not row.ours for j in range(len(head))}
    return Grid(head, 2, cells, set(), best, paper)


def _table(protocol: str, table: Table) -> Grid:
    head = [f"{_heading(table.metric)}, {protocol}", "frames", *table.columns]
    rows = [
        [name, str(frames or ""), *(_number(table.metric, value) for value in values)]
        for name, frames, values in zip(table.rows, table.frames, table.cells, strict=True)
    ]
    best = set()
    for i, values in enumerate(table.cells):
        best |= {(i, 2 + j) for j in _best_of(table.metric, dict(enumerate(values[: table.ours])))}
    means = {i for i, name in enumerate(table.rows) if name in (MEAN, PAPER_MEAN)}
    paper = {(i, j) for i in range(len(rows)) for j in range(2 + table.ours, len(head))}
    return Grid(head, 1, rows, means, best, paper)


def _heading(metric: str) -> str:
    """A metric's name, and which way is better."""
    return f"{METRICS[metric].label} {'↑' if METRICS[metric].more_is_better else '↓'}"


def _number(metric: str, value: float) -> str:
    """A value as it is printed; a dash for none."""
    return "–" if math.isnan(value) else f"{value:.{METRICS[metric].decimals}f}"


def _best_of(metric: str, values: Mapping[int, float]) -> set[int]:
    """Keys of the best of two or more values, as they are printed; nan is none."""
    printed = {key: float(_number(metric, value)) for key, value in values.items() if not math.isnan(value)}
    best = max if METRICS[metric].more_is_better else min
    return {key for key in printed if len(printed) > 1 and printed[key] == best(printed.values())}


def as_markdown(summary: Summary) -> str:
    """All tables; the best of our methods in bold."""
    parts = [summary.description[0].upper() + summary.description[1:] + "."]
    for grid in grids(summary):
        lines = [_line(grid.head), "|" + "---|" * grid.words + "---:|" * (len(grid.head) - grid.words)]
        for i, row in enumerate(grid.rows):
            cells = [f"**{text}**" if (i, j) in grid.best else text for j, text in enumerate(row)]
            lines.append(_line([f"*{cells[0]}*", *cells[1:]] if i in grid.means else cells))
        parts.append("\n".join(lines))
    if rest := rest_means(summary.results):
        labels = list(next(iter(rest.values())))
        lines = [_line(["correlation (contrast left) after 2 s of noise only", *labels])]
        lines.append("|---|" + "---:|" * len(labels))
        for method, values in rest.items():
            lines.append(_line([method, *(f"{v['correlation']:.3f} ({v['contrast']:.0%})" for v in values.values())]))
        parts.append("\n".join(lines))
    if summary.notes:
        parts.append("\n".join(f"- {note}" for note in summary.notes))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_latex(summary: Summary) -> str:
    """All tables, for papers: a tabular for each, with booktabs."""
    parts = [f"% {_tex(summary.description)}\n% needs \\usepackage{{booktabs}}"]
    for grid in grids(summary):
        lines = [
            rf"\begin{{tabular}}{{{'l' * grid.words}{'r' * (len(grid.head) - grid.words)}}}",
            r"\toprule",
            " & ".join(map(_tex, grid.head)) + r" \\",
            r"\midrule",
        ]
        for i, row in enumerate(grid.rows):
            if (i and (i in grid.means) != (i - 1 in grid.means)) or _begins_papers_rows(grid, i):
                lines.append(r"\midrule")
            cells = [rf"\textbf{{{text}}}" if (i, j) in grid.best else _tex(text) for j, text in enumerate(row)]
            lines.append(" & ".join(cells) + r" \\")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def _begins_papers_rows(grid: Grid, row: int) -> bool:
    """Whether a row is the first of the paper's, or of the paper's on other data."""
    return (row, 0) in grid.paper and (row == 0 or grid.rows[row][0] != grid.rows[row - 1][0])


def _tex(text: str) -> str:
    return text.translate(_TEX)
