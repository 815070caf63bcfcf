"""Events of dvs_msgs/EventArray, serialized as (x, y, sec, nsec, polarity) <-> the event array.

Fields are copied through contiguous columns: numpy copies from one strided field to another several times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import DecodeError
from ..events import EVENT_DTYPE, NS

_BLOCK = 8192  # events processed at once, so that the temporary columns stay in the CPU cache


def _record_dtype(offsets: Sequence[int], itemsize: int, seconds: str) -> np.dtype:
    """Return the dtype of a serialized event: offsets of x, y, sec, nsec and p in a record of `itemsize` bytes."""
    formats = ["<u2", "<u2", seconds, "<u4", "u1"]
    names = ["x", "y", "sec", "nsec", "p"]
    return np.dtype({"names": names, "formats": formats, "offsets": list(offsets), "itemsize": itemsize})


# Records of the first event of an array, and of all others. In CDR an event takes 13 bytes; it starts at an even byte
# and its time at a multiple of four. The first event is 4-aligned. The second starts 14 bytes on, so its time needs two
# bytes of padding, and all further events are 16 bytes apart. A view of 16-byte records that begins one byte before the
# second event ends with the polarity of the last one.
CDR_RECORDS = _record_dtype((0, 2, 4, 8, 12), 13, "<i4"), _record_dtype((1, 3, 7, 11, 15), 16, "<i4")
ROS1_RECORDS = (_record_dtype((0, 2, 4, 8, 12), 13, "<u4"),) * 2


def unpack_events(*parts: np.ndarray) -> np.ndarray:
    """Return the events (N,) of EVENT_DTYPE in consecutive arrays of records. Any polarity byte but 0 is true.

    Raises:
        DecodeError: a time stamp has 1e9 nanoseconds or more. No ROS time does, so the bytes are no events.
    """
    events = np.empty(sum(map(len, parts)), EVENT_DTYPE)
    start = 0
    for records in (part[at : at + _BLOCK] for part in parts for at in range(0, len(part), _BLOCK)):
        out = events[start : start + len(records)]
        start += len(records)
        nsec = records["nsec"]
        if nsec.max() >= NS:
            bad = sum(int(np.count_nonzero(part["nsec"] >= NS)) for part in parts)
            raise DecodeError(f"{bad} of {len(events)} events have {NS} nanoseconds or more in their time stamp")
        t = records["sec"].astype(np.int64)
        t *= NS
        t += nsec
        out["t"] = t
        out["x"], out["y"] = records["x"].copy(), records["y"].copy()
        np.not_equal(records["p"], 0, out=out["p"])
    return events


def pack_events(events: np.ndarray, dtype: np.dtype, write: Callable[[np.ndarray], object]) -> None:
    """Serialize events (N,) as records of `dtype`; `write` is called with arrays of records, which it must copy.

    Raises:
        ValueError: a time stamp does not fit the 32-bit seconds of the format.
    """
    limits = np.iinfo(dtype["sec"])
    scratch = np.zeros(min(len(events), _BLOCK), dtype)
    for at in range(0, len(events), _BLOCK):
        block = events[at : at + _BLOCK]
        records = scratch[: len(block)]
        t = block["t"].copy()
        sec = t // NS
        if sec.min() < limits.min or sec.max() > limits.max:
            raise ValueError(f"event times must lie between {limits.min} and {limits.max} s to be serialized")
        records["sec"] = sec
        sec *= NS
        t -= sec
        records["nsec"] = t
        records["x"], records["y"], records["p"] = block["x"].copy(), block["y"].copy(), block["p"]
        write(records)
