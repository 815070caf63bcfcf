"""Download public files over HTTPS only; resume interrupted downloads and verify checksums."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import CistaError, reason_of
from .atomic import digest_of

CHUNK = 1 << 18
TIMEOUT_S = 30.0
SCHEMES = frozenset({"https"})  # of addresses and redirections

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class DownloadError(CistaError):
    """A download failed, or the file is not the expected one."""


@dataclass(frozen=True)
class Checksum:
    """The expected checksum of a file: sha256, md5, or git, git's id of the content (SHA-1 of its length and bytes)."""

    kind: str
    value: str

    def of(self, path: Path) -> str:
        """Return the checksum of this kind of a file."""
        if self.kind == "git":
            return digest_of(path, "sha1", f"blob {path.stat().st_size}\0".encode())
        return digest_of(path, self.kind)


def download(address: str, path: Path, checksum: Checksum | None, progress: Progress | None = None) -> Path:
    """Download a file to `path`, unless it already exists with the right checksum; return the path.

    The download is written to path + ".part", and renamed when complete and verified. A part left by an interrupted
    download is resumed. Without a checksum only the length that the server announces is verified.

    Raises:
        DownloadError: the address cannot be reached or is not allowed, or the checksum is wrong (the file is removed).
        OSError: the disk is full, or the folder is not writable.
    """
    if path.is_file() and (checksum is None or checksum.of(path) == checksum.value):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _fetch(address, part, progress)
    if checksum and (found := checksum.of(part)) != checksum.value:
        part.unlink()
        raise DownloadError(
            f"{address}: what came is not the published file ({checksum.kind} {found}, expected {checksum.value});"
            " it was removed: try again"
        )
    part.replace(path)
    return path


def remote_size(address: str) -> int | None:
    """Return the size in bytes that the server announces, or None. DownloadError if it cannot be reached."""
    try:
        with _open(address, method="HEAD") as answer:
            return _length(answer)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{address}: the server answers {error.code} {error.reason}") from None


def _length(answer: Any) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


class _OnlyTo(urllib.request.HTTPRedirectHandler):
    """Follow redirections to allowed schemes only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        _allow(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allow(address: str) -> None:
    if urlsplit(address).scheme not in SCHEMES:
        raise DownloadError(f"{address}: only https addresses are fetched")


def _open(address: str, **request: Any) -> Any:
    """Send a request. HTTPError: refused. DownloadError: the address is invalid, forbidden or unreachable."""
    try:
        _allow(address)
        asked = urllib.request.Request(address, **request)
        asked.add_header("User-Agent", "cista_ros")
        return urllib.request.build_opener(_OnlyTo).open(asked, timeout=TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except ValueError as error:  # urllib cannot parse this address or that of a redirection
        raise DownloadError(f"{address}: is, or leads to, an address that cannot be read ({error})") from None
    except (OSError, HTTPException) as error:  # of the network, of TLS, of HTTP
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DownloadError(f"{address}: cannot be reached ({reason_of(reason)}); is there a network?") from None


def _fetch(address: str, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        with _open(address, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
            resumed = answer.status == 206 and _content_range(answer.headers.get("Content-Range"))[0] == have > 0
            if answer.status == 206 and not resumed:
                # The server sends another part than requested, so start from the beginning.
                part.unlink(missing_ok=True)
                if not have:
                    raise DownloadError(f"{address}: the server sends a part where the whole file was asked for")
                return _fetch(address, part, progress)
            begin = have if resumed else 0
            length, free = _length(answer), shutil.disk_usage(part.parent).free
            if length is not None and length > free:
                raise DownloadError(f"{address}: needs {length} bytes, but {part.parent} has only {free} free")
            total = None if length is None else begin + length
            _copy(answer, part, begin, total, progress, address)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            # The part is either complete or of another file.
            if _content_range(error.headers.get("Content-Range"))[1] == have:
                return
            part.unlink()
            raise DownloadError(f"{address}: the part found was of another file; it was removed: try again") from None
        raise DownloadError(f"{address}: the server answers {error.code} {error.reason}") from None
    if total is not None and part.stat().st_size != total:
        done = f"{part.stat().st_size} of {total} bytes"
        raise DownloadError(f"{address}: broke off after {done}; run the command again to go on")


def _content_range(header: str | None) -> tuple[int | None, int | None]:
    """Return first byte and whole length in "bytes 5-9/10" or "bytes */10"; None for what is missing."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", header or "", re.ASCII)
    first, length = (None if n is None else int(n) for n in match.groups()) if match else (None, None)
    return first, length


def _copy(answer: Any, part: Path, begin: int, total: int | None, progress: Progress | None, address: str) -> None:
    with part.open("r+b" if begin else "wb") as file:
        file.seek(begin)
        file.truncate()
        for chunk in _chunks(answer, address):
            file.write(chunk)
            if progress:
                progress(file.tell(), total)


def _chunks(answer: Any, address: str) -> Iterator[bytes]:
    # Separate from writing the file, so that an OSError here comes from the network or TLS, not from the disk.
    try:
        while chunk := answer.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{address}: broke off ({reason_of(error)}); run the command again to go on") from None
