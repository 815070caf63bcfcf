"""Show the measurements as tables and as a plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..util.atomic import write_atomically
from .stages import DECODE_AND_GRID, Stage
from .steps import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def as_markdown(rows: Sequence[Row], stages: Sequence[Stage]) -> str:
    """Return two tables, of steps and of stages. `ratio` is the speed relative to the reference of the same run."""
    lines = [
        "| network | size | runtime | precision | ms median (p10 … p90) | min | ratio (of minima) | GFLOP/s"
        " | of ceiling | largest difference | worst mean |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.network} | {r.width}x{r.height} | {r.runtime} | {r.precision}"
        f" | {r.ms_median:.1f} ({r.ms_p10:.1f} … {r.ms_p90:.1f}) | {r.ms_min:.1f} | {r.ratio:.2f} ({r.ratio_min:.2f})"
        f" | {r.gflops:.0f} | {r.ceiling_share:.0%} | {r.difference:.1e} | {r.difference_mean:.1e} |"
        for r in rows
    ]
    if stages:
        lines += ["", "| stage | size | events | ms median | min | Mev/s |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {s.stage} | {s.width}x{s.height} | {s.events} | {s.ms_median:.2f} | {s.ms_min:.2f}"
            f" | {s.mev_per_s:.0f} |"
            for s in stages
        ]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], stages: Sequence[Stage], path: Path) -> None:
    """Plot the time per step over the number of pixels, both logarithmic.

    If stages were measured with several numbers of events, also plot over events per second, at 30 images per second,
    the time of all stages and that of the stages and the network.
    """
    from matplotlib.figure import Figure

    over_events = len({(s.height, s.width, s.events) for s in stages}) > len({(s.height, s.width) for s in stages})
    figure = Figure(figsize=(15 if over_events else 7, 5), layout="constrained")
    axes = figure.add_subplot(1, 2 if over_events else 1, 1)
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        lines[f"{row.network}, {row.runtime} {row.precision}"].append((row.height * row.width, row.ms_median))
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), "o-", label=label)
    axes.set(xscale="log", yscale="log", xlabel="pixels", ylabel="ms per step, median")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize="small")
    if over_events:
        _plot_over_events(figure.add_subplot(1, 2, 2), rows, stages)
    write_atomically(path, lambda part: figure.savefig(part, dpi=120, format="png"))


def _plot_over_events(axes: Axes, rows: Sequence[Row], stages: Sequence[Stage]) -> None:
    totals: dict[tuple[int, int], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for s in stages:
        if s.stage != DECODE_AND_GRID:  # its parts are stages, too
            totals[s.width, s.height][s.events] += s.ms_median
    for (width, height), by_events in totals.items():
        rates, around = zip(*((30e-6 * n, ms) for n, ms in sorted(by_events.items())), strict=True)
        here = [r for r in rows if (r.width, r.height) == (width, height)]
        fastest = min(here, key=lambda r: r.ms_median)
        network = [fastest.ms_median + ms for ms in around]
        (line,) = axes.plot(rates, network, "o-", label=f"{width}x{height}: {fastest.runtime} {fastest.precision}, all")
        axes.plot(rates, around, "o:", color=line.get_color(), label=f"{width}x{height}: without the network")
    axes.set(yscale="log", xlabel="million events per second, at 30 images per second", ylabel="ms per step, median")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
