"""What was measured, as a table and as a plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from .stages import Stage
from .steps import Row


def as_markdown(rows: Sequence[Row], stages: Sequence[Stage]) -> str:
    """Two tables; `ratio` is how many times as fast as the reference in the same run, by medians (by minima)."""
    lines = [
        "| network | size | runtime | precision | ms median (p10 … p90) | min | ratio (of minima) | GFLOP/s"
        " | of ceiling | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.network} | {r.width}x{r.height} | {r.runtime} | {r.precision}"
        f" | {r.ms_median:.1f} ({r.ms_p10:.1f} … {r.ms_p90:.1f}) | {r.ms_min:.1f} | {r.ratio:.2f} ({r.ratio_min:.2f})"
        f" | {r.gflops:.0f} | {r.ceiling_share:.0%} | {r.difference:.1e} |"
        for r in rows
    ]
    if stages:
        lines += ["", "| stage | size | events | ms median | min |", "|---|---|---|---|---|"]
        lines += [
            f"| {s.stage} | {s.width}x{s.height} | {s.events} | {s.ms_median:.2f} | {s.ms_min:.2f} |" for s in stages
        ]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Milliseconds over pixels, both logarithmic: cost that is linear in pixels is a straight line of slope 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        lines[f"{row.network}, {row.runtime} {row.precision}"].append((row.height * row.width, row.ms_median))
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), "o-", label=label)
    axes.set(xscale="log", yscale="log", xlabel="pixels", ylabel="ms a step, median")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
