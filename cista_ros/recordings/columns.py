"""Columns of events: their usual names, their likely order, and times in any unit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import NS, make_events

UNITS = {"s": NS, "ms": 1_000_000, "us": 1_000, "ns": 1}
NAMES = {
    "x": ("x", "xs", "col", "column"),
    "y": ("y", "ys", "row"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
_FEWEST_PER_SECOND = 100  # an event camera reports more events than this
_IN_ORDER = 0.9  # of the rows, by their time
_LIMIT_NS = np.iinfo(np.int64).max // 2


def columns_of(names: Iterable[str]) -> dict[str, str]:
    """Return which of these names are those of x, y, t and p; empty unless each is there."""
    by_lower = {name.lower(): name for name in names}
    found = {key: next((by_lower[n] for n in usual if n in by_lower), None) for key, usual in NAMES.items()}
    return {key: name for key, name in found.items() if name} if all(found.values()) else {}


def guess_columns(rows: np.ndarray) -> str:
    """Return the order of the columns of rows (N, M) of numbers, of which the first four are taken.

    Time is the column that hardly goes back, polarity one of 0 and 1 or of -1 and 1. Raises DecodeError.
    """
    rows = rows[:, :4]
    polarities = [i for i in (3, 2, 0, 1) if set(np.unique(rows[:, i]).tolist()) <= {-1.0, 0.0, 1.0}]
    times = [i for i in (0, 3, 2, 1) if len(rows) == 1 or (np.diff(rows[:, i]) >= 0).mean() >= _IN_ORDER]
    for t in sorted(times, key=lambda i: (rows[0, i] == rows[-1, i], i != 0)):
        for p in polarities:
            if p != t:
                x, y = (i for i in range(4) if i not in (t, p))
                return "".join(dict(zip((t, x, y, p), "txyp", strict=True))[i] for i in range(4))
    raise DecodeError("the order of the columns is not clear; state it with --columns, such as txyp or xypt")


def guess_unit(t: np.ndarray) -> str:
    """Return the likely unit of times (N,).

    Fractions are seconds. Whole numbers are microseconds, or nanoseconds if they are all multiples of 1000 or if
    microseconds would mean fewer than 100 events a second.
    """
    span = float(t[-1]) - float(t[0])
    if t.dtype.kind == "f" and (t != np.floor(t)).any():
        return "s" if len(t) >= span else "us"  # less than an event a second
    if t[-1] >= 1000 and not (t % 1000).any() and len(np.unique(t)) > 1:
        return "ns"
    if 1e18 <= t[0] < 5e18:  # an epoch
        return "ns"
    return "us" if len(t) * 1e6 >= span * _FEWEST_PER_SECOND or t[0] >= 1e15 else "ns"


def check_unit(t: np.ndarray, unit: str) -> None:
    """Raise DecodeError if the first times (N,) of a recording differ only by fractions of nanoseconds."""
    if unit == "ns" and np.ptp(t) < len(t) and (fractions := t[t != np.floor(t)]).size:
        raise DecodeError(f"times such as {fractions[0]:g} are not in ns; expected another time unit, probably s")


def to_nanoseconds(t: np.ndarray, unit: str) -> npt.NDArray[np.int64]:
    """Return times (N,) of one of UNITS in nanoseconds.

    Whole numbers are converted exactly; floating-point ones are rounded to the nanosecond, seconds since 1970 to the
    microsecond, which is all that they hold. Raises DecodeError for a time that is not a number or too large.
    """
    factor = UNITS[unit]
    if t.dtype.kind in "iu":
        if t.dtype.itemsize == 8 and len(t) and max(abs(int(t.min())), abs(int(t.max()))) > _LIMIT_NS // factor:
            raise DecodeError(f"a time beyond the range of int64 nanoseconds (in {unit}: {t.min()} to {t.max()})")
        return t.astype(np.int64) * factor
    t = t.astype(np.float64)
    if not (np.abs(t) <= _LIMIT_NS / factor).all():
        raise DecodeError("a time is not a number, or beyond the range of int64 nanoseconds")
    whole = np.floor(t)
    fraction = (t - whole) * factor
    if unit == "s" and len(t) and abs(float(t[0])) > 1e8:
        fraction = np.rint(fraction / 1000) * 1000
    ns: npt.NDArray[np.int64] = whole.astype(np.int64) * factor + np.rint(fraction).astype(np.int64)
    return ns


def events_of(x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray, unit: str, offset: int = 0) -> np.ndarray:
    """Return the events (N,) of columns, their times in one of UNITS and `offset` nanoseconds later; p > 0 is brighter.

    Raises EventError for a coordinate below 0 or above 65535, DecodeError for a time out of range.
    """
    times = to_nanoseconds(t, unit)
    return make_events(x, y, times + offset if offset else times, p)
