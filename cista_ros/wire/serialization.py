"""Read and write the scalars, strings and arrays of a message, with bounds checks and alignment.

ROS 1 and ROS 2 write the same fields in the same order; a `Format` holds all that differs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import NS

Bytes = bytes | bytearray | memoryview | np.ndarray  # an ndarray must be contiguous uint8

_SCALARS = {code: struct.Struct("<" + code) for code in "BiIQ"}


@dataclass(frozen=True)
class Format:
    """How a serialization lays out its fields."""

    aligned: bool  # each number is aligned to a multiple of its size
    nul_terminated: bool  # strings end in a NUL, which their length counts
    header_seq: bool  # std_msgs/Header begins with a uint32 sequence number
    seconds: str  # struct code of a time's seconds: "i" or "I"
    event_records: tuple[np.dtype, np.dtype]  # of the first dvs_msgs/Event in a sequence, and of all others
    decode_errors: str = "replace"  # what happens to bytes that are not UTF-8, as bytes.decode() knows it
    encode_errors: str = "replace"
    encapsulation: bytes = b""  # the first bytes of a message; alignment counts from their end
    padding: int = 0  # bytes that may follow a message


class Cursor:
    """Reads the little-endian fields of a message in turn; raises DecodeError where the bytes end too early."""

    def __init__(self, data: Bytes, format: Format) -> None:
        self._data = memoryview(data.data if isinstance(data, np.ndarray) else data).cast("B")
        self.format = format
        self._origin = self._at = len(format.encapsulation)
        if format.encapsulation:
            _check_encapsulation(bytes(self._data[: self._at]))

    @property
    def left(self) -> int:
        """Number of bytes left."""
        return len(self._data) - self._at

    def _take(self, size: int, alignment: int, what: str) -> int:
        if self.format.aligned:
            self._at += -(self._at - self._origin) % alignment
        if size > self.left:
            raise DecodeError(
                f"the message ends too early: {what} needs {size} bytes at byte {self._at} of {len(self._data)}"
            )
        self._at += size
        return self._at - size

    def scalar(self, code: str, what: str) -> int:
        """Read a number of the struct format `code`; `what` names it in errors."""
        unpacker = _SCALARS[code]
        value: int = unpacker.unpack_from(self._data, self._take(unpacker.size, unpacker.size, what))[0]
        return value

    def string(self, what: str) -> str:
        """Read a string and the uint32 length before it. Bytes that are not UTF-8 are no error (see Format)."""
        length = self.scalar("I", f"the length of {what}")
        terminated = self.format.nul_terminated
        if terminated and length == 0:
            raise DecodeError(f"{what} has length 0; expected at least the terminating NUL")
        at = self._take(length, 1, what)
        text = bytes(self._data[at : at + length])
        if terminated and text[-1]:
            raise DecodeError(f"{what} does not end in NUL")
        return (text[:-1] if terminated else text).decode(errors=self.format.decode_errors)

    def array(self, dtype: npt.DTypeLike, count: int, what: str) -> np.ndarray:
        """Return a view (count,) of the next elements. Nothing is allocated, whatever the length."""
        dtype = np.dtype(dtype)
        if not count:
            return np.empty(0, dtype)
        alignment = 1 if dtype.fields else dtype.itemsize
        at = self._take(count * dtype.itemsize, alignment, what)
        return np.frombuffer(self._data, dtype, count, at)

    def header(self) -> tuple[int, str]:
        """Read a std_msgs/Header: (stamp in nanoseconds, frame_id)."""
        if self.format.header_seq:
            self.scalar("I", "header.seq")
        sec = self.scalar(self.format.seconds, "header.stamp")
        nsec = self.scalar("I", "header.stamp")
        if nsec >= NS:
            raise DecodeError(f"header.stamp has {nsec} nanoseconds; expected fewer than {NS}")
        return sec * NS + nsec, self.string("header.frame_id")

    def finish(self) -> None:
        """Raise DecodeError if more bytes are left than the format allows."""
        if self.left > (padding := self.format.padding):
            raise DecodeError(f"{self.left} bytes follow the end of the message; expected at most {padding}")


def _check_encapsulation(kind: bytes) -> None:
    if len(kind) < 4:
        raise DecodeError(f"{len(kind)} bytes are too few for a ROS 2 message")
    if kind[:2] == b"\0\0":
        raise DecodeError("the message is big-endian CDR; only little-endian CDR is supported")
    if kind[:2] != b"\0\1":
        raise DecodeError(f"the encapsulation is {kind[:2].hex()}; expected 0001 (little-endian plain CDR)")


class Builder:
    """Writes the little-endian fields of a message in turn, as a Cursor of the same format reads them."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self._origin = len(format.encapsulation)
        # BytesIO.getvalue() does not copy; for a megabyte of events a copy costs more than the serialization.
        self._out = BytesIO()
        self._out.write(format.encapsulation)

    def align(self, alignment: int) -> None:
        """Pad with zeros to a multiple of `alignment`, in an aligned format."""
        if self.format.aligned:
            self._out.write(bytes(-(self._out.tell() - self._origin) % alignment))

    def scalars(self, codes: str, *values: int) -> None:
        """Write numbers of the struct formats `codes`, one letter each; raises ValueError if one does not fit."""
        for code, value in zip(codes, values, strict=True):
            packer = _SCALARS[code]
            self.align(packer.size)
            try:
                self._out.write(packer.pack(value))
            except struct.error as err:
                raise ValueError(f"{value} does not fit its field: {err}") from None

    def string(self, text: str) -> None:
        """Write a string and the uint32 length before it."""
        raw = text.encode(errors=self.format.encode_errors) + b"\0" * self.format.nul_terminated
        self.scalars("I", len(raw))
        self._out.write(raw)

    def doubles(self, values: npt.ArrayLike) -> None:
        """Write the elements of a float64 array, without a length."""
        raw = np.ascontiguousarray(values, "<f8").tobytes()
        if raw:
            self.align(8)
            self._out.write(raw)

    def raw(self, values: np.ndarray) -> None:
        """Write the bytes of an array as they lie in memory, in C order."""
        self._out.write(np.ascontiguousarray(values).view(np.uint8).data)

    def header(self, stamp: int, frame_id: str) -> None:
        """Write a std_msgs/Header; the sequence number of ROS 1 is 0."""
        if self.format.header_seq:
            self.scalars("I", 0)
        self.scalars(f"{self.format.seconds}I", *divmod(stamp, NS))
        self.string(frame_id)

    def bytes(self) -> bytes:
        """Return what was written."""
        return self._out.getvalue()
