"""Serialized events (x, y, sec, nsec, polarity) <-> the event array, without a loop over events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DecodeError
from ..events import EVENT_DTYPE
from .messages import NS


def record_dtype(offsets: Sequence[int], itemsize: int, seconds: str) -> np.dtype:
    """A view of serialized events: where x, y, sec, nsec and p lie in a record of `itemsize` bytes."""
    return np.dtype(
        {
            "names": ["x", "y", "sec", "nsec", "p"],
            "formats": ["<u2", "<u2", seconds, "<u4", "u1"],
            "offsets": list(offsets),
            "itemsize": itemsize,
        }
    )


def unpack_events(*parts: np.ndarray) -> np.ndarray:
    """The events (N,) of EVENT_DTYPE in consecutive arrays of records.

    Any polarity byte but 0 counts as true. Raises DecodeError if a time stamp has 1e9 nanoseconds or more: it was not
    written by a ROS time, so that nothing around it can be trusted either.
    """
    events = np.empty(sum(map(len, parts)), EVENT_DTYPE)
    start = 0
    for records in parts:
        if not len(records):
            continue
        nsec = records["nsec"]
        if nsec.max() >= NS:
            bad = int(np.count_nonzero(nsec >= NS))
            raise DecodeError(f"{bad} of {len(events)} events have {NS} nanoseconds or more in their time stamp")
        out = events[start : start + len(records)]
        start += len(records)
        # Steps over plain columns: twice as fast as one expression over the unaligned fields.
        t = records["sec"].astype(np.int64)
        t *= NS
        t += nsec
        out["t"], out["x"], out["y"] = t, records["x"], records["y"]
        np.not_equal(records["p"], 0, out=out["p"])
    return events


def pack_events(events: np.ndarray, *parts: np.ndarray) -> None:
    """Write events (N,) into consecutive arrays of records that hold N together.

    Raises ValueError if a time stamp does not fit the format's 32-bit seconds.
    """
    start = 0
    for records in parts:
        if not len(records):
            continue
        source = events[start : start + len(records)]
        start += len(records)
        t = source["t"].copy()
        sec = t // NS
        limits = np.iinfo(records.dtype["sec"])
        if sec.min() < limits.min or sec.max() > limits.max:
            raise ValueError(f"event times must lie between {limits.min} and {limits.max} s to be serialized")
        records["sec"] = sec
        sec *= NS
        t -= sec
        records["nsec"] = t
        records["x"], records["y"], records["p"] = source["x"], source["y"], source["p"]
