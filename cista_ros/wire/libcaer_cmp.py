"""event_camera_msgs' encoding `libcaer_cmp` of iniVation cameras: words like EVT3's, columns held instead of rows.

A packet stands for itself: its time is counted from time_base, the sensor time of its first event, of which whole
microseconds are used. Facts: the driver and the decoder of github.com/ros-event-camera.
"""

from __future__ import annotations

import numpy as np

from ..events import NO_TRIGGERS
from .bits import as_words, whole_microseconds
from .word_stream import Layout, WordDecoder, encode_words

LAYOUT = Layout(
    time_high=0,
    time_low=1,
    held="x",
    address_held=2,
    own="y",
    address_own=3,
    vector_base=4,
    vectors={5: 8},
    from_zero=True,
)
_LONGEST_US = 1 << 24


class LibcaerCmpDecoder:
    """Decodes packets, and counts as WordDecoder does."""

    def __init__(self) -> None:
        self.unplaced_events = self.unknown_words = 0

    def lose(self) -> None:
        """Packets are missing here, which matters to none."""

    def take_triggers(self) -> np.ndarray:
        """This encoding has no triggers."""
        return NO_TRIGGERS

    def decode_packet(self, data: np.ndarray, time_base: int) -> np.ndarray:
        """Events (N,) of a packet's bytes (uint8), in sensor time."""
        decoder = WordDecoder(LAYOUT)
        events = decoder.decode(as_words(data, np.uint16), time_base // 1000 * 1000)
        self.unplaced_events += decoder.unplaced_events
        self.unknown_words += decoder.unknown_words
        return events


class LibcaerCmpEncoder:
    """Encodes packets."""

    def encode_packet(self, events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
        """(bytes, time_base) of events (N,).

        Raises ValueError if a time is not of whole microseconds, if they span more than 16.8 s, or if a coordinate has
        more than 11 bits.
        """
        if not len(events):
            return b"", 0
        us = whole_microseconds(events["t"])
        first = int(us.min())
        if int(us.max()) - first >= _LONGEST_US:
            raise ValueError("a packet of more than 16.8 s, which libcaer_cmp cannot hold")
        return encode_words(LAYOUT, events, us - first).astype("<u2").tobytes(), first * 1000
