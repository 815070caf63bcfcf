"""What the commands that measure, `cista cost` and `cista benchmark`, have in common."""

from __future__ import annotations

import re

from ..errors import CistaError


class BenchmarkError(CistaError):
    """Something to measure that cannot be."""


def parse_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels -> (height, width). BenchmarkError for other texts, and for less than networks take."""
    from ..networks.network import MIN_SIZE

    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or min(int(match[1]), int(match[2])) < MIN_SIZE:
        raise BenchmarkError(f"size {text!r}: expected WIDTHxHEIGHT, such as 240x180, of at least {MIN_SIZE} pixels")
    return int(match[2]), int(match[1])
