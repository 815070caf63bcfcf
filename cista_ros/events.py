"""The event array: a numpy struct array of the events that a camera reports.

An event is (x, y, t, p): pixel column and row, time in int64 nanoseconds, polarity (True = brighter).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from .errors import EventError

NS = 1_000_000_000  # nanoseconds per second
# 16 bytes per event, aligned: four fit a cache line, and no field straddles two.
EVENT_DTYPE = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.bool_)], align=True)
EVENT_BYTES = np.dtype((np.void, EVENT_DTYPE.itemsize))

# A pulse on an external input: its number, and True for a rising edge.
TRIGGER_DTYPE = np.dtype([("t", np.int64), ("id", np.uint8), ("p", np.bool_)], align=True)
NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)
EDGES = "rising", "falling", "both"


def make_events(x: npt.ArrayLike, y: npt.ArrayLike, t: npt.ArrayLike, p: npt.ArrayLike) -> np.ndarray:
    """Make an event array from columns (N,), or single values for all: x, y in pixels, t in ns, p above 0 for brighter.

    Raises:
        EventError: columns of different lengths, or values that a field cannot hold exactly.
    """
    return _structs("events", EVENT_DTYPE, x=x, y=y, t=t, p=p)


def make_triggers(t: npt.ArrayLike, id: npt.ArrayLike, p: npt.ArrayLike) -> np.ndarray:
    """Make a trigger array of columns as for make_events: t in ns, id of the input, p above 0 for a rising edge."""
    return _structs("triggers", TRIGGER_DTYPE, t=t, id=id, p=p)


def _structs(what: str, dtype: np.dtype, **values: npt.ArrayLike) -> np.ndarray:
    columns = {name: np.asarray(column) for name, column in values.items()}
    shapes = {column.shape for column in columns.values()} - {()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1:
        names = ", ".join(columns)
        raise EventError(f"{what}: expected columns {names} of one length, or single values beside columns")
    structs = np.zeros(shape, dtype)
    for name, column in columns.items():
        if column.dtype == dtype[name]:
            structs[name] = column
            continue
        offender: object = column.dtype
        with suppress(TypeError, ValueError, OverflowError):  # objects that are not numbers, or far too large
            with np.errstate(invalid="ignore"):  # not a number: found below
                structs[name] = column > 0 if name == "p" else column
            wrong = column != (column if name == "p" else structs[name])
            if not wrong.any():
                continue
            offender = np.broadcast_to(column, shape)[wrong].flat[0]
        limits = None if name == "p" else np.iinfo(dtype[name])
        expected = f"whole numbers from {limits.min} to {limits.max}" if limits else "numbers"
        raise EventError(f"{what}: {name} must be {expected}, not {offender}")
    return structs


def trigger_times(triggers: np.ndarray, edge: str = "rising", input: int | None = None) -> npt.NDArray[np.int64]:
    """Return the times (M,) in ns of the triggers (N,) with an edge of EDGES, on one input or on all (None)."""
    wanted = np.full(len(triggers), True) if edge == "both" else triggers["p"] == (edge == "rising")
    if input is not None:
        wanted &= triggers["id"] == input
    return np.asarray(triggers["t"][wanted])


def no_events() -> np.ndarray:
    """Return an event array of length 0."""
    return np.empty(0, EVENT_DTYPE)


def concatenate(chunks: Sequence[np.ndarray]) -> np.ndarray:
    """Join event arrays in order; a single one is returned without a copy."""
    if len(chunks) == 1:
        return chunks[0]
    if not chunks:
        return no_events()
    # As opaque bytes, which numpy copies twice as fast as fields.
    return np.concatenate([chunk.view(EVENT_BYTES) for chunk in chunks]).view(EVENT_DTYPE)


def inside(events: np.ndarray, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return the mask (N,) of events on a sensor of height x width pixels."""
    return (events["x"] < width) & (events["y"] < height)


def select(events: np.ndarray, mask: npt.NDArray[np.bool_]) -> np.ndarray:
    """Return the events where a mask (N,) is true: `events[mask]`, several times faster; uncopied if all are."""
    indices = np.flatnonzero(mask)
    if len(indices) == len(events):
        return events
    words = np.ascontiguousarray(events).view(np.int64).reshape(-1, 2)
    return words.take(indices, 0).view(EVENT_DTYPE).reshape(-1)


def binned(events: np.ndarray, factor: int, height: int, width: int) -> np.ndarray:
    """Return the events on a grid of height x width cells that is coarser by a whole factor.

    Pixels beyond the last whole square of factor x factor pixels join the last cell, so that no event is lost.
    """
    if factor == 1:
        return events
    coarse = events.copy()
    coarse["x"] = np.minimum(events["x"] // factor, width - 1)
    coarse["y"] = np.minimum(events["y"] // factor, height - 1)
    return coarse


def in_order(events: np.ndarray) -> bool:
    """Return whether time never decreases."""
    t = events["t"]
    return bool(np.all(t[1:] >= t[:-1]))
