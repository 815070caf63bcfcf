"""Limits that every input must keep: the errors it may end with, and memory, even if an error hides its lack."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

from cista_ros.errors import CistaError

MOST_MB = 192  # that one small input may add to the peak memory of the process


class Unbounded(AssertionError):
    """An input that allocated far more memory than it has bytes, or tried to."""


def expect(allowed: type[CistaError] | tuple[type[CistaError], ...], work: Callable[[], object]) -> CistaError | None:
    """Do the work and return the error it ended with, if that is allowed and does not hide a lack of memory.

    All other errors are raised: they are bugs.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error: CistaError | None = None
    try:
        work()
    except allowed as raised:
        error = raised
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > MOST_MB:
        raise Unbounded(f"{grown:.0f} MB more than ever before")
    for reason in _reasons(error):
        if isinstance(reason, MemoryError) or "alloc" in str(reason).lower():
            raise Unbounded(f"asked for too much memory: {reason!r}") from reason
    if error is not None and "\n" in str(error):
        raise AssertionError(f"an error of several lines: {str(error)!r}") from error
    return error


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
