"""event_camera_msgs/EventPacket <-> events: its encodings, and what belongs to a stream of packets and not to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..errors import DecodeError
from ..events import NO_TRIGGERS
from .evt3 import Evt3Decoder, Evt3Encoder
from .host_clock import HostClock
from .libcaer_cmp import LibcaerCmpDecoder, LibcaerCmpEncoder
from .messages import EventMessage, PacketMessage
from .pairs import LibcaerDecoder, LibcaerEncoder, MonoDecoder, MonoEncoder

EVENT_TIMES = "sensor", "host"
_LAST_TIME_BASE = 1 << 62  # ns, 146 years; what is added to it still fits int64
_LARGEST_GAP = 1 << 20  # packets, hours of them; what is further apart are two streams


class _Decoder(Protocol):
    unplaced_events: int
    unknown_words: int

    def decode_packet(self, data: np.ndarray, time_base: int) -> np.ndarray: ...
    def take_triggers(self) -> np.ndarray: ...
    def lose(self) -> None: ...


class _Encoder(Protocol):
    def encode_packet(self, events: np.ndarray, triggers: np.ndarray) -> tuple[bytes, int]: ...


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "evt3": Evt3Decoder,
    "libcaer": LibcaerDecoder,
    "libcaer_cmp": LibcaerCmpDecoder,
    "mono": MonoDecoder,
}
_ENCODERS: dict[str, Callable[[], _Encoder]] = {
    "evt3": Evt3Encoder,
    "libcaer": LibcaerEncoder,
    "libcaer_cmp": LibcaerCmpEncoder,
    "mono": MonoEncoder,
}
ENCODINGS = tuple(_ENCODERS)


@dataclass
class PacketCounts:
    """What was missing or left out: packets that did not come, by the gaps in `seq`; events whose place or time was not
    told yet (at the beginning, and after a gap); words of no known code.
    """

    missing_packets: int = 0
    unplaced_events: int = 0
    unknown_words: int = 0

    def __str__(self) -> str:
        """What there was of these, in words; empty if there was nothing."""
        told = {
            "packets missing": self.missing_packets,
            "events of packets left out, whose place or time was not told": self.unplaced_events,
            "words of no known code": self.unknown_words,
        }
        return ", ".join(f"{n} {what}" for what, n in told.items() if n)


class PacketDecoder:
    """Decodes one camera's packets in turn.

    A `seq` that goes back, or another encoding, begins a new stream. After a gap in `seq` no place or time of before is
    relied upon. Publishers that do not count (all `seq` equal) are taken to lose nothing.

    Args:
        event_time: "sensor" for the camera's own time, "host" for that moved to the packets' stamps (see HostClock).
        counts: goes on counting there.
    """

    def __init__(self, event_time: str = "sensor", counts: PacketCounts | None = None) -> None:
        self.counts = counts or PacketCounts()
        self._event_time = event_time
        self._host_clock = HostClock()
        self._encoding: str | None = None
        self._decoder: _Decoder
        self._seq = 0

    def decode(self, packet: PacketMessage) -> EventMessage:
        """The packet's events; DecodeError if they cannot be decoded: the next packet then begins after a gap."""
        refusal = _refusal(packet)
        self._go_on_to(packet, bool(refusal))
        if refusal:
            raise DecodeError(refusal)
        decoder = self._decoder
        unplaced, unknown = decoder.unplaced_events, decoder.unknown_words
        try:
            events = decoder.decode_packet(packet.data, packet.time_base)
        except DecodeError:
            decoder.lose()
            raise
        self.counts.unplaced_events += decoder.unplaced_events - unplaced
        self.counts.unknown_words += decoder.unknown_words - unknown
        triggers = decoder.take_triggers()
        head = packet.stamp, packet.frame_id, packet.height, packet.width
        if self._event_time == "host":
            self._host_clock.to_host(events["t"], packet.stamp)
            self._host_clock.move(triggers["t"])
            return EventMessage(*head, events, triggers=triggers)  # the packet has other times
        return EventMessage(*head, events, packet, triggers)

    def _go_on_to(self, packet: PacketMessage, refused: bool) -> None:
        """Take note of a packet's place in its stream. One that is refused did come, and is not missing."""
        gap = packet.seq - self._seq - 1
        follows = self._encoding is not None and -1 <= gap <= _LARGEST_GAP
        if follows and (refused or packet.encoding == self._encoding):
            self.counts.missing_packets += max(0, gap)
            if gap > 0 or refused:
                self._decoder.lose()
        elif refused:
            return  # of a stream that nothing else is known of
        else:
            self._encoding, self._decoder = packet.encoding, _DECODERS[packet.encoding]()
            self._host_clock = HostClock()
        self._seq = packet.seq


def _refusal(packet: PacketMessage) -> str:
    """Why a packet cannot be decoded, by what it says of itself; empty if it can."""
    if packet.encoding not in _DECODERS:
        return f"encoding {packet.encoding!r} is not known; known are {', '.join(_DECODERS)}"
    if packet.time_base > _LAST_TIME_BASE:
        return f"time_base is {packet.time_base} ns; expected at most {_LAST_TIME_BASE}"
    return ""


def part_of(message: EventMessage, wanted: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> EventMessage:
    """The message with only those of its events (N,) where `wanted` is true, and these triggers; a packet is encoded
    anew.

    Raises ValueError if its encoding cannot tell the times of this part, which may be if they go back.
    """
    part = replace(message, events=message.events[wanted], packet=None, triggers=triggers)
    if message.packet is None:
        return part
    return replace(part, packet=PacketEncoder(message.packet.encoding).encode(part, message.packet.seq))


class PacketEncoder:
    """Encodes one stream of events in one of ENCODINGS."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._encoder = _ENCODERS[encoding]()

    def encode(self, message: EventMessage, seq: int) -> PacketMessage:
        """A packet of the message's events; ValueError if the encoding cannot hold them exactly."""
        data, time_base = self._encoder.encode_packet(message.events, message.triggers)
        raw = np.frombuffer(data, np.uint8)
        head = message.stamp, message.frame_id, message.height, message.width
        return PacketMessage(*head, seq, time_base, self.encoding, raw)
