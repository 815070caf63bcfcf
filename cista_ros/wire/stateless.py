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

from collections.abc import Callable

import numpy as np

from ..events import EVENT_DTYPE, NO_TRIGGERS, NS
from .word_stream import Decoder, Layout, PacketCounts, as_words, encode_words, whole_microseconds

_US_BITS, _US_MASK = 31, (1 << 31) - 1
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


class StatelessDecoder(Decoder):
    """Decodes self-contained packets by a function of their bytes (uint8) and time_base (ns)."""

    def __init__(self, decode: Callable[[np.ndarray, int], np.ndarray], counts: PacketCounts) -> None:
        super().__init__(counts)
        self.decode_packet = decode


def decode_libcaer(data: np.ndarray, time_base: int) -> np.ndarray:
    """Return the events (N,) of a packet, in sensor time."""
    pairs = as_words(data, np.uint64)
    events = np.empty(len(pairs), EVENT_DTYPE)
    events["x"] = (pairs >> 17) & 0x7FFF
    events["y"] = (pairs >> 2) & 0x7FFF
    events["p"] = (pairs & 2) != 0
    us = ((pairs >> 32) & _US_MASK).view(np.int64)
    half, steps = 1 << (_US_BITS - 1), np.diff(us)
    if (steps < -half).any():
        # A late event from before the roll-over steps back over it, but no further: a long step up is else time.
        rolls = np.cumsum((steps < -half).astype(np.int64) - (steps > half))
        us[1:] += (rolls - np.minimum(np.minimum.accumulate(rolls), 0)) << _US_BITS
    us *= 1000
    us += time_base
    events["t"] = us
    return events


def encode_libcaer(events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
    """Return (bytes, time_base) of events (N,).

    Raises:
        ValueError: times differ by a fraction of a microsecond or by more than 36 minutes, or a coordinate has more
            than 15 bits.
    """
    time_base, dt = _since_first(events, _US_MASK * 1000, "libcaer")
    us = dt // 1000
    if (us * 1000 != dt).any():
        raise ValueError("times that differ by a fraction of a microsecond, which libcaer cannot hold")
    if len(events) and max(events["x"].max(), events["y"].max()) > 0x7FFF:
        raise ValueError("a coordinate of more than 15 bits, which libcaer cannot hold")
    x, y, p = (events[name].astype(np.uint64) for name in "xyp")
    pairs = (us.view(np.uint64) << np.uint64(32)) | (x << np.uint64(17)) | (y << np.uint64(2)) | (p << np.uint64(1))
    return (pairs | np.uint64(1)).astype("<u8").tobytes(), time_base


def encode_libcaer_cmp(events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
    """Return (bytes, time_base) of events (N,).

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


def decode_mono(data: np.ndarray, time_base: int) -> np.ndarray:
    """Return the events (N,) of a packet, in sensor time."""
    pairs = as_words(data, np.uint64)
    events = np.empty(len(pairs), EVENT_DTYPE)
    events["x"] = (pairs >> 32) & 0xFFFF
    events["y"] = (pairs >> 48) & 0x7FFF
    events["p"] = pairs >> 63
    events["t"] = (pairs & 0xFFFFFFFF).view(np.int64) + time_base
    return events


def encode_mono(events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> tuple[bytes, int]:
    """Return (bytes, time_base) of events (N,); raises ValueError if they span more than 4.2 s or y exceeds 15 bits."""
    time_base, dt = _since_first(events, 0xFFFFFFFF, "mono")
    if len(events) and events["y"].max() > 0x7FFF:
        raise ValueError("a row of more than 15 bits, which mono cannot hold")
    x, y, p = (events[name].astype(np.uint64) for name in "xyp")
    pairs = dt.view(np.uint64) | (x << np.uint64(32)) | (y << np.uint64(48)) | (p << np.uint64(63))
    return pairs.astype("<u8").tobytes(), time_base


def _since_first(events: np.ndarray, longest: int, encoding: str) -> tuple[int, np.ndarray]:
    """Return the earliest time (ns), and each event's distance (N,) from it.

    Raises:
        ValueError: it is negative, or the longest distance is more than `longest`, which `encoding` cannot hold.
    """
    if not len(events):
        return 0, np.empty(0, np.int64)
    t = events["t"]
    first = int(t.min())
    if first < 0:
        raise ValueError("a time before 1970, which no packet can hold")
    if int(t.max()) - first > longest:
        raise ValueError(f"a packet of more than {longest / NS:.1f} s, which {encoding} cannot hold")
    return first, t - first
