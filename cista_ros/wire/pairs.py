"""Encodings of event_camera_msgs that give each event 64 bits, and stand for themselves in each packet.

`libcaer` is the memory of libcaer's polarity events: a word of data (bit 0 validity, which is not looked at, bit 1
polarity, bits 2-16 y, bits 17-31 x) and one of 31 bits of microseconds since time_base (ns), which come round every
36 minutes. `mono`: bits 0-31 nanoseconds since time_base, 32-47 x, 48-62 y, 63 polarity.
"""

from __future__ import annotations

import numpy as np

from ..events import EVENT_DTYPE, NO_TRIGGERS
from .bits import as_words

_US_BITS, _US_MASK = 31, (1 << 31) - 1


class PairDecoder:
    """Decodes packets; nothing in them can be unplaced or unknown."""

    unplaced_events = unknown_words = 0

    def lose(self) -> None:
        """Packets are missing here, which matters to none."""

    def take_triggers(self) -> np.ndarray:
        """These encodings have no triggers."""
        return NO_TRIGGERS


class LibcaerDecoder(PairDecoder):
    """Decodes `libcaer`."""

    def decode_packet(self, data: np.ndarray, time_base: int) -> np.ndarray:
        """Events (N,) of a packet's bytes (uint8), in sensor time."""
        pairs = as_words(data, np.uint64)
        events = np.empty(len(pairs), EVENT_DTYPE)
        events["x"] = (pairs >> 17) & 0x7FFF
        events["y"] = (pairs >> 2) & 0x7FFF
        events["p"] = (pairs & 2) != 0
        us = ((pairs >> 32) & _US_MASK).view(np.int64)
        half, steps = 1 << (_US_BITS - 1), np.diff(us)
        if (steps < -half).any():
            # A straggler of before the roll-over goes back over it, but not further: a long step is else a long time.
            rolls = np.cumsum((steps < -half).astype(np.int64) - (steps > half))
            us[1:] += (rolls - np.minimum(np.minimum.accumulate(rolls), 0)) << _US_BITS
        us *= 1000
        us += time_base
        events["t"] = us
        return events


class MonoDecoder(PairDecoder):
    """Decodes `mono`."""

    def decode_packet(self, data: np.ndarray, time_base: int) -> np.ndarray:
        """Events (N,) of a packet's bytes (uint8), in sensor time."""
        pairs = as_words(data, np.uint64)
        events = np.empty(len(pairs), EVENT_DTYPE)
        events["x"] = (pairs >> 32) & 0xFFFF
        events["y"] = (pairs >> 48) & 0x7FFF
        events["p"] = pairs >> 63
        t = (pairs & 0xFFFFFFFF).view(np.int64)
        t += time_base
        events["t"] = t
        return events


class LibcaerEncoder:
    """Encodes `libcaer`."""

    def encode_packet(self, events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
        """(bytes, time_base) of events (N,).

        Raises ValueError if times differ by a part of a microsecond or by more than 36 minutes, or if a coordinate has
        more than 15 bits.
        """
        time_base, dt = _since_first(events, _US_MASK * 1000, "libcaer")
        us = dt // 1000
        if (us * 1000 != dt).any():
            raise ValueError("times that differ by a part of a microsecond, which libcaer cannot tell")
        if len(events) and max(events["x"].max(), events["y"].max()) > 0x7FFF:
            raise ValueError("a coordinate of more than 15 bits, which libcaer cannot hold")
        x, y, p = (events[name].astype(np.uint64) for name in "xyp")
        pairs = (us.view(np.uint64) << np.uint64(32)) | (x << np.uint64(17)) | (y << np.uint64(2)) | (p << np.uint64(1))
        return (pairs | np.uint64(1)).astype("<u8").tobytes(), time_base


class MonoEncoder:
    """Encodes `mono`."""

    def encode_packet(self, events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
        """(bytes, time_base) of events (N,); ValueError if they span more than 4.2 s, or y has more than 15 bits."""
        time_base, dt = _since_first(events, 0xFFFFFFFF, "mono")
        if len(events) and events["y"].max() > 0x7FFF:
            raise ValueError("a row of more than 15 bits, which mono cannot hold")
        x, y, p = (events[name].astype(np.uint64) for name in "xyp")
        pairs = dt.view(np.uint64) | (x << np.uint64(32)) | (y << np.uint64(48)) | (p << np.uint64(63))
        return pairs.astype("<u8").tobytes(), time_base


def _since_first(events: np.ndarray, longest: int, encoding: str) -> tuple[int, np.ndarray]:
    """The earliest time and each event's distance from it; ValueError if that is negative or the longest too long."""
    if not len(events):
        return 0, np.empty(0, np.int64)
    t = events["t"]
    first = int(t.min())
    if first < 0:
        raise ValueError("a time before 1970, which no packet can hold")
    if int(t.max()) - first > longest:
        raise ValueError(f"a packet of more than {longest / 1e9:.1f} s, which {encoding} cannot hold")
    return first, t - first
