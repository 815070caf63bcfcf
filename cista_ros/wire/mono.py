"""event_camera_msgs' encoding `mono`: 64 bits an event; each packet is self-contained.

Bits 0-31 are nanoseconds since time_base, 32-47 x, 48-62 y, 63 polarity.
"""

from __future__ import annotations

import numpy as np

from ..events import EVENT_DTYPE, NO_TRIGGERS
from .libcaer import StatelessDecoder, since_first
from .word_stream import as_words


class MonoDecoder(StatelessDecoder):
    """Decodes `mono`."""

    def decode_packet(self, data: np.ndarray, time_base: int) -> np.ndarray:
        """Return the events (N,) of a packet's bytes (uint8), in sensor time."""
        pairs = as_words(data, np.uint64)
        events = np.empty(len(pairs), EVENT_DTYPE)
        events["x"] = (pairs >> 32) & 0xFFFF
        events["y"] = (pairs >> 48) & 0x7FFF
        events["p"] = pairs >> 63
        t = (pairs & 0xFFFFFFFF).view(np.int64)
        t += time_base
        events["t"] = t
        return events


class MonoEncoder:
    """Encodes `mono`."""

    def encode_packet(self, events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
        """Return (bytes, time_base) of events (N,).

        Raises:
            ValueError: they span more than 4.2 s, or y has more than 15 bits.
        """
        time_base, dt = since_first(events, 0xFFFFFFFF, "mono")
        if len(events) and events["y"].max() > 0x7FFF:
            raise ValueError("a row of more than 15 bits, which mono cannot hold")
        x, y, p = (events[name].astype(np.uint64) for name in "xyp")
        pairs = dt.view(np.uint64) | (x << np.uint64(32)) | (y << np.uint64(48)) | (p << np.uint64(63))
        return pairs.astype("<u8").tobytes(), time_base
