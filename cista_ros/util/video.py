"""Images -> an MP4 file (H.264) that plays at the images' own times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLOCK = 90_000  # ticks per second, as usual in MP4
# An image is shown for at most this long (s). MP4 holds no more than 6.6 hours, and nobody waits that long.
LONGEST_PAUSE = 10


class VideoWriter:
    """Writes grey images with time stamps; a context manager.

    An image whose stamp does not increase (a looped recording) follows 1/30 s after the one before. Pauses of more than
    LONGEST_PAUSE are shortened to it. Without any image there is no file.
    """

    def __init__(self, path: str | Path, height: int, width: int) -> None:
        # H.264 halves the colour planes, so odd sizes are extended by one row or column.
        self._pad = ((0, height % 2), (0, width % 2))
        self._path = Path(path)
        self._path.open("wb").close()  # PyAV's own error comes late and names no file
        self._file = av.open(str(path), "w", format="mp4")
        self._stream = self._file.add_stream("libx264", rate=30, options={"crf": "18"})
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._last_stamp: int | None = None
        self._pts = 0

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._last_stamp is not None:
            self._file.mux(self._stream.encode())
        self._file.close()
        if self._last_stamp is None:
            self._path.unlink()

    def write(self, image: np.ndarray, stamp: int) -> None:
        """Append a uint8 image (H, W) with its time in nanoseconds."""
        if self._last_stamp is not None:
            step = (stamp - self._last_stamp) * CLOCK // 1_000_000_000
            self._pts += min(step, LONGEST_PAUSE * CLOCK) if step > 0 else CLOCK // 30
        self._last_stamp = stamp
        frame = av.VideoFrame.from_ndarray(np.pad(image, self._pad, mode="edge"), format="gray")
        frame.pts, frame.time_base = self._pts, Fraction(1, CLOCK)
        self._file.mux(self._stream.encode(frame))
