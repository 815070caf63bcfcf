"""The classes of message types by name. Those of events are optional: who has only one kind of camera needs but one."""

from __future__ import annotations

from importlib import import_module

from ..errors import MissingPackageError
from ..wire.messages import EVENT_ARRAY, EVENT_PACKET


def message_class(kind: str) -> type:
    """The class of a message type such as dvs_msgs/msg/EventArray.

    Raises:
        MissingPackageError: its package is not installed.
    """
    package, _, name = kind.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except ImportError:
        ours = f"build it from msg/{package} of this repository, or " if kind in (EVENT_ARRAY, EVENT_PACKET) else ""
        raise MissingPackageError(
            f"{kind}: the package {package} is not installed; {ours}install your distribution's"
        ) from None
