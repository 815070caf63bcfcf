"""Clips of a high frame rate as grey frames with times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from .pictures import PictureError


def open_clip(path: Path, seconds: float) -> Iterator[tuple[int, np.ndarray]]:
    """The first `seconds` of a clip: (time in nanoseconds from its start, uint8 (H, W)) of each frame.

    Raises:
        PictureError: no such file, or not a clip that FFmpeg can read.
    """
    if not path.is_file():
        raise PictureError(f"{path}: no such clip")
    try:
        with av.open(str(path)) as container:
            next(container.decode(video=0))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise PictureError(f"{path}: not a clip that can be read ({error})") from None
    return _frames(path, seconds)


def _frames(path: Path, seconds: float) -> Iterator[tuple[int, np.ndarray]]:
    with av.open(str(path)) as container:
        first = None
        for frame in container.decode(video=0):
            stamp = round(frame.pts * frame.time_base * 1_000_000_000)
            first = stamp if first is None else first
            if stamp - first > seconds * 1e9:
                return
            yield stamp - first, frame.to_ndarray(format="gray")
