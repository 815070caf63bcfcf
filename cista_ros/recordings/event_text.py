"""Parse events in text, one per line, in any order of columns and unit of time, without a Python loop over lines.

Layouts seen in the field: "t x y p" in seconds (Event Camera Dataset, E2VID, v2e) and "x,y,p,t" in microseconds
(Prophesee). Delimiters are blanks, tabs, commas and semicolons. Lines that begin with # or % are comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from ..errors import CistaError, DecodeError
from ..events import NS, make_events
from .columns import NAMES, UNITS, check_unit, guess_columns, guess_unit

_UNIT_NAMES = {"s": "s", "sec": "s", "seconds": "s", "ms": "ms", "us": "us", "µs": "us", "ns": "ns"}
_SIZE = re.compile(rb"(?:geometry|resolution|size)\s*[:=]?\s*(\d{1,5})\s*[,x ]\s*(\d{1,5})", re.IGNORECASE)
_OTHER_BLANKS = b",", b";", b"\t", b"\r"
_BLANKS = bytes.maketrans(b"".join(_OTHER_BLANKS), b"    ")
_LONGEST_LINE = 4096  # bytes
_LONGEST_BLANK = 1 << 20  # bytes between two events; a zip of blanks unpacks without end
_MOST_DIGITS = 18
_MAX_COORDINATE = 2**16 - 1
MAX_SECONDS = np.iinfo(np.int64).max // NS - 1
_REGULAR = np.frombuffer(b".   \n", np.uint8)  # what is not a digit in "s.f x y p"
_POWERS_OF_TEN = 10 ** np.arange(_MOST_DIGITS + 1, dtype=np.int64)


@dataclass(frozen=True)
class Layout:
    """The columns of a text file.

    Attributes:
        columns: "t", "x", "y" and "p" in the order of the file; "-" is a column to skip. Further columns are ignored.
        unit: unit of the time, one of UNITS.
        header_lines: lines before the events.
        size: (height, width) of the sensor, if the file states it.
        guessed: what was not stated, in words; empty if everything was.
    """

    columns: str = "txyp"
    unit: str = "s"
    header_lines: int = 0
    size: tuple[int, int] | None = None
    guessed: str = ""


def detect_layout(sample: bytes, columns: str | None = None, unit: str | None = None) -> Layout:
    """Return the layout of a text file by its first lines (whole ones); `columns` and `unit` are used where given.

    What neither they nor a header state is guessed as by `guess_columns` and `guess_unit`.

    Raises:
        DecodeError: no line has four numbers, the order of the columns is not clear, or the unit is impossible.
    """
    # "time (us)" in a header is one name.
    lines = [re.sub(rb"\s+([(\[])", rb"\1", line).translate(_BLANKS).split() for line in sample.splitlines()]
    size = _SIZE.search(b"\n".join(line for line in sample.splitlines()[:20] if line[:1] in b"#%" and line))
    height_width = (int(size[2]), int(size[1])) if size and int(size[1]) and int(size[2]) else None
    start = 0
    names: dict[str, int] = {}
    name_unit = None
    for fields in lines:
        if fields and fields[0][:1] not in b"#%":
            if _numbers(fields) is None:
                names, name_unit = _named_columns(fields)
                if not names:
                    break
            elif len(fields) == 2 and all(f.isdigit() and 0 < int(f) <= _MAX_COORDINATE for f in fields):
                height_width = int(fields[1]), int(fields[0])  # E2VID: "width height"
            else:
                break
        start += 1
    data = [fields for fields in lines[start:] if fields and fields[0][:1] not in b"#%"]
    numbers = [_numbers(fields[:8]) for fields in data]
    rows = np.array([row for row in numbers if row and len(row) == len(data[0][:8])])
    if not len(rows) or not numbers[0] or rows.shape[1] < 4:
        raise _no_event(start + 1, b" ".join(data[0]) if data else b"", Layout())
    notes = []
    if not columns and len(names) == 4:
        order = {at: name for name, at in names.items()}
        columns = "".join(order.get(i, "-") for i in range(max(order) + 1))
    elif not columns:
        columns = guess_columns(rows)
        notes += [f"columns {' '.join(columns)}"] * (columns != "txyp")
    unit, t = unit or name_unit, rows[:, columns.index("t")]
    if not unit:
        unit = guess_unit(t)
        notes += [f"time in {unit}"] * (unit != "s")
    check_unit(t, unit)
    return Layout(columns, unit, start if names or height_width else 0, height_width, ", ".join(notes))


def _numbers(fields: Sequence[bytes]) -> list[float] | None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _named_columns(fields: Sequence[bytes]) -> tuple[dict[str, int], str | None]:
    """Return the index of each column that a header names, and the unit of the time if the name has one."""
    found: dict[str, int] = {}
    unit = None
    for i, field in enumerate(fields):
        words = [word for word in re.split(r"[^\wµ]|_", field.decode(errors="replace").lower()) if word]
        for name, synonyms in NAMES.items():
            if words and words[0] in synonyms and name not in found:
                found[name] = i
                if name == "t":
                    unit = next((_UNIT_NAMES[word] for word in words[1:] if word in _UNIT_NAMES), None)
                break
    return found, unit


def read_blocks(
    file: IO[bytes],
    layout: Layout = Layout(),
    size: int = 1 << 18,
    on_cut: Callable[[int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the events (N,) of a text file in blocks of about `size` bytes.

    `on_cut` is called with the number of an incomplete last line, which is then skipped; without it that is an error. A
    last line without an end whose time goes back is taken for one cut within its time.

    Raises:
        DecodeError: a line is not an event; it names the line.
    """
    line = 1
    for _ in range(layout.header_lines):
        file.readline(_LONGEST_LINE)
        line += 1
    rest = b""
    blank = 0
    newest: int | None = None
    while block := file.read(size):
        end = block.rfind(b"\n") + 1
        if not end:
            rest += block
            if len(rest) > _LONGEST_LINE:  # do not gather a file without line ends
                raise _no_event(line, rest, layout)
            continue
        text, rest = rest + block[:end], block[end:]
        yield (events := parse(text, line, layout))
        newest = int(events["t"][-1]) if len(events) else newest
        line += text.count(b"\n")
        blank = 0 if len(events) else blank + len(text)
        if blank > _LONGEST_BLANK:
            raise DecodeError(f"line {line}: {blank} bytes without an event")
    if rest:
        try:
            events = parse(rest + b"\n", line, layout)
        except DecodeError:
            if on_cut is None:
                raise
            on_cut(line)
            return
        if on_cut and newest is not None and len(events) and events["t"][0] < newest:
            on_cut(line)  # within the digits of its time
            return
        yield events


def parse(text: bytes, first_line: int = 1, layout: Layout = Layout()) -> np.ndarray:
    """Return the events (N,) of whole lines. Times are exact to the nanosecond; further decimals are cut off.

    Numbers with an exponent are read as float64. Comments and blank lines are skipped.

    Raises:
        DecodeError: a line is not an event; `first_line` is the number of the first line.
    """
    try:
        return _parse(text, layout)
    except CistaError:
        for number, line in enumerate(text.split(b"\n"), first_line):
            try:
                _parse(line + b"\n", layout)
            except CistaError:
                raise _no_event(number, line, layout) from None
        raise


def _no_event(number: int, line: bytes, layout: Layout) -> DecodeError:
    shown = line[:60].decode(errors="replace")
    order = " ".join(layout.columns)
    return DecodeError(
        f"line {number}: {shown!r}; expected {order}: time in {layout.unit}, column, row, polarity 0 or 1"
    )


def _parse(text: bytes, layout: Layout) -> np.ndarray:
    if b"\0" in text:
        raise DecodeError("a NUL")
    if b"#" in text or b"%" in text:
        text = text.translate(_BLANKS)
        text = b"\n".join(line for line in text.split(b"\n") if line.lstrip(b" ")[:1] not in (b"#", b"%"))
    if any(blank in text for blank in _OTHER_BLANKS):
        text = text.translate(_BLANKS)
    fields = _Fields(np.frombuffer(text, np.uint8))
    counts = fields.counts
    if counts.any() and counts[counts > 0].min() < len(layout.columns):
        raise DecodeError("a line has too few fields")
    at: dict[str, _Index]
    if (width := int(counts.max(initial=0))) and (counts == width).all():  # slices are faster than indexes
        at = {name: slice(layout.columns.index(name), None, width) for name in "txyp"}
    else:
        first = (np.cumsum(counts) - counts)[counts > 0]
        at = {name: first + layout.columns.index(name) for name in "txyp"}
    x, y = fields.integers(at["x"]), fields.integers(at["y"])
    p = fields.integers(at["p"], signed=True)
    if (np.abs(p) > 1).any():
        raise DecodeError("a polarity is too large")
    return make_events(x, y, fields.decimals(at["t"], UNITS[layout.unit]), p > 0)


_Index = slice | np.ndarray  # of fields


class _Fields:
    """Numbers in text, as fields (M,) between blanks.

    Attributes:
        counts: fields in each line.
    """

    def __init__(self, chars: npt.NDArray[np.uint8]) -> None:
        self._chars, self._digits = chars, chars - np.uint8(48)  # what is not a digit becomes larger than 9
        stops = np.flatnonzero(self._digits > 9)
        kinds = chars[stops]
        if self._set_regular(stops, kinds):
            return
        is_blank = (kinds == 32) | (kinds == 10)
        blanks = stops[is_blank]
        if len(chars) and (not len(blanks) or blanks[-1] != len(chars) - 1):
            raise DecodeError("the last line has no end")
        begin = np.concatenate(([0], blanks[:-1] + 1))[: len(blanks)]
        is_end = blanks > begin  # else it follows another blank
        self._begin, self._end = begin[is_end], blanks[is_end]
        fields = np.cumsum(is_end)  # up to each blank
        self.counts = np.diff(fields[kinds[is_blank] == 10], prepend=0)
        self._dot = self._end.copy()  # where the decimals begin
        self._odd = np.zeros(len(self._end), np.bool_)  # whether a field has more than digits and a dot
        within = np.flatnonzero(~is_blank)
        if len(within):
            blanks_before = within - np.arange(len(within))
            owner = np.concatenate(([0], fields))[blanks_before]
            is_dot = kinds[within] == 46
            dots = stops[within[is_dot]]
            self._dot[owner[is_dot][::-1]] = dots[::-1]  # the first one
            is_dot[is_dot] = self._dot[owner[is_dot]] == dots
            self._odd[owner[~is_dot]] = True

    def _set_regular(self, stops: np.ndarray, kinds: np.ndarray) -> bool:
        """Set the fields if every line is exactly "s.f x y p" (a fast path); return whether."""
        if not len(stops) or len(stops) % 5 or stops[-1] != len(self._chars) - 1:
            return False
        if not (kinds.reshape(-1, 5) == _REGULAR).all():
            return False
        ends = stops.reshape(-1, 5)
        end = np.ascontiguousarray(ends[:, 1:]).reshape(-1)
        begin = np.concatenate(([0], end[:-1] + 1))
        if (begin == end).any():
            return False
        self._begin, self._end, self._dot = begin, end, end.copy()
        self._dot[::4] = ends[:, 0]
        self._odd = np.zeros(len(end), np.bool_)
        self.counts = np.full(len(ends), 4)
        return True

    def integers(self, at: _Index, signed: bool = False) -> npt.NDArray[np.int64]:
        """Return the whole numbers in fields (N,)."""
        if not self._odd[at].any() and (self._dot[at] == self._end[at]).all():
            return self._whole(at)
        values = self._floats(at)
        lowest = -1 if signed else 0
        if (values != np.rint(values)).any() or ((values < lowest) | (values > _MAX_COORDINATE)).any():
            raise DecodeError("not a whole number")
        return values.astype(np.int64)

    def decimals(self, at: _Index, unit: int) -> npt.NDArray[np.int64]:
        """Return the times in fields (N,) of this unit (ns) as whole nanoseconds."""
        odd = self._odd[at]
        values = np.empty(len(odd), np.int64)
        plain: _Index = slice(None)
        if odd.any():
            at, plain = np.arange(len(self._odd))[at], ~odd
            floats = self._floats(at[odd]) * unit
            if (floats < 0).any() or (floats >= MAX_SECONDS * NS).any():
                raise DecodeError("a time is out of range")
            values[odd] = np.rint(floats)
            at = at[plain]
        whole = self._whole(at)
        if (whole > MAX_SECONDS * (NS // unit)).any():
            raise DecodeError("a time is out of range")
        values[plain] = whole * unit + self._fraction(at, len(str(unit)) - 1)
        return values

    def _whole(self, at: _Index) -> npt.NDArray[np.int64]:
        """Return the digits before the dot as a number; at least one digit must be there."""
        stop = self._dot[at]
        length = stop - self._begin[at]
        if len(stop) and (length.min() < 1 or length.max() > _MOST_DIGITS + 1):
            raise DecodeError("a number without digits, or with too many")
        return self._sum(stop - 1, length, -1, 0)

    def _fraction(self, at: _Index, places: int) -> npt.NDArray[np.int64]:
        """Return the first decimals, in units of the last of these places."""
        begin = self._dot[at] + 1
        length = np.clip(self._end[at] - begin, 0, places)
        return self._sum(begin, length, 1, places - 1)

    def _sum(self, at: np.ndarray, length: np.ndarray, step: int, power: int) -> npt.NDArray[np.int64]:
        """Add up digits, from `at` on in one direction, by powers of ten from `power` on in the other."""
        values = np.zeros(len(at), np.int64)
        always = length.min(initial=_MOST_DIGITS + 1)
        for place in range(int(length.max(initial=0))):
            digit = self._digits.take(at + step * place, mode="clip").astype(np.int64)
            digit *= _POWERS_OF_TEN[power - step * place]
            values += digit if place < always else np.where(place < length, digit, 0)
        return values

    def _floats(self, at: _Index) -> npt.NDArray[np.float64]:
        """Return numbers in any notation."""
        begin, length = self._begin[at], self._end[at] - self._begin[at]
        widest = int(length.max(initial=1))
        if widest > 64:
            raise DecodeError("a number is too long")
        places = np.arange(widest)
        text = self._chars.take(begin[:, None] + places, mode="clip")
        text[places >= length[:, None]] = 0
        try:
            values = np.ascontiguousarray(text).view(f"S{widest}").reshape(-1).astype(np.float64)
        except ValueError:
            raise DecodeError("not a number") from None
        if not np.isfinite(values).all():
            raise DecodeError("not a finite number")
        return values
