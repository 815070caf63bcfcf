"""Which C++ compiler is used here."""

from __future__ import annotations

import os


def compiler_name() -> str:
    """The program that the environment's CXX names, without its options; g++ where that is not set, or blank."""
    return (os.environ.get("CXX", "").split() or ["g++"])[0]
