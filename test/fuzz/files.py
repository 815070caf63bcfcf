"""Files for readers that need a path, in memory if the system has such a folder."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


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
