"""Compile kernels.cpp for this processor, once, and load it."""

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

from ..errors import RuntimeUnavailableError
from ..util.cache import CacheError, cache_folder

SOURCE = Path(__file__).with_name("kernels.cpp")
_TIMEOUT_S = 120
# No -ffast-math: linking with it changes how the whole process treats denormal numbers.
_FLAGS = ["-O3", "-std=c++17", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]


@functools.lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL:
    """Load the compiled kernels from the user's cache folder, or compile them, which takes seconds.

    RuntimeUnavailableError if there is no C++ compiler, or it failed.
    """
    compiler = compiler_name()
    path = shutil.which(compiler)
    if path is None:
        raise _unavailable(f"no C++ compiler {compiler} (Debian, Ubuntu: apt install g++)")
    # GCC uses only half of the vector width on x86 by default.
    flags = [*_FLAGS, *(["-mprefer-vector-width=512"] if platform.machine() in ("x86_64", "AMD64") else [])]
    # Machines with different processors may share a home directory.
    identity = repr([path, flags, torch.__version__, _processor()]).encode() + SOURCE.read_bytes()
    library = _folder() / f"kernels-{hashlib.sha256(identity).hexdigest()[:20]}.so"
    if not library.exists():
        _compile(path, flags, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise _unavailable(f"{library} cannot be loaded ({error})") from None


def compiler_name() -> str:
    """Return the program named by the environment variable CXX, without its options; g++ if it is unset or blank."""
    return (os.environ.get("CXX", "").split() or ["g++"])[0]


def _folder() -> Path:
    """The user's cache folder, or a temporary one if that is not writable."""
    with contextlib.suppress(OSError, CacheError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Load only files that this user wrote.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    temporary = tempfile.mkdtemp(prefix="cista_ros-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _compile(compiler: str, flags: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made, compiled = Path(folder, library.name), Path(folder, "kernels.o")
        # Compiled for OpenMP but linked with none: the process uses the one that torch loaded.
        for command in (
            [compiler, *flags, "-fopenmp", "-c", str(SOURCE), "-o", str(compiled)],
            [compiler, "-shared", str(compiled), "-o", str(made)],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise _unavailable(f"{compiler} took more than {_TIMEOUT_S} s") from None
            except OSError as error:
                raise _unavailable(f"{compiler} does not run ({error.strerror})") from None
            if done.returncode:
                first = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
                raise _unavailable(f"{compiler} failed ({first})")
        made.replace(library)  # atomic, also if two processes compile at the same time


def _unavailable(reason: str) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(f"runtimes native and winograd cannot compile their kernels: {reason}")


def _processor() -> str:
    """The properties of the processor that -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines[:40] if line.startswith(("model name", "flags", "Features", "CPU part")))
