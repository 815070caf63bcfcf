"""The cache folder, for downloads and compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CistaError


class CacheError(CistaError):
    """There is no cache folder."""


def cache_folder() -> Path:
    """Return $CISTA_CACHE, else cista_ros in $XDG_CACHE_HOME, else in ~/.cache. It may not exist.

    CacheError if none is set and this user has no home directory.
    """
    if chosen := os.environ.get("CISTA_CACHE"):
        return Path(chosen)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "cista_ros"
    try:
        return Path.home() / ".cache" / "cista_ros"
    except RuntimeError:
        raise CacheError("no cache folder: this user has no home directory; set CISTA_CACHE to a folder") from None
