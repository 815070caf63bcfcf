"""The messages of one topic of events, of whatever type, decoded one after another."""

from __future__ import annotations

from .codec import Codec
from .cursor import Bytes
from .event_packet import PacketCounts, PacketDecoder
from .messages import EVENT_ARRAY, EventMessage


class EventStream:
    """Decodes messages of one of EVENT_TYPES; what packets need to know of those before them lies here.

    Args:
        kind: the messages' type.
        codec: their serialization.
        event_time: of packets, "sensor" or "host" (see PacketDecoder). An EventArray's times are its driver's.
        counts: goes on counting there.
    """

    def __init__(self, kind: str, codec: Codec, event_time: str = "sensor", counts: PacketCounts | None = None) -> None:
        self._kind, self._codec = kind, codec
        self._packets = PacketDecoder(event_time, counts)

    def decode(self, data: Bytes) -> EventMessage:
        """The events of a message; DecodeError if it is none of this type, or cannot be decoded."""
        message = self._codec.decode(self._kind, data)
        return message if self._kind == EVENT_ARRAY else self._packets.decode(message)
