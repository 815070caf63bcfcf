"""Measure this machine: networks by runtime, size and precision, and the stages around them."""

from __future__ import annotations

import re

from ..errors import CistaError
from ..networks.network import MIN_SIZE


class BenchmarkError(CistaError):
    """A measurement that cannot be made."""


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) from WIDTHxHEIGHT in pixels; BenchmarkError if it is malformed or too small."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or min(int(match[1]), int(match[2])) < MIN_SIZE:
        raise BenchmarkError(f"size {text!r}: expected WIDTHxHEIGHT, such as 240x180, of at least {MIN_SIZE} pixels")
    return int(match[2]), int(match[1])
