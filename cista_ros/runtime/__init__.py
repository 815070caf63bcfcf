"""Ways to run a network. docs/reference/performance.md compares their accuracy and speed."""

from .base import Eager, Runtime
from .choice import PRECISIONS, RUNTIMES, make_runtime

__all__ = ["PRECISIONS", "RUNTIMES", "Eager", "Runtime", "make_runtime"]
