"""Prophesee's EVT 3.0 in event_camera_msgs: the sensor's own 16-bit words, little-endian.

https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html. The time has 24 bits of microseconds and rolls over
every 16.8 s. Roll-overs are counted from the first packet, so that a stream begins somewhere in its first 16.8 s.
"""

from __future__ import annotations

import numpy as np

from ..events import NO_TRIGGERS
from .word_stream import PAYLOAD, STEP_BACK, Layout, encode_words, whole_microseconds

TIME_HIGH = 0x8
LAYOUT = Layout(
    time_high=TIME_HIGH,
    time_low=0x6,
    held="y",
    address_held=0x0,
    own="x",
    address_own=0x2,
    vector_base=0x3,
    vectors={0x4: 12, 0x5: 8},
    trigger=0xA,
    ignored=(0x7, 0x9, 0xE, 0xF),  # continued (4 bits), padding, others, continued (12 bits)
)
PERIOD_NS = (1 << 24) * 1000
_FILLER = (PAYLOAD + 1) // 2  # steps of the time's upper half that cannot be taken for a step back


class Evt3Encoder:
    """Encodes one stream of events. Each packet can be decoded by itself, except for the roll-overs of its time."""

    def __init__(self) -> None:
        self._high: int | None = None

    def encode_packet(self, events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
        """Return (bytes, time_base) of events (N,) and triggers (M,) of TRIGGER_DTYPE, each in time order.

        Raises:
            ValueError: a time is not a whole number of microseconds or goes back by more than 41 ms, a coordinate has
                more than 11 bits, or the number of a trigger more than 4.
        """
        words: list[np.ndarray] = []
        # Times may go back a little: cut where the latest time so far passes a trigger, so that no event comes twice.
        latest = np.maximum.accumulate(events["t"]) if len(triggers) else events["t"]
        cuts = np.searchsorted(latest, np.maximum.accumulate(triggers["t"]))
        for part, trigger in zip(np.split(events, cuts), [*triggers, None], strict=True):
            words += self._events(part)
            if trigger is not None:
                words += self._trigger(trigger)
        return b"".join(part.astype("<u2").tobytes() for part in words), 0

    def _events(self, events: np.ndarray) -> list[np.ndarray]:
        us = whole_microseconds(events["t"])
        words = []
        for part in np.split(np.arange(len(events)), np.flatnonzero(np.diff(us >> 12) >= _FILLER) + 1):
            if len(part):
                words += [self._fillers(us[part]), encode_words(LAYOUT, events[part], us[part])]
        return words

    def _trigger(self, trigger: np.void) -> list[np.ndarray]:
        us, number = whole_microseconds(np.array([trigger["t"]])), int(trigger["id"])
        if number > 15:
            raise ValueError(f"a trigger on input {number}: evt3 has inputs 0 to 15")
        time = int(us[0])
        high, low = (LAYOUT.time_high << 12) | (time >> 12 & PAYLOAD), (LAYOUT.time_low << 12) | (time & PAYLOAD)
        return [self._fillers(us), np.array([high, low, (LAYOUT.trigger << 12) | (number << 8) | int(trigger["p"])])]

    def _fillers(self, us: np.ndarray) -> np.ndarray:
        """Return words that advance the time to the first of these events; else a pause could hide a roll-over."""
        highs = us >> 12
        before = int(highs[0]) if self._high is None else self._high
        if np.diff(highs, prepend=before).min() < -STEP_BACK:
            raise ValueError(f"time goes back by more than {STEP_BACK * 4.096:.0f} ms, which evt3 cannot hold")
        self._high = int(highs[-1])
        return np.asarray((np.arange(before + _FILLER, int(highs[0]), _FILLER) & PAYLOAD) | (TIME_HIGH << 12))
