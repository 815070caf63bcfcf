"""Read and write the fields of a message, with bounds checks and alignment.

ROS 1 and ROS 2 write the same fields in the same order, little-endian. ROS 1 packs them, and its headers begin with a
uint32 sequence number. ROS 2 uses plain CDR (XCDR 1): four encapsulation bytes come first, each number is aligned to a
multiple of its size, counted from their end, and strings end in a NUL that their length counts. Sources: OMG DDSI-RTPS
2.2 section 10 (encapsulation) and CORBA 3.1 part 2 section 9.3 (alignment).
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import NS
from .event_array import CDR_RECORDS, ROS1_RECORDS, pack_events, unpack_events

Bytes = bytes | bytearray | memoryview | np.ndarray  # an ndarray must be contiguous uint8

EVENT = "dvs_msgs/Event"
_CODES = {"bool": "B", "uint8": "B", "int32": "i", "uint32": "I", "uint64": "Q"}
_NUMBERS = {kind: struct.Struct("<" + code) for kind, code in _CODES.items()}
_ENCAPSULATION = b"\0\1\0\0"  # of little-endian plain CDR
_CDR_PADDING = 3  # bytes after a message; some middlewares round it up to a multiple of four


class _Fields:
    """What differs between the two formats."""

    def __init__(self, ros1: bool) -> None:
        self.ros1 = ros1
        self.seconds = "uint32" if ros1 else "int32"  # of a time
        # ROS 1 does not ask for UTF-8, so other bytes are kept.
        self.errors = "surrogateescape" if ros1 else "replace"
        self.records = ROS1_RECORDS if ros1 else CDR_RECORDS  # of the first event of an array, and of all others


class Cursor(_Fields):
    """Reads the fields of a message in turn; raises DecodeError where the bytes end too early."""

    def __init__(self, data: Bytes, ros1: bool) -> None:
        super().__init__(ros1)
        self._data = memoryview(data.data if isinstance(data, np.ndarray) else data).cast("B")
        self._at = 0 if ros1 else len(_ENCAPSULATION)
        if not ros1:
            _check_encapsulation(bytes(self._data[: self._at]))

    def field(self, kind: str, name: str) -> Any:
        """Read a field of a ROS type: a number, a string, or an array as `uint8[]`, `float64[9]` or dvs_msgs/Event[].

        Arrays of numbers are views of the message. Nothing is allocated before the declared length is checked.
        """
        if kind in _NUMBERS:
            return self.number(kind, name)
        if kind == "string":
            return self._text(name)
        element, _, length = kind.removesuffix("]").partition("[")
        count = int(length) if length else self.number("uint32", f"the length of {name}")
        return (
            self._events(count) if element == EVENT else self._array(np.dtype(element).newbyteorder("<"), count, name)
        )

    def number(self, kind: str, name: str) -> int:
        """Read a number of one of ROS's integer types; `name` is for errors."""
        unpacker = _NUMBERS[kind]
        value: int = unpacker.unpack_from(self._data, self._take(unpacker.size, unpacker.size, name))[0]
        return value

    def header(self) -> tuple[int, str]:
        """Read a std_msgs/Header: (stamp in nanoseconds, frame_id)."""
        if self.ros1:
            self.number("uint32", "header.seq")
        sec, nsec = self.number(self.seconds, "header.stamp"), self.number("uint32", "header.stamp")
        if nsec >= NS:
            raise DecodeError(f"header.stamp has {nsec} nanoseconds; expected fewer than {NS}")
        return sec * NS + nsec, self._text("header.frame_id")

    def finish(self) -> None:
        """Raise DecodeError if more bytes are left than the format allows."""
        left, padding = len(self._data) - self._at, 0 if self.ros1 else _CDR_PADDING
        if left > padding:
            raise DecodeError(f"{left} bytes follow the end of the message; expected at most {padding}")

    def _take(self, size: int, alignment: int, name: str) -> int:
        """Return where the next `size` bytes begin, and move behind them."""
        if not self.ros1:
            self._at += -(self._at - len(_ENCAPSULATION)) % alignment
        if size > len(self._data) - self._at:
            raise DecodeError(
                f"the message ends too early: {name} needs {size} bytes at byte {self._at} of {len(self._data)}"
            )
        self._at += size
        return self._at - size

    def _text(self, name: str) -> str:
        length = self.number("uint32", f"the length of {name}")
        if not self.ros1 and length == 0:
            raise DecodeError(f"{name} has length 0; expected at least the terminating NUL")
        at = self._take(length, 1, name)
        text = bytes(self._data[at : at + length])
        if not self.ros1 and text[-1]:
            raise DecodeError(f"{name} does not end in NUL")
        return (text if self.ros1 else text[:-1]).decode(errors=self.errors)

    def _array(self, dtype: np.dtype, count: int, name: str) -> np.ndarray:
        if not count:
            return np.empty(0, dtype)
        at = self._take(count * dtype.itemsize, 1 if dtype.fields else dtype.itemsize, name)
        return np.frombuffer(self._data, dtype, count, at)

    def _events(self, count: int) -> np.ndarray:
        first, others = self.records
        left = len(self._data) - self._at
        at_most = 0 if left < first.itemsize else 1 + (left - first.itemsize) // others.itemsize
        if count > at_most:
            raise DecodeError(f"declares {count} events; the {left} bytes that follow hold at most {at_most}")
        parts = self._array(first, min(count, 1), "events"), self._array(others, max(count - 1, 0), "events")
        return unpack_events(*parts)


def _check_encapsulation(kind: bytes) -> None:
    if len(kind) < len(_ENCAPSULATION):
        raise DecodeError(f"{len(kind)} bytes are too few for a ROS 2 message")
    if kind[:2] == b"\0\0":
        raise DecodeError("the message is big-endian CDR; only little-endian CDR is supported")
    if kind[:2] != _ENCAPSULATION[:2]:
        raise DecodeError(f"the encapsulation is {kind[:2].hex()}; expected 0001 (little-endian plain CDR)")


class Builder(_Fields):
    """Writes the fields of a message in turn, as a Cursor reads them; raises ValueError if a value does not fit."""

    def __init__(self, ros1: bool) -> None:
        super().__init__(ros1)
        # BytesIO.getvalue() does not copy; for a megabyte of events a copy costs more than the serialization.
        self._out = BytesIO()
        self._out.write(b"" if ros1 else _ENCAPSULATION)

    def field(self, kind: str, name: str, value: Any) -> None:
        """Write a field; the inverse of Cursor.field."""
        if kind in _NUMBERS:
            return self._number(kind, value)
        if kind == "string":
            return self._text(value)
        element, _, length = kind.removesuffix("]").partition("[")
        if length and np.size(value) != int(length):
            raise ValueError(f"{name} has {np.size(value)} elements; expected {length}")
        if not length:
            self._number("uint32", np.size(value))
        if element == EVENT:
            for part, dtype in zip((value[:1], value[1:]), self.records, strict=True):
                pack_events(part, dtype, self._raw)
        elif np.size(value):
            array = np.asarray(value, np.dtype(element).newbyteorder("<"))
            self._align(array.itemsize)
            self._raw(array)
        return None

    def header(self, stamp: int, frame_id: str) -> None:
        """Write a std_msgs/Header; the sequence number of ROS 1 is 0."""
        if self.ros1:
            self._number("uint32", 0)
        for kind, value in zip((self.seconds, "uint32"), divmod(stamp, NS), strict=True):
            self._number(kind, value)
        self._text(frame_id)

    def bytes(self) -> bytes:
        """Return what was written."""
        return self._out.getvalue()

    def _align(self, alignment: int) -> None:
        if not self.ros1:
            self._out.write(bytes(-(self._out.tell() - len(_ENCAPSULATION)) % alignment))

    def _number(self, kind: str, value: int) -> None:
        packer = _NUMBERS[kind]
        self._align(packer.size)
        try:
            self._out.write(packer.pack(value))
        except struct.error as err:
            raise ValueError(f"{value} does not fit its field: {err}") from None

    def _text(self, text: str) -> None:
        raw = text.encode(errors=self.errors) + (b"" if self.ros1 else b"\0")
        self._number("uint32", len(raw))
        self._out.write(raw)

    def _raw(self, values: npt.NDArray[Any]) -> None:
        self._out.write(np.ascontiguousarray(values).view(np.uint8).data)
