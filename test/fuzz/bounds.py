"""Limits that every input must keep, and files for readers that need a path."""

from __future__ import annotations

import atexit
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

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


class Folder:
    """A folder of this process for the files of an input, created on first use."""

    def __init__(self, name: str) -> None:
        self._name, self._path = name, None

    @property
    def path(self) -> Path:
        """The path."""
        if self._path is None:
            memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
            self._path = Path(tempfile.mkdtemp(prefix=f"cista-fuzz-{self._name}-", dir=memory))
            atexit.register(shutil.rmtree, self._path, ignore_errors=True)
        return self._path

    def write(self, name: str, content: bytes) -> Path:
        """Write or replace a file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def write_all(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Create a folder with exactly these files."""
        folder = self.path / name
        shutil.rmtree(folder, ignore_errors=True)
        for file, content in files.items():
            self.write(f"{name}/{file}", content)
        return folder
