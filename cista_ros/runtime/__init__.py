"""Ways to run a network. docs/reference/performance.md compares their accuracy and speed."""

from .base import Runtime
from .choice import PRECISIONS, RUNTIMES, make_runtime
from .eager import Eager

__all__ = ["PRECISIONS", "RUNTIMES", "Eager", "Runtime", "make_runtime"]
