"""HDF5 files of events, whatever their layout: it is found by the names and shapes of what a file holds.

| layout | events | time |
|---|---|---|
| DSEC, TUM-VIE, M3ED | x, y, t, p in a group, beside ms_to_idx or ms_map_idx | microseconds since t_offset |
| event_utils, E2VID | xs, ys, ts, ps in a group | seconds |
| raw_events and others | x, y, t, p in a group | seconds if floating-point, else microseconds |
| MVSEC, v2e | events (N, 4), in an order that is detected | seconds (MVSEC: since 1970), or microseconds if whole |
| Prophesee | records of x, y, p, t, compressed by ECF | microseconds |

Frames are those of event_utils (images/image000000000 …) and MVSEC (image_raw, image_raw_ts), triggers Prophesee's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import MissingPackageError, RecordingError, reason_of
from ..events import NO_TRIGGERS, TRIGGER_DTYPE
from ..wire.ros_types import EventMessage, Message
from . import ecf
from .columns import check_columns, check_unit, columns_of, events_of, guess_columns, to_nanoseconds
from .event_file import FRAMES_TOPIC, Block, EventFile, choose_stream
from .recording import Item, RecordingWriter

_STEP = 1 << 18  # events read at once
_SAMPLE = 10_000  # by which the columns of rows are detected
_MICROSECOND_INDEXES = ("ms_to_idx", "ms_map_idx")


def import_h5py(path: Path) -> Any:
    """Import h5py on demand; raises MissingPackageError with the command that installs it."""
    try:
        import h5py
    except ImportError:
        raise MissingPackageError(f"{path}: HDF5 needs h5py: pip install h5py hdf5plugin") from None
    return h5py


class _Source(NamedTuple):
    """Where events are: columns by "x", "y", "t", "p", or one dataset of records or of rows."""

    name: str  # of the topic
    group: Any
    columns: dict[str, Any] | None
    dataset: Any = None


class Hdf5Recording(EventFile):
    """An HDF5 file. If several groups hold events, the topics are their paths."""

    def _open(self) -> None:
        self._h5py = import_h5py(self.path)
        self._file = self._held.enter_context(self._h5py.File(self.path, "r"))
        self._source = self._choose()
        self._offset_us = self._find_offset()
        self._unit = self._find_unit()
        self._order = self._find_order()
        self.width, self.height = self._find_size()
        self._images = self._find_images()
        self.frames_topic = FRAMES_TOPIC if self._images else None

    def _last_event(self) -> int:
        return int(next(self._read(self._length - 1)).events["t"][-1])

    def _choose(self) -> _Source:
        sources: list[_Source] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, self._h5py.Group):
                datasets = {key: value for key, value in item.items() if isinstance(value, self._h5py.Dataset)}
                if found := columns_of(datasets):
                    columns = {key: datasets[column] for key, column in found.items()}
                    sources.append(_Source(f"/{name}", item, columns))
                return
            are_records = item.ndim == 1 and bool(columns_of(item.dtype.names or ()))
            if are_records or (name.split("/")[-1] == "events" and item.ndim == 2 and item.shape[1] == 4):
                sources.append(_Source(f"/{name}", item.parent, None, item))

        visit("", self._file)
        self._file.visititems(visit)
        if len(sources) > 1:
            topics = {i: source.name for i, source in enumerate(sources)}
            chosen = choose_stream(self.path, topics, self.options.events_topic, "--events-topic")
            self.other_topics = tuple(name for i, name in topics.items() if i != chosen)
            sources = [sources[chosen]]
            self.events_topic = sources[0].name
        if not sources:
            names = list(self._file)[:8]
            raise RecordingError(
                f"holds {', '.join(names) or 'nothing'}; expected datasets x, y, t, p in a group, records with these"
                " fields, or events (N, 4)"
            )
        source = sources[0]
        lengths = [len(column) for column in source.columns.values()] if source.columns else [len(source.dataset)]
        if len(set(lengths)) > 1:
            raise RecordingError(f"x, y, t, p in {source.name} have {lengths} elements; expected equal lengths")
        self._length = lengths[0]
        for dataset in source.columns.values() if source.columns else [source.dataset]:
            self._check_filters(dataset)
        return source

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

    def _find_offset(self) -> int:
        """The microseconds at which the events' time begins."""
        for place in (self._source.group, self._source.group.parent):
            if "t_offset" in place and isinstance(place["t_offset"], self._h5py.Dataset):
                return int(np.ravel(place["t_offset"][()])[0])
        return 0

    def _find_unit(self) -> str:
        if stated := check_unit(self.options.time_unit):
            return stated
        times = self._source.columns["t"] if self._source.columns else self._source.dataset
        is_float = times.dtype.kind == "f"
        if not is_float and not (
            times.dtype.names
            or any(name in place for place in (self._source.group, self._source.group.parent)
                   for name in _MICROSECOND_INDEXES)
        ):  # fmt: skip
            self._note("time unit not stated: assuming microseconds (--time-unit)")
        return "s" if is_float else "us"

    def _find_order(self) -> str:
        """The columns of a dataset of rows."""
        dataset = self._source.dataset
        if dataset is None or dataset.dtype.names or not self._length:
            return ""
        if self.options.columns:
            order = check_columns(self.options.columns)
            if len(order) != 4:
                raise RecordingError(f"columns {order!r}; {dataset.name} has 4 columns")
            return order
        order = guess_columns(dataset[:_SAMPLE])
        if order != "xytp":
            self._note(f"{dataset.name} is read as columns {' '.join(order)} (--columns states them)")
        return order

    def _find_size(self) -> tuple[int, int]:
        """Return the sensor's (width, height), (0, 0) if the file does not state it; sensors are wider than high."""
        group = self._source.group
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

    def _find_images(self) -> list[tuple[int, Any, int | None]]:
        """(stamp in ns, dataset, index in it or None) of each frame."""
        group = self._source.group
        if "image_raw" in group and "image_raw_ts" in group:
            stamps = to_nanoseconds(group["image_raw_ts"][()], "s")
            count = min(len(stamps), len(group["image_raw"]))
            return [(int(stamps[i]), group["image_raw"], i) for i in range(count)]
        images = self._file.get("images")
        if not isinstance(images, self._h5py.Group):
            return []
        found = [image for image in images.values() if "timestamp" in image.attrs]
        stamps = to_nanoseconds(np.array([float(np.ravel(image.attrs["timestamp"])[0]) for image in found]), "s")
        return [(int(stamp), image, None) for stamp, image in zip(stamps, found, strict=True)]

    def _frames(self) -> Iterator[Item]:
        for stamp, dataset, index in sorted(self._images, key=lambda image: image[0]):
            yield self._frame(stamp, partial(_image_of, dataset, index))

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
        triggers = np.empty(len(rows), TRIGGER_DTYPE)
        triggers["t"], triggers["id"], triggers["p"] = to_nanoseconds(rows["t"], "us"), rows["id"], rows["p"] > 0
        return triggers

    def _read(self, start: int) -> Iterator[Block]:
        """The events from an index on."""
        columns, dataset = self._source.columns, self._source.dataset
        with self._reading():
            if columns is None and ecf.FILTER_ID in _filters(dataset):
                yield from self._read_ecf(start)
                return
            for at in range(start, self._length, _STEP):
                part = slice(at, at + _STEP)
                if columns is not None:
                    x, y, t, p = (columns[name][part] for name in "xytp")
                elif dataset.dtype.names:
                    rows, names = dataset[part], columns_of(dataset.dtype.names)
                    x, y, t, p = (rows[names[name]] for name in "xytp")
                else:
                    rows = dataset[part]
                    x, y, t, p = (rows[:, self._order.index(name)] for name in "xytp")
                yield Block(self._events(x, y, t, p))

    def _read_ecf(self, start: int) -> Iterator[Block]:
        dataset = self._source.dataset
        size = dataset.chunks[0]
        for at in range(start // size * size, self._length, size):
            mask, data = dataset.id.read_direct_chunk((at,))
            if mask & 1:  # the filter was left out
                rows = np.frombuffer(data, dataset.dtype, min(size, len(data) // dataset.dtype.itemsize))
                events = self._events(*(rows[name] for name in "xytp"))
            else:
                events = ecf.decode_chunk(data)
            yield Block(events[max(0, start - at) : self._length - at])

    def _events(self, x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray) -> np.ndarray:
        return events_of(x, y, t, p, self._unit, self._offset_us * 1000)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what h5py raises on damaged files, too, into a RecordingError."""
        with super()._reading():
            try:
                yield
            except (RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
                raise RecordingError(f"cannot be read as HDF5: {reason_of(error)}") from error


def _image_of(dataset: Any, index: int | None) -> np.ndarray:
    image = np.asarray(dataset[()] if index is None else dataset[index])
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)):
        raise RecordingError(
            f"{dataset.name}: an image {image.shape} of {image.dtype}; expected uint8, 1 or 3 channels"
        )
    return image


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

    def __enter__(self) -> Hdf5Writer:
        return self

    def __exit__(self, *_: object) -> None:
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
