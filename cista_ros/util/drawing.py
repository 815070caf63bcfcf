"""Draw events, activity and contact sheets as uint8 BGR images, and write PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .atomic import write_whole

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
BRIGHTER, DARKER = (40, 40, 220), (220, 110, 20)  # BGR: red, blue


def draw_events(events: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw events (N,) as uint8 (height, width, 3): red where most are brighter, blue where darker, else white."""
    index = events["y"].astype(np.int64) * width + events["x"]
    balance = np.bincount(index, np.where(events["p"], 1.0, -1.0), height * width).reshape(height, width)
    image = np.full((height, width, 3), 255, np.uint8)
    image[balance > 0], image[balance < 0] = BRIGHTER, DARKER
    return image


def draw_activity(activity: np.ndarray) -> np.ndarray:
    """Draw a sparse code's activity (h, w), >= 0, as uint8 (h, w), white from its own 99th percentile on."""
    top = float(np.percentile(activity, 99)) or float(activity.max())
    return np.rint(np.clip(activity / top, 0, 1) * 255).astype(np.uint8) if top else np.zeros(activity.shape, np.uint8)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str], columns: int = 3) -> np.ndarray:
    """Arrange panels, rows of grey (H, W) or BGR (H, W, 3) images of one height under a caption, in a grid."""
    panels = [_panel(images, caption) for images, caption in zip(rows, captions, strict=True)]
    blank = np.full_like(panels[0], 255)
    panels += [blank] * (-len(panels) % columns if len(panels) > columns else 0)
    columns = min(columns, len(panels))
    return np.vstack([np.hstack(panels[i : i + columns]) for i in range(0, len(panels), columns)])


def _panel(images: Sequence[np.ndarray], caption: str) -> np.ndarray:
    colour = [cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image for image in images]
    row = np.hstack([cv2.copyMakeBorder(image, 0, 6, 0, 6, cv2.BORDER_CONSTANT, value=WHITE) for image in colour])
    return captioned(row, caption)


def captioned(image: np.ndarray, caption: str) -> np.ndarray:
    """Return a uint8 image, grey or BGR, with a caption of 22 pixels above."""
    title = np.full((22, *image.shape[1:]), 255, np.uint8)
    cv2.putText(title, caption, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, BLACK, 1, cv2.LINE_AA)
    return np.vstack([title, image])


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a uint8 image, grey or BGR, completely or not at all, and create its folder. OSError names the file."""
    write_whole(path, cv2.imencode(".png", image)[1].tobytes())
