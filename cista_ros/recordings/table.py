"""Recordings whose events lie in arrays: the common part of the readers of NumPy and HDF5 files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import RecordingError
from .columns import check_unit, columns_of, events_of, guess_columns, guess_unit
from .event_file import FRAMES_TOPIC, Block, EventFile
from .recording import Item

SAMPLE = 10_000  # events by which columns and unit are detected
_LARGEST_ROW = 256  # bytes of an event
Place = tuple[Any, str | int | None]  # an array (N, …), and the field or column of it where it is not (N,)


class TableFile(EventFile):
    """A recording whose x, y, t and p are arrays, fields of records, or columns of rows.

    An array has `name`, `dtype` and `shape`; its first axis counts events.
    """

    _used_options: tuple[str, ...] = ("time_unit",)
    _places: dict[str, Place]  # of "x", "y", "t" and "p"
    _length: int  # number of events
    _usual_columns = ""  # of rows, if the format has a usual order; another one is noted
    _unit: str  # of the times
    _offset = 0  # ns, added to the times
    _stamps: np.ndarray  # of the frames (N,), ns

    @abstractmethod
    def _pieces(self, array: Any, start: int, stop: int) -> Iterator[np.ndarray]:
        """Read rows of an array, in pieces of a length that is the same for all arrays."""

    @abstractmethod
    def _image(self, i: int) -> np.ndarray:
        """Read an image of which `_stamps` has the time."""

    def _rows(self, array: Any) -> int:
        """Return the number of rows that the file holds."""
        return int(array.shape[0])

    def _find_columns(self, array: Any) -> dict[str, Place]:
        """Return where x, y, t and p are in an array of records or of rows; for rows, stated or likely columns."""
        if fields := columns_of(array.dtype.names or ()):
            return {key: (array, field) for key, field in fields.items()}
        self._used_options = (*self._used_options, "columns")
        stated = self.options.columns
        sample = next(self._pieces(array, 0, min(self._rows(array), SAMPLE)), np.empty((0, 4)))
        order = stated or (guess_columns(sample) if len(sample) else "txyp")
        if len(order) > array.shape[1]:
            raise RecordingError(f"columns {order!r}; {array.name} has {array.shape[1]}")
        if not stated and order != self._usual_columns:
            self._note(f"{array.name} is read as columns {' '.join(order)} (--columns states them)")
        return {key: (array, order.index(key)) for key in "xytp"}

    def _set_events(self, places: Mapping[str, Place], unit: str = "", is_known: bool = False) -> None:
        """Set where the events are, their number, and their unit of time.

        The unit is the one that the user states, else `unit`, else the likely one. It is noted unless it is known.
        """
        self._places = dict(places)
        lengths = [(array.shape or (0,))[0] for array, _ in places.values()]
        if len(set(lengths)) > 1:
            names = ", ".join(array.name for array, _ in places.values())
            raise RecordingError(f"{names} have {lengths} elements; expected equal lengths")
        for key, (array, field) in places.items():
            kind = array.dtype[field] if isinstance(field, str) else array.dtype
            row_bytes = array.dtype.itemsize * int(np.prod((array.shape or ())[1:], dtype=object))
            is_column = array.shape and (field is not None or row_bytes == kind.itemsize)
            if kind.kind not in "biuf" or row_bytes > _LARGEST_ROW or not is_column:
                raise RecordingError(
                    f"{key} in {array.name} has the type {kind} and shape {array.shape}; expected numbers (N,)"
                )
        self._length = min(self._rows(array) for array, _ in places.values())
        if self._length < lengths[0]:
            self._note(f"cut: {self._length} of {lengths[0]} events are there")
        stated = self.options.time_unit
        self._unit = stated or unit or "s"
        array, field = places["t"]
        is_float = (array.dtype[field] if isinstance(field, str) else array.dtype).kind == "f"
        if self._length and (not (stated or unit) or is_float):
            t = _column_of(next(self._pieces(array, 0, min(self._length, SAMPLE))), field)
            if not stated and not unit:
                self._unit = guess_unit(t)
            check_unit(t, self._unit)
        if not stated and not is_known and self._unit != "s":
            self._note(f"time unit not stated: assuming {self._unit} (--time-unit states it)")

    def _set_frames(self, stamps: np.ndarray) -> None:
        """Set the times of the frames (N,), in ns."""
        self._stamps = stamps
        self.frames_topic = FRAMES_TOPIC if len(stamps) else None

    def _frames(self) -> Iterator[Item]:
        for i in np.argsort(self._stamps, kind="stable").tolist():
            yield self._frame(int(self._stamps[i]), partial(self._image, i))

    def _blocks(self) -> Iterator[Block]:
        return self._read(0)

    def _last_event(self) -> int | None:
        return int(next(self._read(self._length - 1)).events["t"][-1])

    def _read(self, start: int) -> Iterator[Block]:
        """Read the events from an index on."""
        arrays = list(dict.fromkeys(array for array, _ in self._places.values()))
        with self._reading():
            for pieces in zip(*(self._pieces(array, start, self._length) for array in arrays), strict=True):
                found = dict(zip(arrays, pieces, strict=True))
                columns = {key: _column_of(found[array], field) for key, (array, field) in self._places.items()}
                yield Block(events_of(**columns, unit=self._unit, offset=self._offset))


def is_image(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Return whether an array is an image of 8 bits: (H, W), (H, W, 1) or (H, W, 3)."""
    return dtype == np.uint8 and len(shape) in (2, 3) and shape[2:] in ((), (1,), (3,))


def _column_of(rows: np.ndarray, key: str | int | None) -> np.ndarray:
    """Return a field or column (N,) of rows, or the rows themselves, (N,) or (N, 1)."""
    column: np.ndarray = rows.reshape(-1) if key is None else rows[key] if isinstance(key, str) else rows[:, key]
    return column
