"""What the encodings of event packets have in common: bytes as machine words, and times as whole microseconds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError


def as_words(data: npt.NDArray[np.uint8], dtype: npt.DTypeLike) -> np.ndarray:
    """Bytes (N,) as little-endian words (N / itemsize,), a view where possible; DecodeError if one is cut."""
    dtype = np.dtype(dtype)
    if len(data) % dtype.itemsize:
        raise DecodeError(f"events has {len(data)} bytes; expected a multiple of {dtype.itemsize}: the packet is cut")
    words = data.view(dtype.newbyteorder("<"))
    return np.require(words, dtype, "A")


def whole_microseconds(t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Nanoseconds (N,) as microseconds; ValueError if that would lose something."""
    us = t // 1000
    if (us * 1000 != t).any():
        raise ValueError("a time that is not of whole microseconds")
    return us
