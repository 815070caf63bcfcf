"""Files from public addresses: over HTTPS only, resumed where they broke off, and checked before they are used."""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import CistaError

CHUNK = 1 << 18
TIMEOUT_S = 30.0
SCHEMES = frozenset({"https"})

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class DownloadError(CistaError):
    """A file that could not be had, or is not the one it should be."""


@dataclass(frozen=True)
class Checksum:
    """What a file must hash to.

    kind: sha256, md5, or git: the id that git gives to a file of that content (SHA-1 over its length and bytes), which
    is how a repository's commit names a file of which no one has published another checksum.
    """

    kind: str
    value: str

    def of(self, path: Path) -> str:
        """The checksum of this kind that a file has."""
        digest = hashlib.new("sha1" if self.kind == "git" else self.kind, usedforsecurity=False)
        if self.kind == "git":
            digest.update(f"blob {path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def download(
    address: str,
    path: Path,
    checksum: Checksum | None,
    progress: Progress | None = None,
    schemes: frozenset[str] = SCHEMES,
) -> Path:
    """Fetch a file to `path`, unless it is there already and its checksum is right.

    What comes lies in path + ".part" until it is whole and checked; a part left by a broken download is gone on with.
    Without a checksum only the length that the server announces is checked.

    Args:
        schemes: which kinds of address are allowed, also after redirections; other than HTTPS for tests alone.
    Raises:
        DownloadError: the address cannot be reached or is not allowed, or what came is not the file (it is removed).
        OSError: the disk is full, or the folder cannot be written.
    """
    if path.is_file() and (checksum is None or checksum.of(path) == checksum.value):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _fetch(address, part, progress, schemes)
    if checksum and (found := checksum.of(part)) != checksum.value:
        part.unlink()
        raise DownloadError(
            f"{address}: what came is not the published file ({checksum.kind} {found}, expected {checksum.value});"
            " it was removed: try again"
        )
    part.replace(path)
    return path


def remote_size(address: str, schemes: frozenset[str] = SCHEMES) -> int | None:
    """How many bytes a server says a file has; None if it does not say. DownloadError if it cannot be asked."""
    try:
        with _open(address, schemes, method="HEAD") as answer:
            length = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{address}: the server answers {error.code} {error.reason}") from None
    return int(length) if length and length.isdecimal() else None


class _OnlyTo(urllib.request.HTTPRedirectHandler):
    """Follows redirections to allowed kinds of address only."""

    def __init__(self, schemes: frozenset[str]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        _allow(newurl, self._schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allow(address: str, schemes: frozenset[str]) -> None:
    if urlsplit(address).scheme not in schemes:
        raise DownloadError(f"{address}: only https addresses are fetched")


def _open(address: str, schemes: frozenset[str], **request: Any) -> Any:
    """The answer. HTTPError if the server refuses; DownloadError if the address is none, not allowed, not reached."""
    try:
        _allow(address, schemes)
        asked = urllib.request.Request(address, **request)
        asked.add_header("User-Agent", "cista_ros")
        return urllib.request.build_opener(_OnlyTo(schemes)).open(asked, timeout=TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except ValueError as error:  # of urllib's parsing, of this address or of one that the server sends us to
        raise DownloadError(f"{address}: is, or leads to, an address that cannot be read ({error})") from None
    except (OSError, HTTPException) as error:  # of the network, of TLS, of HTTP
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DownloadError(f"{address}: cannot be reached ({_text(reason)}); is there a network?") from None


def _text(reason: object) -> str:
    return str(reason) or type(reason).__name__


def _fetch(address: str, part: Path, progress: Progress | None, schemes: frozenset[str]) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        with _open(address, schemes, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
            resumed = answer.status == 206 and _starts_at(answer.headers.get("Content-Range", "")) == have > 0
            if answer.status == 206 and not resumed:
                # Some other part of the file: only the whole is of use then.
                part.unlink(missing_ok=True)
                if not have:
                    raise DownloadError(f"{address}: the server sends a part where the whole file was asked for")
                return _fetch(address, part, progress, schemes)
            begin = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = begin + int(length) if length and length.isdecimal() else None
            _check_room(part.parent, None if total is None else total - begin, address)
            _copy(answer, part, begin, total, progress, address)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            # The part is whole already, or of another file: its checksum tells which, or the next try begins anew.
            if _whole_length(error.headers.get("Content-Range", "")) == have:
                return
            part.unlink()
            raise DownloadError(
                f"{address}: the part that was there is of another file; it was removed: try again"
            ) from None
        raise DownloadError(f"{address}: the server answers {error.code} {error.reason}") from None
    if total is not None and part.stat().st_size != total:
        raise DownloadError(
            f"{address}: broke off after {part.stat().st_size} of {total} bytes; run the command again to go on"
        )


def _starts_at(content_range: str) -> int | None:
    """First byte of "bytes 5-9/10"."""
    with suppress(ValueError, IndexError):
        return int(content_range.removeprefix("bytes ").split("-")[0])
    return None


def _whole_length(content_range: str) -> int | None:
    """Length of "bytes */10"."""
    with suppress(ValueError):
        return int(content_range.rpartition("/")[2])
    return None


def _check_room(folder: Path, needed: int | None, address: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed is not None and needed > free:
        raise DownloadError(f"{address}: needs {needed} bytes, but {folder} has only {free} free")


def _copy(answer: Any, part: Path, begin: int, total: int | None, progress: Progress | None, address: str) -> None:
    done = begin
    with part.open("r+b" if begin else "wb") as file:
        file.seek(begin)
        file.truncate()
        while chunk := _read(answer, address):
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)


def _read(answer: Any, address: str) -> bytes:
    # Beside the file that is written: only so is an OSError known to be of the network or of TLS, not of the disk.
    try:
        data: bytes = answer.read(CHUNK)
        return data
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{address}: broke off ({_text(error)}); run the command again to go on") from None
