"""The folder that `cista reconstruct` writes: frames/*.png, frames.csv, frames.npz, and a video."""

from __future__ import annotations

import csv
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ..reconstructor import Frame
from ..tone_map import to_mono8
from ..util.atomic import prepare_folder, write_atomically
from ..util.drawing import write_png
from ..util.video import VideoWriter


class FrameFolder:
    """Writes frames as they come; a context manager. It deletes the frames of an earlier run.

    Args:
        path: the folder, created if missing.
        height, width: size of the frames.
        npz: also write frames.npz: image float32 (N, H, W) before the tone map, stamp int64 (N,) in ns.
        video: also write this MP4 file; its folder is created if missing.
    """

    def __init__(self, path: Path, height: int, width: int, npz: bool = False, video: Path | None = None) -> None:
        self.path, self.frames = path, path / "frames"
        self.count = 0
        self._shape = (height, width)
        self._stamps: list[int] = []
        self._open = ExitStack()
        with ExitStack() as failing:
            failing.callback(self._open.close)
            if video:
                prepare_folder(video.parent)
            # Opened before anything is created or deleted: it may not be writable.
            self._video = self._open.enter_context(VideoWriter(video, height, width)) if video else None
            for folder in (path, self.frames):  # an error names the given one first
                prepare_folder(folder)
            files = (self.path / name for name in ("summary.json", "frames.csv", "frames.npz"))
            for old in [*files, *self.frames.glob("[0-9]" * 8 + ".png")]:
                old.unlink(missing_ok=True)
            self._csv_file = self._open.enter_context((self.path / "frames.csv").open("w", newline=""))
            self._csv = csv.writer(self._csv_file)
            self._csv.writerow(["index", "stamp_ns", "events", "steps", "milliseconds"])
            # The number of frames is unknown: they wait in a file, not in memory, until the array can be written.
            self._waiting = self._open.enter_context(TemporaryFile(dir=self.path)) if npz else None
            failing.pop_all()

    def __enter__(self) -> FrameFolder:
        return self

    def __exit__(self, *error: Any) -> None:
        with self._named_errors(), ExitStack() as closing:
            closing.callback(self._open.__exit__, *error)  # an error leaves no video
            if self._waiting:
                write_atomically(self.path / "frames.npz", self._write_npz)

    def write(self, frame: Frame, milliseconds: float) -> None:
        """Append a frame and the time that it took. OSError names the file or folder."""
        shown = to_mono8(frame.shown)
        write_png(self.frames / f"{self.count:08d}.png", shown)
        with self._named_errors():
            self._csv.writerow([self.count, frame.stamp, len(frame.events), frame.steps, f"{milliseconds:.3f}"])
            self._csv_file.flush()
            if self._waiting:
                self._waiting.write(np.ascontiguousarray(frame.image, "<f4").tobytes())
            if self._video:
                self._video.write(shown, frame.stamp)
        self._stamps.append(frame.stamp)
        self.count += 1

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add the folder's name to errors of writing that name no file."""
        try:
            yield
        except OSError as failure:
            raise failure if failure.filename else OSError(failure.errno, failure.strerror, str(self.path)) from None

    def _write_npz(self, path: Path) -> None:
        assert self._waiting
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.count, *self._shape)}
        self._waiting.seek(0)
        with zipfile.ZipFile(path, "w") as archive:
            with archive.open("image.npy", "w", force_zip64=True) as image:
                np.lib.format.write_array_header_1_0(image, header)
                shutil.copyfileobj(self._waiting, image)
            with archive.open("stamp.npy", "w") as stamp:
                np.save(stamp, np.array(self._stamps, np.int64))
