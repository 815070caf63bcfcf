"""Figures of an evaluation: contact sheets as in the paper's figures 2 and 3, error maps, metrics over time, video.

PNG and PDF by matplotlib (an extra of this package), drawn without a display.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..util.atomic import write_atomically
from ..util.drawing import captioned
from ..util.video import VideoWriter
from .pictures import EVENTS, FRAME, read_picture, spread
from .protocols import EvaluationError
from .run import Result
from .scores import label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .report import Summary

INCHES = 2.2  # width of a picture in a sheet
LARGEST_ERROR = 0.6  # where the colours of error maps end
SCALE = 0.75  # inches beside error maps, for the scale of their colours
FINEST, MOST_PIXELS = 130, 65_000  # dots an inch of a figure, and pixels of its side: matplotlib draws fewer than 2**16


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of the given size in inches. EvaluationError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise EvaluationError("figures need matplotlib: pip install matplotlib") from None
    return Figure((width, height), layout="constrained")


def save_figure(figure: Figure, base: Path) -> Path:
    """Write base.png (at a lower resolution if it would be too large) and base.pdf; return the PNG."""
    pdf, png = (base.with_name(f"{base.name}.{format}") for format in ("pdf", "png"))
    write_atomically(pdf, lambda part: figure.savefig(part, format="pdf"))
    dpi = min(FINEST, MOST_PIXELS / max(figure.get_size_inches()))
    write_atomically(png, lambda part: figure.savefig(part, format="png", dpi=dpi))
    return png


def illustrate(folder: Path, summary: Summary, sheets: int, video: bool) -> list[tuple[str, Path]]:
    """Draw all figures of an evaluation from the pictures in its folder; return caption and PNG of each, in order.

    Args:
        sheets: rows of a sequence's contact sheet, at most.
        video: also a video of each sequence.
    """
    shown: list[tuple[str, Path]] = []

    def show(caption: str, name: str, figure: Figure) -> None:
        shown.append((caption, save_figure(figure, folder / "figures" / name)))

    pictures = folder / "pictures" / summary.protocol.name
    kept = {name: kept_stamps(summary.results, name) for name in summary.sequences}
    middle = [(name, stamps[len(stamps) // 2]) for name, stamps in kept.items() if stamps]
    if len(middle) > 1:
        names = [name for name, _ in middle]
        show("One frame of each sequence", "all_sequences", sheet(pictures, middle, names, list(summary.methods)))
    for name, stamps in kept.items():
        there = [r for r in summary.results if r.sequence == name]
        methods = [r.method for r in there]
        rows = [(name, stamp) for stamp in spread(stamps, sheets)]
        seconds = {stamp: s for r in there for stamp, s in zip(r.frames["stamp_ns"], r.frames["seconds"], strict=True)}
        labels = [f"{seconds[stamp]:.2f} s" for _, stamp in rows]
        if rows:
            show(f"{name}: frame, events and each method", f"{name}_sheet", sheet(pictures, rows, labels, methods))
        if rows and any(":" in key for r in there for key in r.scores):
            show(f"{name}: error maps", f"{name}_errors", sheet(pictures, rows, labels, methods, errors=True))
        if any(r.scores and len(r.frames) > 1 for r in there):
            plot = over_time(there, name, summary.keys)
            show(f"{name}: scores over time", f"{name}_over_time", plot)
        if video and stamps:
            write_video(pictures, folder / "videos" / f"{name}.mp4", name, stamps, methods)
    return shown


def kept_stamps(results: Sequence[Result], sequence: str) -> list[int]:
    """Return the stamps of a sequence's frames for which all methods have a picture."""
    stamps = [set(r.pictures) for r in results if r.sequence == sequence]
    return sorted(set.intersection(*stamps)) if stamps else []


def sheet(
    folder: Path, rows: Sequence[tuple[str, int]], labels: Sequence[str], methods: Sequence[str], errors: bool = False
) -> Figure:
    """Draw the pictures of frames (sequence, stamp), one row each under its label: frame, events, then each method.

    folder: of the protocol's pictures. errors: the methods' columns show where and by how much they differ from the
    frame.
    """
    kinds = [FRAME, EVENTS, *methods]
    pictures = [{kind: read_picture(folder, sequence, kind, stamp) for kind in kinds} for sequence, stamp in rows]
    kinds = [kind for kind in kinds if any(row[kind] is not None for row in pictures)]
    aspect = max((p.shape[0] / p.shape[1] for row in pictures for p in row.values() if p is not None), default=0.75)
    width = INCHES * len(kinds) + 0.2 + (SCALE if errors else 0)
    figure = new_figure(width, (INCHES * aspect + 0.05) * len(rows) + 0.3)
    axes = figure.subplots(len(rows), len(kinds), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.set_title({FRAME: "frame", EVENTS: "events"}.get(kind, kind), fontsize=9)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize=8)
    shown = None
    for i, row in enumerate(pictures):
        for axis, kind in zip(axes[i], kinds, strict=True):
            axis.set(xticks=[], yticks=[])
            picture, frame = row[kind], row[FRAME]
            if picture is None:
                continue
            if errors and kind in methods and frame is not None:
                difference = np.abs(picture.astype(np.float32) - frame) / 255
                shown = axis.imshow(difference, cmap="magma", vmin=0, vmax=LARGEST_ERROR)
            elif picture.ndim == 3:
                axis.imshow(picture[..., ::-1])
            else:
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    if shown is not None:
        scale = figure.colorbar(shown, ax=axes, fraction=SCALE / width, pad=0.01, aspect=40, extend="max")
        scale.set_label("|image − frame|", fontsize=8)
        scale.ax.tick_params(labelsize=8)
    return figure


def over_time(results: Sequence[Result], sequence: str, keys: Sequence[str]) -> Figure:
    """Plot each metric over time, one line per method."""
    chosen = [r for r in results if r.sequence == sequence]
    keys = [key for key in keys if any(key in r.frames and r.frames[key].notna().any() for r in chosen)]
    figure = new_figure(8, 1.7 * len(keys) + 0.5)
    axes = figure.subplots(len(keys), 1, squeeze=False, sharex=True)[:, 0]
    for axis, key in zip(axes, keys, strict=True):
        for result in chosen:
            line = result.frames[["seconds", key]].dropna()
            axis.plot(line["seconds"], line[key], label=result.method, lw=1, marker="." if len(line) < 30 else None)
        axis.set_ylabel(label_of(key)[:-2].replace(", ", ",\n"), fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    figure.align_ylabels()
    lines = axes[0].get_legend_handles_labels()
    figure.legend(*lines, fontsize=8, ncols=4, loc="outside upper center", title=sequence, title_fontsize=8)
    axes[-1].set_xlabel("seconds", fontsize=8)
    return figure


def write_video(folder: Path, path: Path, sequence: str, stamps: Sequence[int], methods: Sequence[str]) -> None:
    """Write an MP4 of a protocol's pictures: frame and methods side by side, in the recording's own time."""
    kinds = [kind for kind in (FRAME, *methods) if read_picture(folder, sequence, kind, stamps[0]) is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writer: VideoWriter | None = None
        for stamp in stamps:
            there = {kind: read_picture(folder, sequence, kind, stamp) for kind in kinds}
            shown = [captioned(p, "frame" if kind == FRAME else kind) for kind, p in there.items() if p is not None]
            if len(shown) < len(kinds):
                raise EvaluationError(f"{sequence}: a picture of {stamp} is missing; run the evaluation again")
            row = np.hstack(shown)
            writer = writer or stack.enter_context(VideoWriter(path, *row.shape))
            writer.write(row, stamp)
