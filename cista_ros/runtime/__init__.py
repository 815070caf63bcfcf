"""Ways to run a network: as written, or faster. Which are exact, and how fast they are: docs/performance.md."""

from .choice import PRECISIONS, RUNTIMES, make_runtime
from .runtime import Eager, Runtime

__all__ = ["PRECISIONS", "RUNTIMES", "Eager", "Runtime", "make_runtime"]
