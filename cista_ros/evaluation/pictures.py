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
from ..util.atomic import write_whole
from ..util.drawing import draw_events
from .protocols import EvaluationError, Plan
from .scores import VIEWS
from .sequence import Compared

FRAME, EVENTS = "_frame", "_events"


def chosen_frames(plan: Plan | None, wanted: int) -> set[int]:
    """Return at most `wanted` indices of a plan's scored frames, spread evenly; without a plan the first ones."""
    if plan is None:
        return set(range(wanted))
    return {plan.first + index for index in spread(np.flatnonzero(plan.scored).tolist(), wanted)}


def spread(values: Sequence[int], wanted: int) -> list[int]:
    """Return at most `wanted` of the values, spread evenly."""
    n = min(len(values), wanted)
    return [values[(2 * i + 1) * len(values) // (2 * n)] for i in range(n)]


def pictures_of(folder: Path, protocol: str) -> Path:
    """Return the folder of one protocol's pictures."""
    return folder / "pictures" / protocol


def picture_path(pictures: Path, sequence: str, kind: str, stamp: int) -> Path:
    """Return the path of a picture; kind is a method, FRAME or EVENTS."""
    return pictures / sequence / kind / f"{stamp}.png"


class PictureFolder:
    """Writes the pictures of one method on one sequence below `pictures`, the folder of one protocol."""

    def __init__(self, pictures: Path, sequence: str, method: str, view: str) -> None:
        self.pictures, self.sequence, self.method, self.view = pictures, sequence, method, view
        self.stamps: list[int] = []
        for old in picture_path(pictures, sequence, method, 0).parent.glob("*.png"):
            old.unlink()

    def write(self, compared: Compared) -> None:
        """Write the image, the events, and the frame if the recording has one."""
        assert compared.image is not None
        truth = compared.image if compared.truth is None else compared.truth
        image, frame = VIEWS[self.view](compared.image, truth, None)
        shown = {self.method: to_mono8(image), EVENTS: draw_events(compared.events, *image.shape)}
        if compared.truth is not None:
            shown[FRAME] = to_mono8(frame)
        for kind, picture in shown.items():
            path = picture_path(self.pictures, self.sequence, kind, compared.stamp)
            ok, content = cv2.imencode(".png", picture)
            if not ok:
                raise EvaluationError(f"{path}: could not be encoded")
            write_whole(path, content.tobytes())
        self.stamps.append(compared.stamp)


def read_picture(pictures: Path, sequence: str, kind: str, stamp: int) -> np.ndarray | None:
    """Read a picture as uint8 (H, W), or (H, W, 3) BGR for events; None if the file is missing."""
    path = picture_path(pictures, sequence, kind, stamp)
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None  # cv2 would complain on stderr
