"""Errors raised on bad input. Each message names what is wrong and what was expected."""

from __future__ import annotations

from collections.abc import Iterable


class CistaError(Exception):
    """Base of all errors caused by user input, files or messages. Its text is one printable line."""

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().__str__())


class EventError(CistaError):
    """Impossible events or an impossible sensor, or a mask that does not fit it."""


class DecodeError(CistaError):
    """Bytes that are not a message of their type."""


class WindowError(CistaError):
    """Options that do not fit the kind of windows."""


class RecordingError(CistaError):
    """A recording that is missing, damaged, or lacks the requested data."""


class SeveralTopicsError(RecordingError):
    """Several topics have events, and none was chosen; `topics` are their names."""

    def __init__(self, message: str, topics: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.topics = tuple(topics)


class CheckpointError(CistaError):
    """A file without weights, or with those of another network."""


class DeviceError(CistaError):
    """A device that this machine lacks, or whose memory does not suffice."""


class RuntimeUnavailableError(CistaError):
    """A runtime that is not installed, or that cannot run this network on this device."""


class MissingPackageError(CistaError):
    """A required package that is not installed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, numpy or torch (which has a type for it on GPUs only) means so."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in text and "alloc" in text)


def reason_of(error: object) -> str:
    """Return what an error of another library, or its text, says, in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
