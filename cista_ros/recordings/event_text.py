"""Events as text, a line "t x y p" each (the Event Camera Dataset's events.txt), without a loop over lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import NS, make_events

_LINE = re.compile(rb"(\d{1,10})\.\d+ (\d{1,5}) (\d{1,5}) [01]")
_EXPECTED = "expected 't x y p': seconds with a decimal point, column, row, and 0 or 1"
_LONGEST_LINE = 4096  # bytes
_LONGEST_BLANK = 1 << 20  # bytes between two events; what unpacks to nothing but blanks has no end
_SEPARATORS = np.frombuffer(b".   \n", np.uint8)
MAX_SECONDS, _MAX_COORDINATE = np.iinfo(np.int64).max // NS - 1, 2**16 - 1
_POWERS_OF_TEN = 10 ** np.arange(10, dtype=np.int64)
_BLOCK = 1 << 14  # events formatted at once
_THREE_DIGITS = np.frombuffer(b"".join(b"%03d" % n for n in range(1000)), np.uint8).reshape(1000, 3)


def read_blocks(file: BinaryIO, size: int = 1 << 18) -> Iterator[np.ndarray]:
    """Yield the events (N,) of a text file in blocks of about `size` bytes; DecodeError names a line that is none."""
    line = 1
    rest = b""
    blank = 0
    while block := file.read(size):
        end = block.rfind(b"\n") + 1
        if not end:
            rest += block
            if len(rest) > _LONGEST_LINE:  # do not gather a file without line ends
                raise _no_event(line, rest)
            continue
        text, rest = rest + block[:end], block[end:]
        yield (events := parse(text, line))
        line += text.count(b"\n")
        blank = 0 if len(events) else blank + len(text)
        if blank > _LONGEST_BLANK:
            raise DecodeError(f"line {line}: {blank} bytes without an event; {_EXPECTED}")
    if rest:
        yield parse(rest + b"\n", line)


def parse(text: bytes, first_line: int = 1) -> np.ndarray:
    """The events (N,) of whole lines; time is exact to the nanosecond (further decimals are cut off).

    Blank lines, and tabs or several blanks instead of one, are accepted but slow. Raises DecodeError with the number
    of the first line that is no event, `first_line` being that of the first one.
    """
    events = _parse_strict(text)
    if events is not None:
        return events
    lines = [b" ".join(line.split()) for line in text.splitlines()]
    for number, line in enumerate(lines, first_line):
        if line and not _is_event(line):
            raise _no_event(number, line)
    events = _parse_strict(b"".join(line + b"\n" for line in lines if line))
    assert events is not None, "both parsers accept the same lines"
    return events


def _no_event(number: int, line: bytes) -> DecodeError:
    return DecodeError(f"line {number}: {line[:60].decode(errors='replace')!r}; {_EXPECTED}")


def _is_event(line: bytes) -> bool:
    match = _LINE.fullmatch(line)
    limits = MAX_SECONDS, _MAX_COORDINATE, _MAX_COORDINATE
    return match is not None and all(int(n) <= most for n, most in zip(match.groups(), limits, strict=True))


def _parse_strict(text: bytes) -> np.ndarray | None:
    """The events, or None unless every line is exactly 's.f x y p\\n'."""
    chars = np.frombuffer(text, np.uint8)
    digits = chars - 48  # what is no digit wraps round to above 9
    stops = np.flatnonzero(digits > 9)
    if len(stops) % 5:
        return None
    stops = stops.reshape(-1, 5)
    if not (chars[stops] == _SEPARATORS).all() or (len(stops) and stops[-1, -1] != len(chars) - 1):
        return None
    dot, after_t, after_x, after_y, end = np.ascontiguousarray(stops.T)
    begin = np.concatenate(([0], end[:-1] + 1))
    lengths = dot - begin, after_t - dot - 1, after_x - after_t - 1, after_y - after_x - 1, end - after_y - 1
    for length, most in zip(lengths, (10, None, 5, 5, 1), strict=True):
        if len(length) and (length.min() < 1 or (most and length.max() > most)):
            return None
    seconds = _integers(digits, dot, lengths[0])
    x, y = _integers(digits, after_x, lengths[2]), _integers(digits, after_y, lengths[3])
    p = digits[end - 1]
    for values, most in ((seconds, MAX_SECONDS), (x, _MAX_COORDINATE), (y, _MAX_COORDINATE), (p, 1)):
        if values.max(initial=0) > most:
            return None
    t = seconds * NS + _nanoseconds(digits, dot + 1, lengths[1])
    return make_events(x, y, t, p)


def _integers(digits: npt.NDArray[np.uint8], end: np.ndarray, length: np.ndarray) -> npt.NDArray[np.int64]:
    """The decimal numbers whose last digits lie before `end`."""
    values = np.zeros(len(end), np.int64)
    always = length.min(initial=10)
    for place in range(int(length.max(initial=0))):
        digit = digits[np.maximum(end - 1 - place, 0)].astype(np.int64)
        digit *= _POWERS_OF_TEN[place]
        values += digit if place < always else np.where(place < length, digit, 0)
    return values


def _nanoseconds(digits: npt.NDArray[np.uint8], begin: np.ndarray, length: np.ndarray) -> npt.NDArray[np.int64]:
    """The decimals that begin at `begin`, in units of 1e-9; those after the ninth are cut off."""
    values = np.zeros(len(begin), np.int64)
    always = length.min(initial=9)
    for place in range(min(9, int(length.max(initial=0)))):
        digit = digits[np.minimum(begin + place, len(digits) - 1)].astype(np.int64)
        digit *= _POWERS_OF_TEN[8 - place]
        values += digit if place < always else np.where(place < length, digit, 0)
    return values


def format_events(events: np.ndarray) -> Iterator[bytes]:
    """Events (N,) as lines of text, in blocks; `parse` gives the same events back. ValueError for a time below 0."""
    for at in range(0, len(events), _BLOCK):
        block = events[at : at + _BLOCK]
        t = block["t"]
        if t.min() < 0:
            raise ValueError("a time before 0, which text cannot hold")
        columns = [_seconds(t // NS), _fixed(b".", len(t)), *_three_digit_groups(t % NS)]
        for name in "xy":
            columns += [_fixed(b" ", len(t)), _coordinates()[block[name]]]
        columns += [_fixed(b" ", len(t)), (block["p"] + np.uint8(ord("0")))[:, None], _fixed(b"\n", len(t))]
        text = np.concatenate(columns, 1)
        yield text[text != 0].tobytes()


def _fixed(char: bytes, count: int) -> np.ndarray:
    return np.full((count, 1), ord(char), np.uint8)


def _seconds(seconds: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Their digits, behind zero bytes; in a block few differ."""
    values, which = np.unique(seconds, return_inverse=True)
    return _right_aligned(values.tolist())[which]


def _three_digit_groups(numbers: npt.NDArray[np.int64]) -> list[np.ndarray]:
    """The nine digits of numbers below 1e9."""
    millions, rest = np.divmod(numbers.astype(np.uint32), np.uint32(1_000_000))
    return [_THREE_DIGITS[group] for group in (millions, *np.divmod(rest, np.uint32(1000)))]


@cache
def _coordinates() -> npt.NDArray[np.uint8]:
    """The digits of each uint16 (65536, 5), behind zero bytes."""
    return _right_aligned(range(1 << 16))


def _right_aligned(numbers: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The digits of numbers (N,) in rising order as (N, digits of the last), behind zero bytes."""
    digits = len(str(numbers[-1]))
    return np.frombuffer(b"".join((b"%d" % n).rjust(digits, b"\0") for n in numbers), np.uint8).reshape(-1, digits)
