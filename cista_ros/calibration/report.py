"""The report of a calibration: one HTML page with coverage, residuals, detections and an undistorted example."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .solve import INTRINSICS, Calibration
from .views import Search, View

SHOWN_VIEWS = 12


def summary_of(calibration: Calibration, search: Search, recording: str) -> dict[str, Any]:
    """Return the numbers of a calibration, for JSON."""
    return {
        "recording": recording,
        "target": str(search.target),
        "model": calibration.model,
        "width": calibration.width,
        "height": calibration.height,
        **{name: value for name, (value, _) in calibration.parameters.items()},
        "sigma": {name: sigma for name, (_, sigma) in calibration.parameters.items()},
        "rms": calibration.rms,
        "searched": search.searched,
        "found": search.found,
        "views": len(calibration.views),
        "rejected_views": calibration.rejected,
        "corners": sum(len(view.ids) for view in calibration.views),
    }


def in_words(summary: dict[str, Any]) -> str:
    """Return the main numbers of a summary, in one line."""
    intrinsics = ", ".join(f"{name} {summary[name]:.2f} ± {summary['sigma'][name]:.2f}" for name in INTRINSICS)
    return (
        f"{summary['model']}: {intrinsics} px; RMS {summary['rms']:.3f} px over {summary['views']} views"
        f" ({summary['corners']} corners); target found in {summary['found']} of {summary['searched']} images"
    )


def report_page(calibration: Calibration, summary: dict[str, Any]) -> str:
    """Return the report as one self-contained HTML page.

    Args:
        summary: as from `summary_of`, with `missing`: sentences on what the views lack.
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    worst = int(calibration.view_rms.argmax())
    order = np.argsort(calibration.view_rms)
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN_VIEWS, len(order))).round().astype(int))]
    largest = max(calibration.views, key=lambda view: np.ptp(view.corners, axis=0).prod())
    page: str = environment.get_template("report.html.jinja").render(
        summary=summary,
        parameters=[(name, *values) for name, values in calibration.parameters.items()],
        outlines=[" ".join(f"{x:.1f},{y:.1f}" for x, y in view.outline) for view in calibration.views],
        corners=[(x, y) for view in calibration.views for x, y in view.corners.tolist()],
        cells=_cells(calibration),
        bars=[
            (i, float(rms), float(tilt))
            for i, (rms, tilt) in enumerate(zip(calibration.view_rms, calibration.tilts, strict=True))
        ],
        worst=worst,
        views=[
            (int(i), calibration.views[i].stamp / 1e9, float(calibration.view_rms[i]), _drawn(calibration, int(i)))
            for i in chosen
        ],
        original=_png(largest.image),
        undistorted=_png(undistort(calibration, largest.image)),
    )
    return page


def undistort(calibration: Calibration, image: np.ndarray) -> np.ndarray:
    """Return an image (H, W) as a pinhole camera of the same matrix sees it."""
    matrix, size = calibration.matrix, (calibration.width, calibration.height)
    if calibration.model == "equidistant":
        maps = cv2.fisheye.initUndistortRectifyMap(
            matrix, calibration.distortion, np.eye(3), matrix, size, cv2.CV_32FC1
        )
        return np.asarray(cv2.remap(image, *maps, cv2.INTER_LINEAR))
    return np.asarray(cv2.undistort(image, matrix, calibration.distortion))


def _cells(calibration: Calibration, columns: int = 8, rows: int = 6) -> list[tuple[float, float, float, float]]:
    """Return the mean residual in each cell of the image with at least three corners: place (x, y) and (dx, dy)."""
    corners = np.concatenate([view.corners for view in calibration.views])
    residuals = np.concatenate(calibration.residuals)
    column = np.clip((corners[:, 0] / calibration.width * columns).astype(int), 0, columns - 1)
    row = np.clip((corners[:, 1] / calibration.height * rows).astype(int), 0, rows - 1)
    found = []
    for cell in range(columns * rows):
        inside = row * columns + column == cell
        if inside.sum() >= 3:
            found.append((*corners[inside].mean(0).tolist(), *residuals[inside].mean(0).tolist()))
    return found


def _drawn(calibration: Calibration, index: int) -> str:
    """Return a view's image, twice as large, with its corners and ten times their residuals, as a data URL."""
    view: View = calibration.views[index]
    image = cv2.cvtColor(cv2.resize(view.image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    for corner, residual in zip(view.corners, calibration.residuals[index], strict=True):
        at, to = (tuple(np.rint(2 * point + 0.5).astype(int).tolist()) for point in (corner, corner + 10 * residual))
        cv2.circle(image, at, 3, (60, 200, 60), 1, cv2.LINE_AA)
        cv2.line(image, at, to, (40, 80, 255), 1, cv2.LINE_AA)
    return _png(image)


def _png(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
