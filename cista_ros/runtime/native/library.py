"""Compiles kernels.cpp for this very processor, once, and loads it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from ...errors import RuntimeUnavailableError
from ...util.cache import CacheError, cache_folder
from ..compiler import compiler_name

SOURCE = Path(__file__).with_name("kernels.cpp")
_SECONDS = 120
# Not -ffast-math: where it is linked it changes how all of the process treats the smallest numbers.
_FLAGS = ["-O3", "-std=c++17", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]


@functools.lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL:
    """The compiled kernels: from the user's cache folder, or compiled now, which takes seconds.

    Raises:
        RuntimeUnavailableError: no C++ compiler, or it failed.
    """
    compiler = compiler_name()
    path = shutil.which(compiler)
    if path is None:
        raise _unavailable(f"there is no C++ compiler {compiler} (Debian, Ubuntu: apt install g++)")
    # On x86 GCC uses but half of the registers unless told to.
    flags = [*_FLAGS, *(["-mprefer-vector-width=512"] if platform.machine() in ("x86_64", "AMD64") else [])]
    # A home directory may be shared by machines of other kinds, for which -march=native means another thing.
    identity = repr([path, flags, torch.__version__, _processor()]).encode() + SOURCE.read_bytes()
    library = _folder() / f"kernels-{hashlib.sha256(identity).hexdigest()[:20]}.so"
    if not library.exists():
        _compile(path, flags, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise _unavailable(f"what was compiled cannot be loaded ({error})") from None


def _folder() -> Path:
    """The user's cache, or a folder for this process alone where there is none to write to."""
    with contextlib.suppress(OSError, CacheError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What is loaded must be this user's own work.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    temporary = tempfile.mkdtemp(prefix="cista_ros-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _compile(compiler: str, flags: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made, compiled = Path(folder, library.name), Path(folder, "kernels.o")
        # Compiled with OpenMP but not linked with one: torch brought its own, and two would have two sets of threads.
        for command in (
            [compiler, *flags, "-fopenmp", "-c", str(SOURCE), "-o", str(compiled)],
            [compiler, "-shared", str(compiled), "-o", str(made)],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                raise _unavailable(f"{compiler} takes more than {_SECONDS} s") from None
            if done.returncode:
                first = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
                raise _unavailable(f"{compiler} failed ({first})")
        made.replace(library)  # whole or not at all, also where two processes do this at the same time


def _unavailable(reason: str) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(f"the runtimes native and winograd compile their kernels here, and {reason}")


def _processor() -> str:
    """What -march=native goes by."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines[:40] if line.startswith(("model name", "flags", "Features", "CPU part")))
