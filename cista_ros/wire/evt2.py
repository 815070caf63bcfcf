"""Decode Prophesee's EVT 2.0 and 2.1 from RAW files, without a loop over words.

https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html and evt21.html. A word of EVT2 has 32 bits: bits 28-31
type, 22-27 the lower 6 bits of the time in microseconds, 11-21 x, 0-10 y; the upper 28 bits of the time come in words
of their own. A word of EVT2.1 is such a word and 32 bits that say which of the pixels x to x + 31 fired.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..events import EVENT_DTYPE, concatenate, make_triggers
from .word_stream import Decoder, PacketCounts, RollOver

_ON, _TIME_HIGH, _TRIGGER, _OTHERS = 1, 0x8, 0xA, 0xE  # types; 0 is a darker event, 0xF continues others
_BLOCK = 1 << 16  # words decoded at once, so that temporary arrays stay in the CPU cache
_HIGH_BITS, _LOW_BITS, _LOW = 28, 6, 0x3F


class Evt2Decoder(Decoder):
    """Decodes one stream of words, in pieces of any length."""

    def __init__(self, counts: PacketCounts) -> None:
        super().__init__(counts)
        self._highs = RollOver(_HIGH_BITS)

    def decode(self, words: npt.NDArray[np.uint32], masks: npt.NDArray[np.uint32] | None = None) -> np.ndarray:
        """Return the events (N,) of words (W,); of EVT2.1 with `masks` (W,), the lower halves of its words."""
        blocks = range(0, len(words), _BLOCK)
        return concatenate([self._decode(words[i : i + _BLOCK], masks, i) for i in blocks])

    def _decode(self, words: np.ndarray, masks: np.ndarray | None, offset: int) -> np.ndarray:
        kinds = words >> 28
        at = np.flatnonzero(kinds <= _ON)
        high_at = np.flatnonzero(kinds == _TIME_HIGH)
        before = self._highs.last
        placed_from = 0 if before is not None else int(high_at[0]) if len(high_at) else len(words)
        highs = self._highs((words[high_at] & ((1 << _HIGH_BITS) - 1)).astype(np.int64))
        highs = np.concatenate(([before or 0], highs))  # the upper part before the first of these words, and after each
        if len(at) + len(high_at) < len(words):
            self._take_others(words, kinds, high_at, highs, placed_from)
        cd = words[at]
        t = np.repeat(highs << _LOW_BITS, np.diff(np.searchsorted(at, high_at), prepend=0, append=len(at)))
        t += (cd >> 22) & _LOW
        t *= 1000
        x = (cd >> 11) & 0x7FF
        if masks is not None:
            bits = masks[offset : offset + len(words)][at].astype("<u4").view(np.uint8).reshape(-1, 4)
            which, bit = np.nonzero(np.unpackbits(bits, axis=1, bitorder="little"))
            at, cd, t, x = at[which], cd[which], t[which], x[which] + bit
        events = np.empty(len(at), EVENT_DTYPE)
        events["t"], events["x"], events["y"], events["p"] = t, x, cd & 0x7FF, (cd >> 28) == _ON
        unplaced = int(np.searchsorted(at, placed_from))
        self._counts.unplaced_events += unplaced
        return events[unplaced:]

    def _take_others(
        self, words: np.ndarray, kinds: np.ndarray, high_at: np.ndarray, highs: np.ndarray, placed_from: int
    ) -> None:
        """Keep the triggers, and count the words of unknown types."""
        known = (kinds <= _ON) | (kinds == _TIME_HIGH) | (kinds == _TRIGGER) | (kinds >= _OTHERS)
        self._counts.unknown_words += int(np.count_nonzero(~known))
        at = np.flatnonzero(kinds == _TRIGGER)
        if len(at := at[at >= placed_from]):
            us = (highs[np.searchsorted(high_at, at)] << _LOW_BITS) + ((words[at] >> 22) & _LOW)
            self._triggers.append(make_triggers(us * 1000, (words[at] >> 8) & 0x1F, words[at] & 1))
