"""Whether a rosbag2's sqlite file is all there.

rosbags opens it as immutable: what a truncated file lacks of its last page then reads as zeros, and messages that were
not yet moved from the write-ahead log are left out, both without an error.
"""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import RecordingError


def check_complete(path: Path) -> None:
    """Raise RecordingError if a .db3 file is shorter than its header says, or has unmerged messages beside it.

    Header fields: https://www.sqlite.org/fileformat2.html, section 1.3. A file that is not sqlite's passes.
    """
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) == 100 and header.startswith(b"SQLite format 3\0"):
        (page_size,), (pages,) = struct.unpack_from(">H", header, 16), struct.unpack_from(">I", header, 28)
        expected = (65536 if page_size == 1 else page_size) * pages
        counts_are_current = header[24:28] == header[92:96]
        if counts_are_current and path.stat().st_size < expected:
            raise RecordingError(f"{path}: truncated: it has {path.stat().st_size} of {expected} bytes")
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise RecordingError(
            f"{path}: it was not closed when it was recorded: its last messages are still in {log.name}; "
            f"run `sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`"
        )
