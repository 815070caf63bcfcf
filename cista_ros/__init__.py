"""Video from event cameras, by the network CISTA-TC, with and without ROS 2.

>>> import cista_ros
>>> for frame in cista_ros.reconstruct("recording.bag"):
...     print(frame.stamp, frame.image.shape)

Importing the package is cheap: torch and the readers are imported when a name below is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .events import make_events
    from .networks import load_network
    from .pipeline import reconstruct
    from .reconstructor import Frame, Reconstructor
    from .recordings import open_recording

__version__: str
__all__ = ["Frame", "Reconstructor", "__version__", "load_network", "make_events", "open_recording", "reconstruct"]

_MODULES = {
    "Frame": "reconstructor",
    "Reconstructor": "reconstructor",
    "load_network": "networks",
    "make_events": "events",
    "open_recording": "recordings",
    "reconstruct": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
