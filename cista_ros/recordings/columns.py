"""Columns of events by their usual names, and times in any unit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_NAMES = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
TIME_UNITS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}  # in nanoseconds


def columns_of(names: Iterable[str]) -> dict[str, str]:
    """Return which of these names are those of x, y, t and p; empty unless each is there."""
    by_lower = {name.lower(): name for name in names}
    found = {key: next((by_lower[n] for n in usual if n in by_lower), None) for key, usual in _NAMES.items()}
    return {key: name for key, name in found.items() if name} if all(found.values()) else {}


def to_nanoseconds(t: np.ndarray, unit: str) -> npt.NDArray[np.int64]:
    """Return times (N,) of one of TIME_UNITS in nanoseconds.

    Whole numbers are converted exactly; floating-point ones are rounded to the nanosecond, seconds since 1970 to the
    microsecond, which is all that they hold.
    """
    factor = TIME_UNITS[unit]
    if t.dtype.kind in "iu":
        return t.astype(np.int64) * int(factor)
    t = t.astype(np.float64)
    if not np.isfinite(t).all():
        raise ValueError("a time is not a number")
    whole = np.floor(t)
    fraction = (t - whole) * factor
    if unit == "s" and len(t) and abs(float(t[0])) > 1e8:
        fraction = np.rint(fraction / 1000) * 1000
    ns: npt.NDArray[np.int64] = whole.astype(np.int64) * int(factor) + np.rint(fraction).astype(np.int64)
    return ns
