"""Message types: their classes by name, and messages of their bytes.

Those of events are optional: who has only one kind of camera needs but one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

from rclpy.serialization import deserialize_message

from ..errors import DecodeError, MissingPackageError
from ..wire.ros_types import EVENT_ARRAY, EVENT_PACKET

Message = TypeVar("Message")


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


def from_bytes(message_type: type[Message], data: bytes) -> Message:
    """The message that came as these bytes to a subscription that is raw.

    To one that is not, bytes that are none do not come at all (Fast DDS drops them, and nobody counts it), or as an
    error that ends the process, by middleware.

    Raises:
        DecodeError: they are no message of this type.
    """
    try:
        return deserialize_message(data, message_type)
    except Exception as error:  # rclpy does not say which
        raise DecodeError(f"no {message_type.__name__}: {error}") from None
