"""Atomic file writes, also if several processes write the same file, and hashes of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile


def write_atomically(path: Path, write: Callable[[Path], object], sync: bool = False) -> None:
    """Let `write(part)` write a new file, and put it at `path` when it is complete; create the folder.

    If writing fails, an earlier file at `path` stays as it was. OSError names `path`. With `sync` this also holds if
    the machine loses power, at the cost of waiting for the disk.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to report
            part.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, and create its folder. OSError names the file."""
    write_atomically(path, lambda part: part.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file completely or not at all."""
    write_whole(path, text.encode())


def prepare_folder(path: Path) -> None:
    """Create a folder unless it exists, and try to write a file in it, before long work. OSError names the folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path) as file:
            file.write(b"test")
    except OSError as error:
        in_the_way = isinstance(error, (FileExistsError, NotADirectoryError))
        raise OSError(error.errno, "not a folder" if in_the_way else error.strerror, str(path)) from None


def digest_of(path: Path, kind: str = "sha256", prefix: bytes = b"") -> str:
    """Return the hash, of a kind of hashlib, of `prefix` and a file's content, in hexadecimal."""
    digest = hashlib.new(kind, prefix, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
