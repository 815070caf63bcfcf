"""Decode streams of 16-bit words, the form of EVT3 and libcaer_cmp, without a loop over words.

A word is a 4-bit code and 12 bits of payload. Most words set one part of the events that follow: the upper or lower
half of the time, the held coordinate, or the base of a vector. An address word is one event. A vector word is one event
for each bit that is set. Each part of an event has the value of the last word that set it, so that a value is repeated
as often as there are events before the next word that sets the same part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import EVENT_DTYPE, NO_TRIGGERS, concatenate, make_triggers

ADDRESS, POLARITY, PAYLOAD = 0x7FF, 0x800, 0xFFF
US = 1000  # nanoseconds in a step of the lower half of the time
_BLOCK = 1 << 15  # words decoded at once, so that temporary arrays stay in the CPU cache
# The upper half of the time may step back by this much, because of bit errors; a larger step is a roll-over.
STEP_BACK = 10
_HALF_BITS = 12  # of each half of the time
_FARTHEST = 0xFFF0  # limit for vectors that continue without a new base: outside every sensor, and still a uint16
_ONES = np.array([bin(n).count("1") for n in range(PAYLOAD + 1)], np.int64)


class RollOver:
    """Counts the roll-overs of the times of one stream, which have few bits.

    Args:
        bits: of a time.
        step_back: the most by which times go back without a roll-over; by default up to half their range.

    Attributes:
        last: the last time, with its roll-overs; None at the start.
    """

    def __init__(self, bits: int, step_back: int | None = None) -> None:
        self._period = 1 << bits
        self._back = self._period // 2 - 1 if step_back is None else step_back
        self.last: int | None = None

    def __call__(self, t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the next times (N,) of the stream with their roll-overs; they are changed in place."""
        if not len(t):
            return t
        last = int(t[0]) if self.last is None else self.last
        before = last % self._period
        steps = np.diff(t, prepend=before)
        if steps.min() < -self._back or steps.max() >= self._period - self._back:
            rolls = (steps < -self._back).astype(np.int64) - (steps >= self._period - self._back)
            t += np.cumsum(rolls) * self._period
        if last != before:
            t += last - before
        self.last = int(t[-1])
        return t


@dataclass
class PacketCounts:
    """Counts of what could not be decoded in a stream of packets.

    Attributes:
        missing_packets: packets that did not arrive, by the gaps in `seq`.
        unplaced_events: events dropped because their coordinate or time was not known yet, at the beginning and after
            a gap.
        unknown_words: words skipped because their code is unknown.
    """

    missing_packets: int = 0
    unplaced_events: int = 0
    unknown_words: int = 0

    def __str__(self) -> str:
        """Describe the counts above 0; empty if all are 0."""
        names = {
            "packets missing": self.missing_packets,
            "events dropped whose place or time was not known yet": self.unplaced_events,
            "words of unknown code": self.unknown_words,
        }
        return ", ".join(f"{n} {what}" for what, n in names.items() if n)


class Decoder:
    """Base of the decoders of packets.

    Args:
        counts: where to count what cannot be decoded.
    """

    def __init__(self, counts: PacketCounts) -> None:
        self._counts = counts
        self._triggers: list[np.ndarray] = []

    def lose(self) -> None:
        """Forget what missing words may have set. Counting of roll-overs continues."""

    def take_triggers(self) -> np.ndarray:
        """Return the triggers (N,) of TRIGGER_DTYPE decoded since the last call."""
        triggers, self._triggers = self._triggers, []
        return np.concatenate(triggers) if triggers else NO_TRIGGERS


@dataclass(frozen=True)
class Layout:
    """The codes of an encoding. One coordinate is held until it is set again; the other is in each address word."""

    time_high: int
    time_low: int
    held: str  # "x" or "y"
    address_held: int
    own: str  # the other one
    address_own: int  # emits an event
    vector_base: int  # of the event's own coordinate
    vectors: Mapping[int, int]  # code -> pixels: emits an event for each bit set, and advances the base by the pixels
    trigger: int = 16  # an edge on an external input: bits 8-11 are its number, bit 0 the level after it; 16: none
    ignored: tuple[int, ...] = ()  # known codes that concern no pixel
    from_zero: bool = False  # time starts at zero in each packet and never rolls over; else it is unknown until set

    @cached_property
    def widths(self) -> npt.NDArray[np.int64]:
        """Pixels of a vector by code (16,); 0 for all other words."""
        return np.array([self.vectors.get(code, 0) for code in range(16)])

    @cached_property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """Whether a code is unknown (16,)."""
        known = {self.time_high, self.time_low, self.address_held, self.address_own, self.vector_base, self.trigger}
        return np.array([code not in known | {*self.vectors, *self.ignored} for code in range(16)])


class WordDecoder(Decoder):
    """Decodes one stream of words, in pieces of any length."""

    def __init__(self, layout: Layout, counts: PacketCounts) -> None:
        super().__init__(counts)
        self._layout = layout
        self._highs = RollOver(_HALF_BITS, STEP_BACK)
        self._base_p = False
        self.lose()

    def lose(self) -> None:
        self._has_high = self._timed = self._layout.from_zero
        self._low = 0
        self._held: int | None = None
        self._base: int | None = None

    def decode_packet(self, data: npt.NDArray[np.uint8], time_base: int) -> np.ndarray:
        """Return the events (N,) of a packet's bytes, in sensor time.

        `time_base` (ns), of which whole microseconds count, is used only if time starts at zero in each packet.
        """
        words = as_words(data, np.uint16)
        if not self._layout.from_zero:
            return self.decode(words)
        self.lose()
        self._highs.last = None
        return self.decode(words, time_base // US * US)

    def decode(self, words: npt.NDArray[np.uint16], origin: int = 0) -> np.ndarray:
        """Return events (N,) of EVENT_DTYPE; `origin` is the time (ns) from which roll-overs are counted."""
        return concatenate([self._decode(words[at : at + _BLOCK], origin) for at in range(0, len(words), _BLOCK)])

    def _decode(self, words: npt.NDArray[np.uint16], origin: int) -> np.ndarray:
        layout = self._layout
        codes = words >> 12
        singles = np.flatnonzero(codes == layout.address_own)
        others = np.flatnonzero(codes != layout.address_own)
        codes, payloads = codes[others], words[others]
        payloads &= PAYLOAD
        held, low, high = (
            np.flatnonzero(codes == code) for code in (layout.address_held, layout.time_low, layout.time_high)
        )
        so_far = others - np.arange(len(others))  # number of events before each of the other words
        at: slice | npt.NDArray[np.int64] = slice(len(singles))  # indices of the events of address words
        vectors = None
        total = len(singles)
        if len(held) + len(low) + len(high) < len(others) and (vectors := self._vectors(codes, payloads)):
            bits = np.zeros(len(others) + 1, np.int64)
            bits[1:][vectors.at] = _ONES[vectors.masks]
            bits = np.cumsum(bits)
            so_far += bits[1:]
            singles_so_far = np.arange(len(singles))
            at = singles_so_far + bits[singles - singles_so_far]
            total += int(bits[-1])

        events = np.empty(total, EVENT_DTYPE)
        own = words[singles]
        events[layout.own][at] = own & ADDRESS
        events["p"][at] = (own & POLARITY) != 0
        if vectors:
            vectors.write(so_far, events[layout.own], events["p"])
        timed_from = self._timed_from(low, high, len(others))
        known_time = 0 if timed_from < 0 else int(so_far[timed_from]) if timed_from < len(others) else total
        known_place = 0 if self._held is not None else int(so_far[held[0]]) if len(held) else total
        known = max(known_place, known_time)
        places = np.concatenate((np.array([self._held or 0], np.uint16), payloads[held] & ADDRESS))
        self._held = int(places[-1]) if len(held) else self._held
        events[layout.held] = _spread(places, so_far[held], total)
        highs, changes = self._high_times(payloads[high])
        lows = np.concatenate(([self._low], payloads[low]))
        self._low = int(lows[-1])
        t = _spread(highs * (US << 12) + origin, so_far[high[changes]], total)
        t += _spread(lows * US, so_far[low], total)
        events["t"] = t
        at_trigger = np.flatnonzero(codes == layout.trigger)
        if len(at_trigger := at_trigger[at_trigger > timed_from]):
            times = highs[np.searchsorted(high[changes], at_trigger)] * (US << 12) + origin
            times += lows[np.searchsorted(low, at_trigger)] * np.int64(US)
            self._triggers.append(make_triggers(times, payloads[at_trigger] >> 8, payloads[at_trigger] & 1))
        self._counts.unplaced_events += known
        return events[known:]

    def _timed_from(self, low: np.ndarray, high: np.ndarray, words: int) -> int:
        """Return the index of the word from which the time is known: the first lower half after an upper half.

        It is -1 if the time was known before, and `words` (their number) if it is still unknown after the last.
        """
        if self._timed:
            return -1
        completing = low[np.searchsorted(low, high[0]) :] if len(high) and not self._has_high else low
        self._has_high |= len(high) > 0
        self._timed = self._has_high and len(completing) > 0
        return int(completing[0]) if self._timed else words

    def _high_times(self, payloads: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the upper half of the time with roll-overs (n + 1,), and the words that change it (n,).

        The first value is the one before all words. Sensors repeat the upper half far more often than it changes.
        """
        highs = self._highs
        if highs.last is None and len(payloads):
            highs.last = 0 if self._layout.from_zero else int(payloads[0])
        before = highs.last or 0
        previous = np.concatenate((np.array([before & PAYLOAD], np.uint16), payloads[:-1]))[: len(payloads)]
        changes = np.flatnonzero(payloads != previous)
        values = payloads[changes].astype(np.int64)
        if not self._layout.from_zero:
            values = highs(values)
        elif len(values):
            highs.last = int(values[-1])
        return np.concatenate(([before], values)), changes

    def _vectors(self, codes: np.ndarray, payloads: np.ndarray) -> Vectors | None:
        """Return the words that concern vectors, if there are any, and count unknown words."""
        layout = self._layout
        at = np.flatnonzero((codes != layout.address_held) & (codes != layout.time_low) & (codes != layout.time_high))
        codes = codes[at]
        widths = layout.widths[codes]
        is_base = codes == layout.vector_base
        if not (wanted := is_base | (widths > 0)).all():
            self._counts.unknown_words += int(np.count_nonzero(layout.unknown[codes]))
            at, widths, is_base = at[wanted], widths[wanted], is_base[wanted]
        if not len(at):
            return None
        payloads = payloads[at]
        base_at, vector_at = np.flatnonzero(is_base), np.flatnonzero(~is_base)
        latest = vector_at - np.arange(len(vector_at))  # index of the base of each vector
        widths = widths[vector_at]
        passed = np.concatenate(([0], np.cumsum(widths)))  # pixels of all vectors before each
        starts = payloads[base_at]
        bases = np.concatenate(([self._base or 0], (starts & ADDRESS) - passed[base_at - np.arange(len(base_at))]))
        polarities = np.concatenate(([self._base_p], (starts & POLARITY) != 0))
        first = np.minimum(bases[latest] + passed[:-1], _FARTHEST)
        masks = payloads[vector_at] & ((1 << widths) - 1)
        baseless = 0 if self._base is not None else int(np.searchsorted(latest, 1))
        self._counts.unplaced_events += int(_ONES[masks[:baseless]].sum())
        if self._base is not None or len(base_at):
            self._base, self._base_p = min(int(bases[-1] + passed[-1]), _FARTHEST), bool(polarities[-1])
        based = slice(baseless, None)
        return Vectors(at[vector_at][based], first[based], polarities[latest][based], masks[based])


@dataclass(frozen=True)
class Vectors:
    """Vector words (M,): their indices, the coordinate of the first bit, the polarity, and the bits that are set."""

    at: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    p: npt.NDArray[np.bool_]
    masks: npt.NDArray[np.int64]

    def write(self, so_far: np.ndarray, own: np.ndarray, p: np.ndarray) -> None:
        """Write the coordinates and polarities of the events. `so_far` is the number of events up to each word."""
        set_bits = np.unpackbits(self.masks.astype("<u2").view(np.uint8), bitorder="little")
        ones = _ONES[self.masks]
        columns = np.flatnonzero(set_bits.view(np.bool_)) & 15
        columns += np.repeat(self.first, ones)
        at: slice | npt.NDArray[np.int64] = slice(None)
        if len(columns) < len(own):  # there are address words too
            at = np.arange(len(columns)) + np.repeat(so_far[self.at] - np.cumsum(ones), ones)
        own[at], p[at] = columns, np.repeat(self.p, ones)


def _spread(values: np.ndarray, so_far: np.ndarray, total: int) -> np.ndarray:
    """Repeat values (n + 1,) to one for each event (total,): the first before n words, the others after each of them.

    `so_far` (n,) is the number of events up to each of these words.
    """
    repeats = np.empty(len(values), np.int64)
    repeats[:-1] = so_far
    repeats[-1] = total
    repeats[1:] -= so_far
    return np.repeat(values, repeats)


def encode_words(layout: Layout, events: np.ndarray, us: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Return the words (N,) of events (at least one) at these microseconds, of which 24 bits are kept; no vectors.

    Before the first event come all words that a decoder needs, before the others those that change.

    Raises:
        ValueError: a coordinate has more than 11 bits.
    """
    held, own = events[layout.held], events[layout.own]
    if max(held.max(), own.max()) > ADDRESS:
        raise ValueError(f"an event at x={events['x'].max()}, y={events['y'].max()}: a word holds at most {ADDRESS}")
    parts = (
        (layout.time_high, (us >> 12) & PAYLOAD),
        (layout.time_low, us & PAYLOAD),
        (layout.address_held, held),
    )
    words, wanted = np.empty((len(events), 4), np.uint16), np.ones((len(events), 4), np.bool_)
    for column, (code, values) in enumerate(parts):
        words[:, column] = values | (code << 12)
        np.not_equal(values[1:], values[:-1], out=wanted[1:, column])
    words[:, 3] = own | (events["p"] * np.uint16(POLARITY)) | (layout.address_own << 12)
    return words[wanted]


def as_words(data: npt.NDArray[np.uint8], dtype: npt.DTypeLike) -> np.ndarray:
    """Return bytes (N,) as little-endian words (N / itemsize,), a view where possible.

    Raises:
        DecodeError: the last word is incomplete.
    """
    dtype = np.dtype(dtype)
    if len(data) % dtype.itemsize:
        raise DecodeError(f"events has {len(data)} bytes; expected a multiple of {dtype.itemsize}: the packet is cut")
    words = data.view(dtype.newbyteorder("<"))
    return np.require(words, dtype, "A")


def whole_microseconds(t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return nanoseconds (N,) as microseconds; raises ValueError if one has a fraction."""
    us = t // 1000
    if (us * 1000 != t).any():
        raise ValueError("a time that is not a whole number of microseconds")
    return us
