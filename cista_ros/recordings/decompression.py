"""Decompress chunks and messages of recordings, to a bounded size."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor

from ..errors import RecordingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["LZ4FrameDecompressor", "names_in_zip", "unpack", "zstd"]

MOST_BYTES = 1 << 29  # of a decompressed chunk or message
_LARGEST_RATIO = 1000  # of decompressed to compressed bytes after the first ones; black images reach it
_FIRST_BYTES = 1 << 24


def names_in_zip(path: Path) -> list[str] | None:
    """Return the names of the files in a zip archive; None if it cannot be read as one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return None


def unpack(start: Callable[[], Any], data: bytes, declared: int = MOST_BYTES) -> bytes:
    """Decompress a chunk or message, frame after frame.

    Args:
        start: makes a decompressor with `decompress`, `eof` and `unused_data` as those of bz2.
        declared: its decompressed bytes at most.

    Raises:
        RecordingError: it decompresses to more, or is incomplete.
    """
    most = min(declared, _FIRST_BYTES + _LARGEST_RATIO * len(data), MOST_BYTES)
    parts: list[bytes] = []
    total, left = 0, data
    while left:
        decompressor = start()
        parts.append(decompressor.decompress(left, max_length=most - total + 1))
        total += len(parts[-1])
        if total > most:
            raise RecordingError(f"a chunk or message of {len(data)} bytes unpacks to more than {most}")
        if not decompressor.eof:
            raise RecordingError("a compressed chunk or message is incomplete")
        left = decompressor.unused_data or b""
    return b"".join(parts)
