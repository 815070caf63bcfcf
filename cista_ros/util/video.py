"""Images -> an MP4 file (H.264) that plays at the images' own times."""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..errors import MissingPackageError

SUFFIXES = (".mp4", ".m4v")  # names of MP4 files
CLOCK = 90_000  # ticks per second, as usual in MP4
# An image is shown for at most this long (s). MP4 holds no more than 6.6 hours, and nobody waits that long.
LONGEST_PAUSE = 10


class VideoWriter:
    """Writes grey images with time stamps; a context manager.

    An image whose stamp does not increase (a looped recording) follows 1/30 s after the one before. Pauses of more than
    LONGEST_PAUSE are shortened to it. The file appears, or replaces an earlier one, when the context ends without an
    error, if an image was written.
    """

    def __init__(self, path: str | Path, height: int, width: int) -> None:
        # H.264 halves the colour planes, so odd sizes are extended by one row or column.
        self._pad = ((0, height % 2), (0, width % 2))
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        if "libx264" not in av.codecs_available:
            raise MissingPackageError(f"{path}: video needs PyAV with libx264, as in PyPI's wheels: pip install av")
        try:  # PyAV's own error comes late and names no file
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._part.open("wb").close()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        self._file = av.open(str(self._part), "w", format="mp4")
        self._stream = self._file.add_stream("libx264", rate=30, options={"crf": "18"})
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._last_stamp: int | None = None
        self._pts = 0

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        complete = kind is None and self._last_stamp is not None
        try:
            try:
                if complete:
                    self._file.mux(self._stream.encode())
            finally:
                self._file.close()
            if complete:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, image: np.ndarray, stamp: int) -> None:
        """Append a uint8 image (H, W) with its time in nanoseconds."""
        if self._last_stamp is not None:
            step = (stamp - self._last_stamp) * CLOCK // 1_000_000_000
            self._pts += min(step, LONGEST_PAUSE * CLOCK) if step > 0 else CLOCK // 30
        self._last_stamp = stamp
        frame = av.VideoFrame.from_ndarray(np.pad(image, self._pad, mode="edge"), format="gray")
        frame.pts, frame.time_base = self._pts, Fraction(1, CLOCK)
        self._file.mux(self._stream.encode(frame))
