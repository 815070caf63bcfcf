"""Video clips as grey frames with times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from ..events import NS
from .pictures import PictureError

# A fast object moves by more than a few pixels between the frames of slower clips.
ENOUGH_FPS = 200
_USUAL_FPS = 25.0  # of a raw stream that states no rate


class Clip(NamedTuple):
    """A clip's frames, (time in nanoseconds from its start, uint8 (H, W)) each, and its rate in frames per second."""

    rate: float
    frames: Iterator[tuple[int, np.ndarray]]


def open_clip(path: Path, seconds: float) -> Clip:
    """Open the first `seconds` of a clip. Frames without times of their own (raw H.264) follow at the clip's rate.

    Raises:
        PictureError: no such file, or not a clip that FFmpeg can read.
    """
    if not path.is_file():
        raise PictureError(f"{path}: no such clip")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or _USUAL_FPS)
            next(container.decode(video=0))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise PictureError(f"{path}: not a clip that can be read ({error})") from None
    return Clip(rate, _frames(path, seconds, rate))


def _frames(path: Path, seconds: float, rate: float) -> Iterator[tuple[int, np.ndarray]]:
    with av.open(str(path)) as container:
        first = None
        for index, frame in enumerate(container.decode(video=0)):
            if frame.pts is None or frame.time_base is None:
                stamp = round(index * NS / rate)
            else:
                stamp = round(frame.pts * frame.time_base * NS)
            first = stamp if first is None else first
            if stamp - first > seconds * NS:
                return
            yield stamp - first, frame.to_ndarray(format="gray")
