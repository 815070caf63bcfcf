"""event_camera_msgs/EventPacket <-> events: the encodings, and the state of a stream of packets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from ..errors import DecodeError
from ..events import NO_TRIGGERS, NS
from . import evt3, stateless
from .codec import Codec
from .ros_types import EVENT_ARRAY, EVENT_TYPES, EventMessage, PacketMessage
from .serialization import Bytes
from .stateless import LIBCAER, MONO, PairDecoder, encode_pairs
from .word_stream import PacketCounts, WordDecoder

EVENT_TIMES = "sensor", "host"
_LAST_TIME_BASE = 1 << 62  # ns, 146 years; a time added to it still fits int64
_LARGEST_GAP = 1 << 20  # packets, hours of them; a larger gap separates two streams
_MAX_DRIFT = 1e-4  # of the sensor's clock; slow enough to average the jitter of the stamps
_CLOCK_JUMP_NS = NS  # an offset that changes by more than this was set again


_Encode = Callable[[np.ndarray, np.ndarray], tuple[bytes, int]]
# For each encoding, what makes a decoder of a stream, and a function that encodes one.
_CODECS: dict[str, tuple[Callable[[PacketCounts], WordDecoder | PairDecoder], Callable[[], _Encode]]] = {
    "evt3": (partial(WordDecoder, evt3.LAYOUT), lambda: evt3.Evt3Encoder().encode_packet),
    "libcaer": (partial(PairDecoder, LIBCAER), lambda: partial(encode_pairs, LIBCAER)),
    "libcaer_cmp": (partial(WordDecoder, stateless.LAYOUT), lambda: stateless.encode_libcaer_cmp),
    "mono": (partial(PairDecoder, MONO), lambda: partial(encode_pairs, MONO)),
}
ENCODINGS = tuple(_CODECS)


class PacketDecoder:
    """Decodes the packets of one camera in turn.

    A `seq` that goes back, or another encoding, begins a new stream. After a gap in `seq`, no coordinate or time from
    before it is used. A publisher that does not count (all `seq` are equal) loses nothing.

    Args:
        event_time: "sensor" for the camera's own clock, "host" for times moved to the packets' stamps (see HostClock).
        counts: where to continue counting.
    """

    def __init__(self, event_time: str = "sensor", counts: PacketCounts | None = None) -> None:
        self.counts = counts or PacketCounts()
        self._event_time = event_time
        self._host_clock = HostClock()
        self._encoding: str | None = None
        self._decoder: WordDecoder | PairDecoder
        self._seq = 0

    def decode(self, packet: PacketMessage) -> EventMessage:
        """Return the packet's events.

        Raises:
            DecodeError: they cannot be decoded. For the next packet, this is a gap.
        """
        refusal = ""
        if packet.encoding not in _CODECS:
            refusal = f"unknown encoding {packet.encoding!r}; expected {', '.join(_CODECS)}"
        elif packet.time_base > _LAST_TIME_BASE:
            refusal = f"time_base is {packet.time_base} ns; expected at most {_LAST_TIME_BASE}"
        self._advance(packet, bool(refusal))
        if refusal:
            raise DecodeError(refusal)
        try:
            events = self._decoder.decode_packet(packet.data, packet.time_base)
        except DecodeError:
            self._decoder.lose()
            raise
        triggers = self._decoder.take_triggers()
        head = packet.stamp, packet.frame_id, packet.height, packet.width
        if self._event_time == "host":
            self._host_clock.to_host(events["t"], packet.stamp)
            self._host_clock.move(triggers["t"])
            return EventMessage(*head, events, triggers=triggers)  # the packet has other times
        return EventMessage(*head, events, packet, triggers)

    def _advance(self, packet: PacketMessage, refused: bool) -> None:
        """Update the place in the stream and the counts. A packet that is refused did arrive, so it is not missing."""
        gap = packet.seq - self._seq - 1
        follows = self._encoding is not None and -1 <= gap <= _LARGEST_GAP
        if follows and (refused or packet.encoding == self._encoding):
            self.counts.missing_packets += max(0, gap)
            if gap > 0 or refused:
                self._decoder.lose()
        elif refused:
            return  # of a stream of which nothing else is known
        else:
            self._encoding, self._decoder = packet.encoding, _CODECS[packet.encoding][0](self.counts)
            self._host_clock = HostClock()
        self._seq = packet.seq


class HostClock:
    """Moves a stream from the sensor's clock to the host's, by the packets' stamps.

    The first events of packets then lie around the packets' stamps. The offset between the clocks changes by at most
    100 us a second, so that time never goes back because of it. If it is off by more than a second, it changes at once.
    """

    def __init__(self) -> None:
        self._offset: int | None = None  # at the time `_since`, from which it changes at `_rate`
        self._since = 0
        self._rate = 0.0

    def to_host(self, t: np.ndarray, stamp: int) -> None:
        """Change the sensor times (N,) in ns of a packet with this stamp to host time, in place."""
        if not len(t):
            return
        first = int(t[0])
        if self._offset is not None:
            self._offset += int(self._change(t[:1])[0])
        if self._offset is None or abs(stamp - first - self._offset) > _CLOCK_JUMP_NS:
            self._offset = stamp - first
        self._since = first
        self._rate = float(np.clip((stamp - first - self._offset) / NS, -_MAX_DRIFT, _MAX_DRIFT))
        self.move(t)

    def move(self, t: np.ndarray) -> None:
        """Change sensor times (N,) in ns near those of the last packet to host time, in place."""
        if self._offset is not None:
            t += self._change(t) + self._offset

    def _change(self, t: np.ndarray) -> np.ndarray:
        """Return how much the offset has changed by these times. Without packets it stops after a second."""
        return np.asarray(np.rint(np.clip(t - self._since, 0, NS) * self._rate).astype(np.int64))


class EventStream:
    """Decodes the messages of one topic of events, of any accepted type.

    Args:
        kind: the type of the messages, one of EVENT_TYPES.
        codec: their serialization.
        event_time: clock of packets, "sensor" or "host" (see PacketDecoder). Times of an EventArray stay as they are.
        counts: where to continue counting.
    """

    def __init__(self, kind: str, codec: Codec, event_time: str = "sensor", counts: PacketCounts | None = None) -> None:
        self._kind, self._codec = EVENT_TYPES[kind], codec
        self._packets = PacketDecoder(event_time, counts)

    def decode(self, data: Bytes) -> EventMessage:
        """Return the events of a message.

        Raises:
            EmptyMessageError: it has neither events nor a sensor size, and can be skipped.
            DecodeError: the bytes are no message of this type, or its events cannot be decoded.
        """
        message = self._codec.decode(self._kind, data)
        events: EventMessage = message if self._kind == EVENT_ARRAY else self._packets.decode(message)
        return events


def part_of(message: EventMessage, wanted: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> EventMessage:
    """Return the message with the events (N,) where `wanted` is true, and these triggers; a packet is encoded again.

    Raises:
        ValueError: its encoding cannot hold the times of this part, which can happen if they go back.
    """
    part = replace(message, events=message.events[wanted], packet=None, triggers=triggers)
    if message.packet is None:
        return part
    return replace(part, packet=PacketEncoder(message.packet.encoding).encode(part, message.packet.seq))


class PacketEncoder:
    """Encodes one stream of events in one of ENCODINGS."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._encode = _CODECS[encoding][1]()

    def encode(self, message: EventMessage, seq: int) -> PacketMessage:
        """Return a packet of the message's events; raises ValueError if the encoding cannot hold them exactly."""
        data, time_base = self._encode(message.events, message.triggers)
        raw = np.frombuffer(data, np.uint8)
        head = message.stamp, message.frame_id, message.height, message.width
        return PacketMessage(*head, seq, time_base, self.encoding, raw)
