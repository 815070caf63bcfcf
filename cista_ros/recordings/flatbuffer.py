"""Read FlatBuffers without a schema compiler: tables, vectors and text, all bounds checked.

https://flatbuffers.dev/internals. Whatever the bytes say, nothing but DecodeError is raised and nothing is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ..errors import DecodeError


class Table:
    """A table of a buffer; its fields are numbered from 0, as in the schema."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - _number(data, "i", at)
        self._vtable_size = _number(data, "H", self._vtable)

    def number(self, field: int, format: str, default: int = 0) -> int:
        """Return a number, by its struct format."""
        at = self._place(field)
        return _number(self._data, format, at) if at else default

    def text(self, field: int) -> str:
        """Return a text; bytes that are not UTF-8 are replaced."""
        return self.vector(field, np.uint8).tobytes().decode(errors="replace")

    def vector(self, field: int, dtype: np.dtype | type) -> np.ndarray:
        """Return a vector (N,) of numbers or structs as a view; empty if there is none."""
        at, count = self._vector(field)
        dtype = np.dtype(dtype)
        if at + count * dtype.itemsize > len(self._data):
            raise DecodeError(f"a vector of {count} elements ends beyond the {len(self._data)} bytes of its buffer")
        return np.frombuffer(self._data, dtype, count, at)

    def tables(self, field: int) -> Sequence[Table]:
        """Return a vector of tables."""
        offsets = self.vector(field, np.dtype("<u4"))
        at = self._vector(field)[0]
        return [Table(self._data, at + 4 * i + int(offset)) for i, offset in enumerate(offsets)]

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._place(field)
        if not at:
            return 0, 0
        at += _number(self._data, "I", at)
        return at + 4, _number(self._data, "I", at)

    def _place(self, field: int) -> int:
        at = 4 + 2 * field
        offset = _number(self._data, "H", self._vtable + at) if at < self._vtable_size else 0
        return self._at + offset if offset else 0


def read_root(data: bytes, identifier: bytes) -> Table:
    """Return the root table of a buffer with this identifier of four bytes, after its size of four bytes."""
    if data[8:12] != identifier:
        raise DecodeError(f"a buffer of {data[8:12]!r}; expected {identifier!r}")
    return Table(data, 4 + _number(data, "I", 4))


def _number(data: bytes, format: str, at: int) -> int:
    if at < 0 or at + struct.calcsize(format) > len(data):
        raise DecodeError(f"an offset leads to byte {at} of a buffer of {len(data)} bytes")
    value: int = struct.unpack_from("<" + format, data, at)[0]
    return value
