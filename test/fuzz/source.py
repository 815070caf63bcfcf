"""Read a fuzzer's bytes as choices, numbers and pieces, and damage valid files with them.

A target builds a valid input from the bytes and damages it in a few places, so that code after length checks and magic
numbers is reached. Missing bytes read as zeros, so that every input is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Values at the limits of lengths, signs and field sizes.
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
    """Reads a fuzzer's input in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """Number of bytes left."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def rest(self) -> bytes:
        """Return all remaining bytes."""
        return self.take(self.left)

    def number(self, size: int = 1) -> int:
        """Return an unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def below(self, limit: int) -> int:
        """Return a number from 0 to limit - 1."""
        return self.number(2 if limit > 256 else 1) % limit

    def pick(self, among: Sequence[T]) -> T:
        """Return one of several values."""
        return among[self.below(len(among))]

    def piece(self) -> bytes:
        """Return bytes after a 16-bit length."""
        return self.take(self.number(2))


def patched(data: bytes, source: Source, most: int = 8) -> bytes:
    """Return the data with up to `most` places changed, as the source says."""
    result = bytearray(data)
    for _ in range(source.number() % (most + 1)):
        if not source.left:
            break
        operation, at = source.number() % 7, source.number(3) % (len(result) + 1)
        if operation == 0:
            result[at : at + 1] = source.take(1)
        elif operation in (1, 2):  # one of EDGES, little or big endian
            size, value = source.pick((2, 4, 8)), source.pick(EDGES)
            number = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little" if operation == 1 else "big")
            result[at : at + size] = number
        elif operation == 3:  # truncate, near the end or anywhere
            del result[len(result) - source.below(64) if source.number() & 1 else at :]
        elif operation == 4:  # delete a few bytes
            del result[at : at + source.number()]
        elif operation == 5:  # insert
            result[at:at] = source.take(source.below(32))
        else:  # copy a few bytes to another place
            start = source.number(3) % (len(result) + 1)
            piece = result[start : start + source.number()]
            result[at : at + len(piece)] = piece
    return bytes(result)
