"""Read events from HDF5 files. The names and shapes of the datasets tell the layout.

| layout | events | time |
|---|---|---|
| DSEC, TUM-VIE, M3ED | x, y, t, p in a group, beside ms_to_idx or ms_map_idx | microseconds since t_offset |
| event_utils, E2VID | xs, ys, ts, ps in a group | seconds |
| raw_events and others | x, y, t, p in a group | seconds if floating-point, else microseconds |
| MVSEC, v2e | events (N, 4), columns detected | seconds (MVSEC: since 1970) if floating-point, else microseconds |
| Prophesee | records of x, y, p, t, compressed by ECF | microseconds |

Frames are read from the layouts of event_utils (images/image000000000 …) and MVSEC (image_raw, image_raw_ts), triggers
from that of Prophesee.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingPackageError, RecordingError
from ..events import NO_TRIGGERS, make_triggers
from ..wire.ros_types import EventMessage, Message
from . import ecf
from .columns import columns_of, events_of, to_nanoseconds
from .event_file import Block
from .recording import RecordingWriter
from .table import Place, TableFile, is_image

_STEP = 1 << 18  # events read at once
_MOST_INDEXES = 24 * 3_600_000  # written to ms_to_idx: 0.7 GB
_MICROSECOND_INDEXES = ("ms_to_idx", "ms_map_idx")


def import_h5py(path: Path) -> Any:
    """Import h5py on demand; raises MissingPackageError with the command that installs it."""
    try:
        import h5py
    except ImportError:
        raise MissingPackageError(f"{path}: HDF5 needs h5py: pip install h5py hdf5plugin") from None
    return h5py


class Hdf5Recording(TableFile):
    """An HDF5 file. If several groups hold events, their paths are the topics."""

    _usual_columns = "xytp"
    # A group where a dataset is expected lacks its attributes.
    _damage = OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError
    _kind = "HDF5"

    def _open(self) -> None:
        self._h5py = import_h5py(self.path)
        self._file = self._held.enter_context(self._h5py.File(self.path, "r"))
        group, datasets = self._choose()
        for dataset in datasets.values():
            self._check_filters(dataset)
        if len(datasets) > 1:
            places: dict[str, Place] = {key: (column, None) for key, column in datasets.items()}
        else:
            places = self._find_columns(datasets["all"])
        for parent in (group, group.parent):
            if isinstance(parent.get("t_offset"), self._h5py.Dataset):
                self._offset = int(np.ravel(parent["t_offset"][()])[0]) * 1000
                break
        has_index = any(name in parent for parent in (group, group.parent) for name in _MICROSECOND_INDEXES)
        array, field = places["t"]
        if ecf.FILTER_ID in _filters(array):
            self._used_options = ()  # it has microseconds
        is_float = (array.dtype[field] if isinstance(field, str) else array.dtype).kind == "f"
        self._set_events(places, "s" if is_float else "us", has_index or bool(array.dtype.names))
        self.width, self.height = self._find_size(group)
        self._set_frames(self._find_images(group))

    def _pieces(self, array: Any, start: int, stop: int) -> Iterator[np.ndarray]:
        return (array[at : min(at + _STEP, stop)] for at in range(start, stop, _STEP))

    def _choose(self) -> tuple[Any, dict[str, Any]]:
        """Return the group of events and its datasets: "x", "y", "t" and "p", or "all", of records or rows."""
        sources: dict[str, tuple[Any, dict[str, Any]]] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, self._h5py.Group):
                datasets = {key: value for key, value in item.items() if isinstance(value, self._h5py.Dataset)}
                if found := columns_of(datasets):
                    sources[f"/{name}"] = item, {key: datasets[column] for key, column in found.items()}
            if not isinstance(item, self._h5py.Dataset):  # but a group or a named type
                return
            are_records = item.ndim == 1 and bool(columns_of(item.dtype.names or ()))
            if are_records or (name.split("/")[-1] == "events" and item.ndim == 2 and item.shape[1] == 4):
                sources[f"/{name}"] = item.parent, {"all": item}

        visit("", self._file)
        self._file.visititems(visit)
        if not sources:
            raise RecordingError(
                f"holds {', '.join(list(self._file)[:8]) or 'nothing'}; expected datasets x, y, t, p in a group,"
                " records with these fields, or events (N, 4)"
            )
        chosen = self._choose_stream({name: name for name in sources})
        self.other_topics = tuple(name for name in sources if name != chosen)
        return sources[chosen or ""]

    def _check_filters(self, dataset: Any) -> None:
        """Raise MissingPackageError if a dataset has a filter that is neither ECF nor installed."""
        for number in _filters(dataset):
            if number == ecf.FILTER_ID or self._h5py.h5z.filter_avail(number):
                continue
            with suppress(ImportError):
                import hdf5plugin  # noqa: F401  registers its filters
            if not self._h5py.h5z.filter_avail(number):
                raise MissingPackageError(
                    f"{self.path}: {dataset.name} is compressed by HDF5 filter {number}: pip install hdf5plugin"
                )

    def _find_size(self, group: Any) -> tuple[int, int]:
        """Return the sensor's (width, height), the larger number first; (0, 0) if the file does not state it."""
        stated = [self._file.attrs.get("geometry"), self._file.attrs.get("sensor_resolution")]
        stated.append(group["calib/resolution"][()] if "calib/resolution" in group else None)
        if "image_raw" in group:
            stated.append(group["image_raw"].shape[1:3])
        for value in stated:
            if value is None:
                continue
            text = value.decode() if isinstance(value, bytes) else value
            numbers = text.split("x") if isinstance(text, str) else np.ravel(text)[:2].tolist()
            if len(numbers) == 2 and all(str(n).isdigit() and 0 < int(n) < 10_000 for n in numbers):
                height, width = sorted(int(n) for n in numbers)
                return width, height
            raise RecordingError(f"states a sensor of {text!r}; expected two numbers of pixels")
        return 0, 0

    def _find_images(self, group: Any) -> np.ndarray:
        """Set `_images` and return their times (N,) in ns."""
        self._images: Any = []  # (H, W) or (H, W, C) each
        if "image_raw" in group and "image_raw_ts" in group:
            self._images, seconds = group["image_raw"], group["image_raw_ts"][()]
            return to_nanoseconds(seconds[: len(self._images)], "s")
        images = self._file.get("images")
        if not isinstance(images, self._h5py.Group):
            return np.empty(0, np.int64)
        self._images = [image for image in images.values() if "timestamp" in image.attrs]
        return to_nanoseconds(np.array([float(np.ravel(i.attrs["timestamp"])[0]) for i in self._images]), "s")

    def _image(self, i: int) -> np.ndarray:
        image = np.asarray(self._images[i])
        if not is_image(image.dtype, image.shape):
            raise RecordingError(f"image {i} is {image.shape} {image.dtype}; expected uint8, 1 or 3 channels")
        return image

    def _blocks(self) -> Iterator[Block]:
        triggers = self._read_triggers()
        for block in self._read(0):
            yield Block(block.events, triggers)
            triggers = NO_TRIGGERS

    def _read_triggers(self) -> np.ndarray:
        table = self._file.get("EXT_TRIGGER/events")
        if table is None or not {"p", "t", "id"} <= set(table.dtype.names or ()):
            return NO_TRIGGERS
        rows = table[()]
        return make_triggers(to_nanoseconds(rows["t"], "us"), rows["id"], rows["p"] > 0)

    def _read(self, start: int) -> Iterator[Block]:
        dataset, _ = self._places["t"]
        if ecf.FILTER_ID not in _filters(dataset):
            yield from super()._read(start)
            return
        size = dataset.chunks[0]
        with self._reading():
            for at in range(start // size * size, self._length, size):
                mask, data = dataset.id.read_direct_chunk((at,))
                if mask & 1:  # the filter was left out
                    rows = np.frombuffer(data, dataset.dtype, min(size, len(data) // dataset.dtype.itemsize))
                    x, y, t, p = (rows[self._places[key][1]] for key in "xytp")
                    events = events_of(x, y, t, p, self._unit, self._offset)
                else:
                    events = ecf.decode_chunk(data)
                yield Block(events[max(0, start - at) : self._length - at])


def _filters(dataset: Any) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


class Hdf5Writer(RecordingWriter):
    """Writes the layout of DSEC: events/x, y, p and t in microseconds since t_offset, and ms_to_idx.

    An element of ms_to_idx is the index of the first event that is not before its millisecond. It holds no images.
    """

    def __init__(self, path: Path) -> None:
        h5py = import_h5py(path)
        self._file = h5py.File(path, "x")
        kinds = {"x": np.uint16, "y": np.uint16, "p": np.uint8, "t": np.int64}
        options = {"maxshape": (None,), "chunks": (1 << 16,), "compression": "gzip", "compression_opts": 1}
        self._columns = {
            name: self._file.create_dataset(f"events/{name}", (0,), kind, shuffle=True, **options)
            for name, kind in kinds.items()
        }
        self._indexes: list[np.ndarray] = []
        self._count = self._milliseconds = 0  # of events written, and of elements of ms_to_idx
        self._offset: int | None = None
        self._last = 0

    def __exit__(self, *error: Any) -> None:
        if self._offset is not None:
            end = self._last // 1000 + 1  # of the millisecond after the last event
            self._indexes.append(np.full(end + 1 - self._milliseconds, self._count))
            self._file["ms_to_idx"] = np.concatenate(self._indexes).astype(np.uint64)
            self._file["t_offset"] = np.int64(self._offset)
        self._file.close()

    def write(self, received: int, message: Message) -> None:
        if not isinstance(message, EventMessage):
            raise ValueError("HDF5 is written without images and camera infos")
        events = message.events
        if not len(events):
            return
        us = events["t"] // 1000
        if (us * 1000 != events["t"]).any():
            raise ValueError("a time that is not of whole microseconds (--lossy cuts it)")
        if self._offset is None:
            self._offset = int(us[0])
            self._file.attrs["sensor_resolution"] = [message.height, message.width]
        us -= self._offset
        if us[-1] // 1000 > _MOST_INDEXES:
            raise ValueError(f"events span more than {_MOST_INDEXES // 3_600_000} h, too long for ms_to_idx")
        if us[0] < self._last or (us[1:] < us[:-1]).any():
            raise ValueError("time goes back, which ms_to_idx cannot hold")
        self._last = int(us[-1])
        until = self._last // 1000 + 1
        self._indexes.append(self._count + np.searchsorted(us, np.arange(self._milliseconds, until) * 1000))
        self._milliseconds = until
        self._count += len(events)
        for name, values in (("x", events["x"]), ("y", events["y"]), ("p", events["p"]), ("t", us)):
            column = self._columns[name]
            column.resize((self._count,))
            column[-len(events) :] = values
