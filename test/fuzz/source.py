"""A fuzzer's bytes, read as choices, numbers and pieces; and patches, by which valid files are broken.

A target builds something valid out of them and then breaks it in a few places, so that what lies behind lengths, magic
numbers and indexes is reached. Bytes that are missing read as zeros: every input means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Values at which lengths, signs and sizes of fields go wrong.
EDGES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    1 << 16,
    10**9,
    *(2**n - k for n in (31, 32, 63, 64) for k in (0, 1)),
)


class Source:
    """Reads a fuzzer's input front to back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes; fewer if there are no more."""
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.left)

    def number(self, size: int = 1) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1."""
        return self.number(2 if limit > 256 else 1) % limit

    def pick(self, among: Sequence[T]) -> T:
        """One of several values."""
        return among[self.below(len(among))]

    def piece(self) -> bytes:
        """Bytes behind their length of 16 bits."""
        return self.take(self.number(2))


def patched(data: bytes, source: Source, most: int = 8) -> bytes:
    """The data with as many of its places changed as the source tells, at most `most`."""
    result = bytearray(data)
    for _ in range(source.number() % (most + 1)):
        if not source.left:
            break
        operation, at = source.number() % 7, source.number(3) % (len(result) + 1)
        if operation == 0:
            result[at : at + 1] = source.take(1)
        elif operation in (1, 2):  # a number of an edge, little or big endian
            size, value = source.pick((2, 4, 8)), source.pick(EDGES)
            number = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little" if operation == 1 else "big")
            result[at : at + size] = number
        elif operation == 3:  # cut off, near the end as often as anywhere
            del result[len(result) - source.below(64) if source.number() & 1 else at :]
        elif operation == 4:  # leave out a few
            del result[at : at + source.number()]
        elif operation == 5:  # insert
            result[at:at] = source.take(source.below(32))
        else:  # a few bytes of one place at another
            start = source.number(3) % (len(result) + 1)
            piece = result[start : start + source.number()]
            result[at : at + len(piece)] = piece
    return bytes(result)
