"""Images of an evaluation on disk, for sheets and videos: pictures/<protocol>/<sequence>/<method>/<stamp>.png.

Methods share the folders of the camera's frames (_frame) and of each window's events (_events). Protocols do not: each
displays frames and cuts windows in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..tone_map import to_mono8
from ..util.drawing import draw_events, write_png
from .protocols import Plan
from .scores import VIEWS
from .sequence import Compared

FRAME, EVENTS = "_frame", "_events"


def chosen_frames(plan: Plan | None, wanted: int, first_event: int) -> set[int]:
    """Return at most `wanted` indices of a plan's scored frames, spread evenly; without a plan the first ones.

    Frames before the first event (a stamp in ns) are left out: they have no image, or one of no events.
    """
    if plan is None:
        return set(range(wanted))
    candidates = np.flatnonzero(plan.scored & (plan.stamps >= first_event)).tolist()
    return {plan.first + index for index in spread(candidates, wanted)}


def spread(values: Sequence[int], wanted: int) -> list[int]:
    """Return at most `wanted` of the values, spread evenly."""
    n = min(len(values), wanted)
    return [values[(2 * i + 1) * len(values) // (2 * n)] for i in range(n)]


def picture_path(folder: Path, sequence: str, kind: str, stamp: int) -> Path:
    """Return the path of a picture in the folder of one protocol's pictures; kind is a method, FRAME or EVENTS."""
    return folder / sequence / kind / f"{stamp}.png"


def write_pictures(folder: Path, sequence: str, method: str, view: str, compared: Compared) -> None:
    """Write a method's image, the events, and the frame if the recording has one, in a view of scores.VIEWS."""
    assert compared.image is not None
    truth = compared.image if compared.truth is None else compared.truth
    image, frame = VIEWS[view](compared.image, truth, None)
    shown = {method: to_mono8(image), EVENTS: draw_events(compared.events, *image.shape)}
    if compared.truth is not None:
        shown[FRAME] = to_mono8(frame)
    for kind, picture in shown.items():
        write_png(picture_path(folder, sequence, kind, compared.stamp), picture)


def read_picture(folder: Path, sequence: str, kind: str, stamp: int) -> np.ndarray | None:
    """Read a picture as uint8 (H, W), or (H, W, 3) BGR for events; None if the file is missing."""
    path = picture_path(folder, sequence, kind, stamp)
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None  # cv2 would complain on stderr
