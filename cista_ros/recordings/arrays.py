"""Read events from NumPy files: .npy, .npz, and folders of .npy files. Objects in them are never unpickled.

| layout | events | frames |
|---|---|---|
| .npy | records with the fields x, y, t, p, or numbers (N, 4) or (4, N) | none |
| .npz | arrays x, y, t, p, or one array as above (if there are several, `events`) | images, images_ts |
| folder of EVREAL (github.com/ercanburak/EVREAL) | events_ts, events_xy (N, 2), events_p | images, images_ts |
| folder of event_utils | t, xy (N, 2), p | images, timestamps |

The file format is that of numpy.lib.format. numpy reads its headers; the data are read here in pieces.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..errors import CistaError, RecordingError, reason_of
from .columns import columns_of, to_nanoseconds
from .decompression import names_in_zip
from .image_file import MAX_PIXELS
from .table import Place, TableFile, is_image

MAGIC = b"\x93NUMPY"
_SPLIT = ({"t": "events_ts", "xy": "events_xy", "p": "events_p"}, {"t": "t", "xy": "xy", "p": "p"})
_IMAGES = (("images", "images_ts"), ("images", "timestamps"))
_STEP = 1 << 17  # events read at once
_MOST_FRAMES = 1 << 20
_LARGEST_METADATA = 1 << 20


def detect(path: Path, head: bytes) -> bool:
    """Return whether a path is a NumPy file, or a folder of them with events."""
    if path.is_dir():
        names = {file.stem for file in path.glob("*.npy")}
        return bool(columns_of(names)) or any(set(split.values()) <= names for split in _SPLIT)
    if head.startswith(b"PK\x03\x04"):
        files = names_in_zip(path)
        if files is None:
            return path.suffix.lower() == ".npz"  # the reader says what is damaged
        names = {name.removesuffix(".npy") for name in files if name.endswith(".npy")}
        return bool(columns_of(names)) or bool(names & {"events", "arr_0"})
    if not head.startswith(MAGIC):
        return False
    try:
        return _is_table(_open_array("", partial(_open_path, path), 0))
    except CistaError:
        return False


class _Array(NamedTuple):
    """An array in a file, read in pieces along its first axis."""

    name: str
    open: Callable[[], IO[bytes]]
    dtype: np.dtype
    shape: tuple[int, ...]
    column_major: bool
    at: int  # of the data
    size: int  # of the file

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=object))

    @property
    def _columns(self) -> list[_Array]:
        """The columns of an array (N, M) in column-major order; each is contiguous."""
        size = self.shape[0] * self.dtype.itemsize
        starts = (self.at + i * size for i in range(self.shape[1]))
        return [self._replace(shape=self.shape[:1], column_major=False, at=start) for start in starts]

    @property
    def rows(self) -> int:
        """The number of complete rows in the file, which may be truncated."""
        if self.column_major:
            return self._columns[-1].rows
        return max(0, min(self.shape[0], (self.size - self.at) // max(1, self.row_bytes)))

    def read(self, start: int, stop: int, step: int = _STEP) -> Iterator[np.ndarray]:
        """Read rows from `start` to before `stop`, `step` at a time."""
        if self.column_major:
            for parts in zip(*(column.read(start, stop, step) for column in self._columns), strict=True):
                yield np.stack(parts, 1)
            return
        with self.open() as file:
            file.seek(self.at + start * self.row_bytes)
            for at in range(start, stop, step):
                count = min(step, stop - at)
                data = file.read(count * self.row_bytes)
                if len(data) < count * self.row_bytes:
                    raise RecordingError(f"{self.name} ends within its rows {at} to {at + count}")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


class ArrayRecording(TableFile):
    """A NumPy file or folder in one of the layouts above."""

    _damage = OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError
    _kind = "an archive of arrays"

    def _open(self) -> None:
        self._zip: zipfile.ZipFile | None = None
        arrays = self._arrays()
        self._set_events(self._find_events(arrays))
        self._images: _Array | None = None
        self._next_image: tuple[int, Iterator[np.ndarray]] = 0, iter(())
        self._set_frames(self._find_images(arrays))
        self.height, self.width = self._find_size()

    def _pieces(self, array: _Array, start: int, stop: int) -> Iterator[np.ndarray]:
        return array.read(start, stop)

    def _rows(self, array: _Array) -> int:
        return array.rows

    def _last_event(self) -> int | None:
        # Reaching the end of a compressed array takes as long as reading all of it.
        return None if self._zip else super()._last_event()

    def _arrays(self) -> dict[str, _Array]:
        files = {file.stem: file for file in sorted(self.path.glob("*.npy"))}
        if not self.path.is_dir():
            with self.path.open("rb") as file:
                packed = file.read(2) == b"PK" or self.path.suffix.lower() == ".npz"
            if packed:
                self._zip = self._held.enter_context(zipfile.ZipFile(self.path))
                infos = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
                infos = {name: info for name, info in infos.items() if info.filename != name}
                return {n: _open_array(n, partial(self._zip.open, i), i.file_size) for n, i in infos.items()}
            files = {"the array": self.path}
        return {name: _open_array(name, partial(_open_path, f), f.stat().st_size) for name, f in files.items()}

    def _find_events(self, arrays: Mapping[str, _Array]) -> dict[str, Place]:
        for split in _SPLIT:
            if set(split.values()) <= arrays.keys() and (xy := arrays[split["xy"]]).shape[1:] == (2,):
                return {"x": (xy, 0), "y": (xy, 1), "t": (arrays[split["t"]], None), "p": (arrays[split["p"]], None)}
        if names := columns_of(arrays):
            return {key: (arrays[name], None) for key, name in names.items()}
        tables = {name: array for name, array in arrays.items() if _is_table(array)}
        if "events" in tables:
            tables = {"events": tables["events"]}
        if len(tables) != 1:
            there = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in list(arrays.items())[:8])
            raise RecordingError(
                f"holds {there or 'no arrays'}; expected arrays x, y, t, p, or one of records with these fields or of"
                " numbers (N, 4)"
            )
        (array,) = tables.values()
        if len(array.shape) == 2 and array.shape[0] == 4 != array.shape[1]:  # (4, N)
            array = array._replace(shape=array.shape[::-1], column_major=not array.column_major)
        return self._find_columns(array)

    def _find_images(self, arrays: Mapping[str, _Array]) -> np.ndarray:
        """Set `_images` and return their times (N,) in ns."""
        for images_name, stamps_name in _IMAGES:
            images, stamps = arrays.get(images_name), arrays.get(stamps_name)
            if images is None or stamps is None or not images.shape or not stamps.shape:
                continue
            count = min(images.rows, stamps.rows)
            is_small = 0 < images.row_bytes < MAX_PIXELS
            if not is_image(images.dtype, images.shape[1:]) or images.column_major or not is_small:
                raise RecordingError(
                    f"{images_name} is {images.shape} {images.dtype}; expected uint8 (N, H, W), 1 or 3 channels"
                )
            if stamps.dtype.kind not in "iuf" or stamps.row_bytes != stamps.dtype.itemsize or count > _MOST_FRAMES:
                raise RecordingError(f"{stamps_name} is {stamps.shape} {stamps.dtype}; expected a time per image")
            self._images = images
            t = next(stamps.read(0, count, count), np.empty(0)).reshape(-1)
            return to_nanoseconds(t, "s" if t.dtype.kind == "f" else self._unit)
        return np.empty(0, np.int64)

    def _find_size(self) -> tuple[int, int]:
        metadata = self.path / "metadata.json"
        if self.path.is_dir() and metadata.is_file() and metadata.stat().st_size <= _LARGEST_METADATA:
            try:
                stated = json.loads(metadata.read_bytes())["sensor_resolution"]
                height, width = (int(n) for n in stated)
            except (ValueError, KeyError, TypeError, RecursionError):
                raise RecordingError("metadata.json: expected sensor_resolution: [height, width]") from None
            if not (0 < height < 1 << 16 and 0 < width < 1 << 16):
                raise RecordingError(f"metadata.json states a sensor of {width}x{height} pixels")
            return height, width
        return (0, 0) if self._images is None else (self._images.shape[1], self._images.shape[2])

    def _image(self, i: int) -> np.ndarray:
        assert self._images is not None
        number, rows = self._next_image
        if not 0 < number <= i:  # else read on: each seek in a compressed array reads it from its beginning
            number, rows = i, self._images.read(i, self._images.rows, 1)
        self._next_image = 0, rows  # until this one has been read: it may be damaged
        image: np.ndarray = next(islice(rows, i - number, None))[0]
        self._next_image = i + 1, rows
        return image


def _open_path(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_array(name: str, open_it: Callable[[], IO[bytes]], size: int) -> _Array:
    read: dict[Any, Callable[[IO[bytes]], Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with open_it() as file:
        try:
            version = np.lib.format.read_magic(file)
            if version not in read:
                raise RecordingError(f"{name} has version {version} of the .npy format; expected 1.0 or 2.0")
            shape, column_major, dtype = read[version](file)
        except CistaError:
            raise
        except Exception as error:  # numpy's parser lets those of its tokenizer through
            raise RecordingError(f"{name} has no valid .npy header: {reason_of(error)}") from None
        if dtype.hasobject:
            raise RecordingError(f"{name} holds Python objects, which are not read; expected numbers")
        if min(shape, default=0) < 0 or any(n >= 1 << 48 for n in shape):
            raise RecordingError(f"{name} has the shape {shape}")
        column_major = bool(column_major) and len(shape) > 1 and 0 not in shape
        return _Array(name, open_it, dtype, shape, column_major, file.tell(), size)


def _is_table(array: _Array) -> bool:
    """Return whether an array may hold events, as records or as rows or columns of numbers."""
    if columns_of(array.dtype.names or ()):
        return len(array.shape) == 1
    shape = array.shape
    return array.dtype.kind in "biuf" and len(shape) == 2 and (4 <= shape[1] <= 8 or shape[0] == 4)
