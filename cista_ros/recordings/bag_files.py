"""What is looked at in a bag's files before rosbags opens them, since rosbags trusts what they say.

A length that a file declares allocates nothing until so many bytes are there; no name or link leads out of a bag's
folder; and a database in which reading a row could run forever (views, virtual tables, computed columns) is not read.
"""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import yaml

from ..errors import RecordingError
from .bag_packing import unpack_file
from .sqlite_file import check_complete

_CLAMPED = 1 << 16  # bytes; smaller reads are not looked at
_LONGEST_METADATA = 1 << 24
_ABOUT = "rosbag2_bagfile_information"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _File(io.BufferedReader):
    """A file of which no more is asked for than there is: Python allocates what is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _CLAMPED:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


class BagPath(type(Path())):  # type: ignore[misc]
    """A path whose files, opened for reading bytes, are read as far as they go."""

    def open(self, mode: str = "r", *rest: Any, **options: Any) -> Any:
        """As Path.open."""
        return _File(io.FileIO(self, "r")) if mode == "rb" else super().open(mode, *rest, **options)


def check_files(path: Path, scratch: Callable[[], Path]) -> Path:
    """Check a bag's files before anything is read of them; returns what to read instead of `path`.

    That is a copy in a folder made by `scratch` if the files are compressed as a whole, else `path` itself.

    Raises:
        RecordingError, OSError, sqlite3.Error, yaml.YAMLError, zstd errors: the bag cannot be read, or not safely.
    """
    if path.is_dir():
        about = _metadata(path)
        files = _files_of(about, path)
        if str(about.get("compression_mode")).lower() == "file":
            path = _unpacked(files, about, scratch())
            files = _files_of(about, path)
    else:
        files, about = [path], {}
    for file in files:
        if not file.exists():
            continue  # rosbags says which are missing
        if not file.is_file():
            raise RecordingError(f"{file.name} is no file")
        if file.suffix == ".db3" or about.get("storage_identifier") == "sqlite3":
            check_complete(file)
            _check_tables(file)
    return path


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "metadata.yaml"
    _check_inside(path, folder)
    if path.stat().st_size > _LONGEST_METADATA:
        raise RecordingError(f"metadata.yaml has more than {_LONGEST_METADATA} bytes")
    text = path.read_text(encoding="utf-8")
    try:
        # Aliases of aliases make a few lines stand for more than memory holds.
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise RecordingError(f"metadata.yaml, line {event.start_mark.line + 1}: an alias (*); bags have none")
        content = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:  # the last for odd scalars
        raise RecordingError(f"metadata.yaml is not YAML: {' '.join(str(error).split())}") from None
    about = content.get(_ABOUT) if isinstance(content, dict) else None
    if not isinstance(about, dict) or not isinstance(about.get("relative_file_paths"), list):
        raise RecordingError(f"metadata.yaml holds no {_ABOUT} with relative_file_paths")
    return about


def _files_of(about: dict[str, Any], folder: Path) -> list[Path]:
    """The files that metadata names: rosbags takes the last part of each name only, and so is done here."""
    files = [folder / PurePath(str(name)).name for name in about["relative_file_paths"]]
    for file in files:
        _check_inside(file, folder)
    return files


def _check_inside(file: Path, folder: Path) -> None:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise RecordingError(f"{file.name} is a link out of the recording, to {file.resolve()}")


def _unpacked(files: Sequence[Path], about: dict[str, Any], scratch: Path) -> Path:
    """The bag with its files unpacked, since only then they can be looked at; `about` then tells of that."""
    if about.get("compression_format") != "zstd":
        raise RecordingError("its files are compressed by another method than zstd")
    for file in files:
        unpack_file(file, scratch / file.stem)
    about["relative_file_paths"] = [file.stem for file in files]
    about["compression_mode"] = about["compression_format"] = ""
    (scratch / "metadata.yaml").write_text(yaml.safe_dump({_ABOUT: about}), encoding="utf-8")
    return scratch


def _check_tables(path: Path) -> None:
    """RecordingError if a database holds more than plain tables: what a row is must not be computed by the file."""
    if any(c in str(path) for c in "?#%"):
        raise RecordingError("sqlite bags whose path has a ?, # or % cannot be read")
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    try:
        for kind, name, sql in database.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
            if kind == "index":
                continue
            if kind != "table" or not str(sql).lstrip().upper().startswith("CREATE TABLE"):
                raise RecordingError(f"{path.name} holds {name!r} ({str(sql)[:40]}); a rosbag2 has plain tables only")
            if database.execute("SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden <> 0", (name,)).fetchone():
                raise RecordingError(f"{path.name}: table {name!r} has computed columns")
    finally:
        database.close()
