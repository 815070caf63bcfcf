"""Decode ECF, the compression of events in Prophesee's HDF5 files.

The format is that of github.com/prophesee-ai/hdf5_ecf (Apache-2.0). A chunk holds the times, rows, columns and
polarities of its events in turn. Each part is a sequence of codes: a value and how many events have it. There is no
loop over events.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import EVENT_DTYPE

FILTER_ID = 0x8ECF
_MOST_EVENTS = 65_535
_MOST_US = (1 << 62) // 1000


def decode_chunk(data: bytes) -> np.ndarray:
    """Return the events (N,) of a chunk; raises DecodeError if it is not a whole one."""
    if len(data) < 12:
        raise DecodeError(f"an ECF chunk of {len(data)} bytes; expected at least 12")
    head = int.from_bytes(data[:4], "little")
    n, all_packed, x_and_p_packed = head >> 2, head & 2, head & 1
    if n > _MOST_EVENTS:
        raise DecodeError(f"an ECF chunk of {n} events; expected at most {_MOST_EVENTS}")
    events = np.empty(n, EVENT_DTYPE)
    events["t"], at = _part(_times, data, 12, n, n // 4, int.from_bytes(data[4:12], "little", signed=True))
    if all_packed:
        # 24 bits an event, four events in three words of 32 bits
        a, b, c = _words(data, at, "<u4", 3 * -(-n // 4)).reshape(-1, 3).T
        packed = np.stack([a >> 8, (a & 0xFF) | b >> 16 << 8, (b & 0xFFFF) | c >> 24 << 16, c & 0xFFFFFF], 1)
        values = packed.reshape(-1)[:n]
        events["y"], events["x"], events["p"] = values >> 12 & 0x7FF, values >> 1 & 0x7FF, values & 1
        return events
    events["y"], at = _part(_runs, data, at, n, n // 2, "<u2", 5)
    if x_and_p_packed:
        # 12 bits an event, four events in three words of 16 bits
        a, b, c = _words(data, at, "<u2", 3 * -(-n // 4)).reshape(-1, 3).T
        packed = np.stack([a >> 4, (a & 0xF) | b >> 8 << 4, (b & 0xFF) | c >> 12 << 8, c & 0xFFF], 1)
        values = packed.reshape(-1)[:n]
        events["x"], events["p"] = values >> 1, values & 1
        return events
    events["x"], at = _part(_masked, data, at, n, n)
    events["p"], at = _part(_runs, data, at, n, n // 4, "u1", 7)
    return events


def _part(decode: Callable[..., Any], data: bytes, at: int, n: int, size: int, *format: Any) -> tuple[np.ndarray, int]:
    """Return the values (n,) of the part that begins at byte `at`, and where the next part begins.

    The length of a part follows from its codes. Most have few: `size` bytes are tried first, then four times as many.
    """
    rest = memoryview(data)[at:]
    while size < len(rest):
        with suppress(DecodeError):
            values, end = decode(rest[:size], n, *format)
            return values, at + end
        size = 4 * size + 64
    values, end = decode(rest, n, *format)
    return values, at + end


def _times(data: memoryview, n: int, start: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return times in nanoseconds (n,), and how many bytes they take.

    A code adds its upper four bits to the time, and has as many events as its lower four bits say, or, if those are 15,
    the next two bytes. Codes whose upper four bits are 15 have none: the lower four bits of successive ones, the lowest
    first, are what is added to the time.
    """
    codes = np.frombuffer(data, np.uint8)
    escapes = codes >= 0xF0
    is_long = (codes & 15 == 15) & ~escapes
    counts = np.where(escapes, 0, codes & 15).astype(np.int64)
    counts[is_long] = _pairs(codes, is_long)
    at, end = _codes(is_long, 2, counts, n)
    found, escape = codes[at].astype(np.int64), escapes[at]
    index = np.arange(len(found))
    place = index - np.maximum.accumulate(np.where(escape, -1, index)) - 1  # among successive codes without events
    steps = np.where(escape, (found & 15) << np.minimum(4 * np.maximum(place, 0), 60), found >> 4)
    t = np.cumsum(steps) + np.int64(start)
    if len(t) and max(-int(t.min()), int(t.max())) > _MOST_US:
        raise DecodeError(f"an ECF chunk with times from {t.min()} to {t.max()} us, beyond int64 nanoseconds")
    return np.repeat(t * 1000, counts[at])[:n], end


def _runs(data: memoryview, n: int, dtype: str, count_bits: int) -> tuple[np.ndarray, int]:
    """Return values (n,) from codes of a value above a count, and how many bytes they take.

    The largest count means that the next 16 bits are the count.
    """
    size = np.dtype(dtype).itemsize
    codes = np.frombuffer(data, dtype, len(data) // size)[: n + 2]  # each has an event or more
    most = (1 << count_bits) - 1
    is_long = codes & most == most
    counts = (codes & most).astype(np.int64)
    counts[is_long] = _pairs(codes, is_long) if size == 1 else np.append(codes[1:], codes[:1])[is_long]
    starts, end = _codes(is_long, 2 // size, counts, n)
    return np.repeat(codes[starts] >> count_bits, counts[starts])[:n], end * size


def _masked(data: memoryview, n: int) -> tuple[np.ndarray, int]:
    """Return columns (n,), and how many bytes they take.

    A word is a column and a bit for each of the five columns that follow it, the highest bit first.
    """
    words = np.frombuffer(data, "<u2", len(data) // 2)[:n]
    fired = np.unpackbits((words << 2 | 0x80).astype(np.uint8))  # a bit for the column, five for those behind it
    flat = np.flatnonzero(fired.view(np.bool_))[:n]
    if len(flat) < n:
        raise DecodeError(f"the columns of an ECF chunk end after {len(flat)} of {n} events")
    which = flat >> 3
    return (words >> 5)[which] + (flat & 7), 2 * (int(which[-1]) + 1 if n else 0)


def _codes(is_long: np.ndarray, payload: int, counts: np.ndarray, n: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return where the codes begin that have n events together, and where the last of them ends.

    The `payload` items after a long code are its count, even if they look like a long code.
    """
    long_at = np.flatnonzero(is_long)
    free = np.ones(len(long_at) + 1, np.bool_)  # of the count of a long code before it
    free[1:-1] = long_at[1:] - long_at[:-1] > payload
    if not free.all():
        # Follow the long codes from each free one on, by twice as many steps each time.
        following = np.append(np.searchsorted(long_at, long_at + payload + 1), len(long_at))
        found = 0
        while found < (found := int(np.count_nonzero(free))):
            free[following[free]] = True
            following = following[following]
        long_at = long_at[free[:-1]]
    begins = np.ones(len(counts) + payload, np.bool_)
    for offset in range(1, payload + 1):
        begins[long_at + offset] = False
    starts = np.flatnonzero(begins[: len(counts)])
    used = int(np.searchsorted(np.cumsum(counts[starts], dtype=np.int64), n)) + 1 if n else 0
    if used > len(starts):
        raise DecodeError(f"a part of an ECF chunk ends before its {n} events")
    starts = starts[:used]
    end = int(starts[-1] + 1 + payload * is_long[starts[-1]]) if used else 0
    if end > len(counts):
        raise DecodeError("a part of an ECF chunk ends within the count of a code")
    return starts, end


def _pairs(codes: npt.NDArray[np.uint8], wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the 16-bit number in the two bytes after each wanted byte; for the last two bytes it has no meaning."""
    at = np.flatnonzero(wanted)
    behind = np.append(codes, np.zeros(2, np.uint8))
    return behind[at + 1].astype(np.int64) | behind[at + 2].astype(np.int64) << 8


def _words(data: bytes, at: int, dtype: str, count: int) -> np.ndarray:
    if at + count * np.dtype(dtype).itemsize > len(data):
        raise DecodeError(f"an ECF chunk ends within its packed events, {count} words from byte {at}")
    return np.frombuffer(data, dtype, count, at)
