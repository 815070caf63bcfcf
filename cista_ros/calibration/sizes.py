"""Find the size of the board in an image, to name the right one if the user's does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from .targets import AprilGrid, Charuco, Checkerboard, Target


def fitting_size(target: Target, images: Sequence[np.ndarray]) -> str | None:
    """Return the description of a board of the target's kind but another size that is in the images, if any is.

    Args:
        images: uint8 (H, W).
    """
    sizes = []
    for image in images:
        scale = max(1, -(-800 // max(image.shape)))
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        sizes.append(_checkerboard(large) if isinstance(target, Checkerboard) else _tags(target, large))
    known = [size for size in sizes if size]
    if not known:
        return None
    every = [size[0] for size in known]
    columns = max(set(every), key=every.count)
    if 2 * every.count(columns) <= len(images):
        return None  # found by chance: most images must agree
    rows = max(size[1] for size in known if size[0] == columns)
    same_tags = not isinstance(target, Checkerboard) and columns == target.columns and rows <= target.rows
    if same_tags or (columns, rows) == (target.columns, target.rows):
        return None  # of a board of tags some rows may be out of view
    return str(replace(target, columns=columns, rows=rows))


def _checkerboard(image: np.ndarray) -> tuple[int, int] | None:
    """Return columns and rows of inner corners of the largest checkerboard, the longer side first."""
    flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_LARGER
    ok, _, meta = cv2.findChessboardCornersSBWithMeta(image, (3, 3), flags)
    if not ok or meta.size <= 9:  # nine corners are found in many scenes without a board
        return None
    shorter, longer = sorted(meta.shape[:2])
    return int(longer), int(shorter)


def _tags(target: Target, image: np.ndarray) -> tuple[int, int] | None:
    """Return the columns and rows for which most tags lie on one plane."""
    assert isinstance(target, AprilGrid | Charuco)
    quads, numbers = target.tags(image)
    if len(numbers) < 5:
        return None
    best = (0, 0, 0)
    for columns in (target.columns, *range(2, 16)):  # the first wins among equals: one row of tags fits all
        if isinstance(target, AprilGrid):
            column, row = numbers % columns, numbers // columns
            places = np.stack((column, -row), 1)
        else:  # ids count the white squares: each two rows have as many as there are columns
            upper = columns // 2
            row, rest = 2 * (numbers // columns), numbers % columns
            places = np.stack((np.where(rest < upper, 2 * rest + 1, 2 * (rest - upper)), row + (rest >= upper)), 1)
            row = places[:, 1]
        homography, fits = cv2.findHomography(places.astype(np.float32), quads.mean(1), cv2.RANSAC, 0.2 * _side(quads))
        if homography is not None and (count := int(fits.sum())) > best[0]:
            best = (count, columns, int(row[fits[:, 0] > 0].max()) + 1)
    return best[1:] if best[0] >= max(5, 0.7 * len(numbers)) and best[2] >= 2 else None


def _side(quads: np.ndarray) -> float:
    """Return the median side of quadrilaterals (N, 4, 2)."""
    return float(np.median(np.linalg.norm(quads - np.roll(quads, 1, axis=1), axis=2)))
