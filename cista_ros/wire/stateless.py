"""event_camera_msgs' encodings of self-contained packets: `mono`, and iniVation's `libcaer` and `libcaer_cmp`.

`mono` has 64 bits per event: bits 0-31 are nanoseconds since time_base, 32-47 x, 48-62 y, 63 polarity.

`libcaer` is the memory of libcaer's polarity events: a 32-bit word of data (bit 0 validity, which is ignored, bit 1
polarity, bits 2-16 y, bits 17-31 x) and one of 31 bits of microseconds since time_base (ns), which roll over every
36 minutes.

`libcaer_cmp` has 16-bit words like EVT3's, but holds columns instead of rows. Its time counts from time_base, the
sensor time of the first event, of which whole microseconds are used. Source: driver and decoder of
github.com/ros-event-camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..events import EVENT_DTYPE, NO_TRIGGERS, NS
from .word_stream import Decoder, Layout, PacketCounts, as_words, encode_words, whole_microseconds

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


@dataclass(frozen=True)
class PairLayout:
    """The bits of an event of 64 bits: for "t", "x", "y" and "p" the lowest bit and the number of bits.

    Attributes:
        unit: of the time since time_base, in ns.
        rolls_over: whether the time may roll over within a packet.
        flags: bits that are set in each event.
    """

    name: str
    fields: Mapping[str, tuple[int, int]]
    unit: int = 1
    rolls_over: bool = False
    flags: int = 0


LIBCAER = PairLayout("libcaer", {"t": (32, 31), "x": (17, 15), "y": (2, 15), "p": (1, 1)}, 1000, True, flags=1)
MONO = PairLayout("mono", {"t": (0, 32), "x": (32, 16), "y": (48, 15), "p": (63, 1)})


class PairDecoder(Decoder):
    """Decodes self-contained packets of pairs of 32-bit words."""

    def __init__(self, layout: PairLayout, counts: PacketCounts) -> None:
        super().__init__(counts)
        self._layout = layout

    def decode_packet(self, data: np.ndarray, time_base: int) -> np.ndarray:
        """Return the events (N,) of a packet's bytes (uint8), in sensor time; `time_base` is in ns."""
        pairs = as_words(data, np.uint64)
        events = np.empty(len(pairs), EVENT_DTYPE)
        for name, (at, bits) in self._layout.fields.items():
            values = (pairs >> at & ((1 << bits) - 1)).view(np.int64)
            if name == "t":
                if self._layout.rolls_over:
                    _unroll(values, 1 << (bits - 1))
                values *= self._layout.unit
                values += time_base
            events[name] = values
        return events


def _unroll(t: np.ndarray, half: int) -> None:
    """Add the roll-overs of a packet to its times (N,), in place; `half` is half of their range.

    A late event from before a roll-over steps back over it, but no further: a long step up is else time.
    """
    steps = np.diff(t)
    if (steps < -half).any():
        rolls = np.cumsum((steps < -half).astype(np.int64) - (steps > half))
        t[1:] += (rolls - np.minimum(np.minimum.accumulate(rolls), 0)) * 2 * half


def encode_pairs(layout: PairLayout, events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
    """Return (bytes, time_base in ns) of events (N,).

    Raises:
        ValueError: a time before 1970, times that differ by a fraction of the unit or by too much, or a coordinate with
            too many bits.
    """
    if not len(events):
        return b"", 0
    time_base = int(events["t"].min())
    dt = events["t"] - time_base
    longest = ((1 << layout.fields["t"][1]) - 1) * layout.unit
    if time_base < 0:
        raise ValueError("a time before 1970, which no packet can hold")
    if int(dt.max()) > longest:
        raise ValueError(f"a packet of more than {longest / NS:.1f} s, which {layout.name} cannot hold")
    t = dt if layout.unit == 1 else dt // layout.unit
    if layout.unit > 1 and (t * layout.unit != dt).any():
        raise ValueError(f"times that differ by a fraction of a microsecond, which {layout.name} cannot hold")
    pairs = np.left_shift(t, layout.fields["t"][0], dtype=np.int64).view(np.uint64)
    pairs |= np.uint64(layout.flags)
    for name in "xyp":
        at, bits = layout.fields[name]
        if name != "p" and int(events[name].max()) >= 1 << bits:
            raise ValueError(f"{name} of more than {bits} bits, which {layout.name} cannot hold")
        values = events[name].astype(np.uint64)
        values <<= np.uint64(at)
        pairs |= values
    return pairs.astype("<u8").tobytes(), time_base


def encode_libcaer_cmp(events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
    """Return (bytes, time_base in ns) of events (N,).

    Raises:
        ValueError: a time is not a whole number of microseconds, they span more than 16.8 s, or a coordinate has more
            than 11 bits.
    """
    if not len(events):
        return b"", 0
    us = whole_microseconds(events["t"])
    first = int(us.min())
    if int(us.max()) - first >= _LONGEST_US:
        raise ValueError("a packet of more than 16.8 s, which libcaer_cmp cannot hold")
    return encode_words(LAYOUT, events, us - first).astype("<u2").tobytes(), first * 1000
