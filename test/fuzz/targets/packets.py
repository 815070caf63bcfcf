"""Streams of event packets in every encoding, compared with the state machines of test/wire, and the event filter.

Events, counts, and the state between packets must equal the machines'. The filter must return events on the sensor, in
order, and account for all others.
"""

from __future__ import annotations

import numpy as np
from source import Source
from state_machines import Evt3, LibcaerCmp, decode_libcaer, decode_mono

from cista_ros.errors import DecodeError
from cista_ros.event_filter import EventFilter
from cista_ros.events import in_order, inside
from cista_ros.wire import word_stream
from cista_ros.wire.event_packet import ENCODINGS, PacketDecoder, PacketEncoder
from cista_ros.wire.ros_types import EventMessage, PacketMessage

MODULES = (
    "cista_ros.wire.event_packet",
    "cista_ros.wire.word_stream",
    "cista_ros.wire.evt3",
    "cista_ros.wire.stateless",
    "cista_ros.event_filter",
)
BLOCKS = 7, 1 << 15  # words decoded at once: nothing may depend on where a block ends
_EVT3 = np.array(
    [0x8001, 0x6010, 0x0003, 0x2805, 0x3007, 0x4101, 0x50FF, 0x6020, 0x2009, 0x8FFF, 0x8000, 0xA000, 0x7001], "<u2"
).tobytes()
_CMP = np.array([0x0001, 0x1002, 0x2003, 0x3804, 0x4005, 0x50A5, 0x6000, 0x3001], "<u2").tobytes()
_PAIRS = np.array([(1, 5), (0x00060015, 9), (0x00060017, 2**31 - 1), (3, 4)], "<u4").tobytes()


def _seed(encoding: int, part: bytes, flags: int = 0) -> bytes:
    packet = bytes([1, 0]) + len(part).to_bytes(2, "little") + part
    return bytes([flags, encoding, 200, 100]) + packet * 3


SEEDS = [
    _seed(encoding, part, flags)
    for encoding, part in enumerate((_EVT3, _PAIRS, _CMP, _PAIRS))
    for flags in (0, 1, 2, 4)
]


def check(data: bytes) -> None:
    """Decode several packets; only DecodeError may be raised."""
    source = Source(data)
    flags, encoding = source.number(), source.pick(ENCODINGS)
    height, width = 16 + 4 * source.number(), 16 + 4 * source.number()
    word_stream._BLOCK = BLOCKS[flags & 1]
    decoder = PacketDecoder("host" if flags & 2 else "sensor")
    machine = _Machine()
    event_filter = EventFilter(height, width, max_gap_ns=[None, 10**8][flags >> 3 & 1])
    encoder = PacketEncoder(encoding) if flags & 4 else None
    again = PacketDecoder()
    seq = 0
    while source.left:
        step = source.number()
        seq = max(0, seq + (step if step < 0x80 else step - 0x100))
        if source.number() & 1 and (flags & 16):
            encoding = source.pick((*ENCODINGS, "evt2"))
        base = source.number(8) if flags & 32 else source.number(4)
        stamp = source.number(6) if flags & 2 else 0
        part = np.frombuffer(source.piece(), np.uint8)
        packet = PacketMessage(stamp, "", height, width, seq, base, encoding, part)
        wanted = machine.decode(packet)
        try:
            message = decoder.decode(packet)
        except DecodeError:
            assert wanted is None
            continue
        assert wanted is not None, "the machine cannot decode it"
        if not flags & 2:
            assert _rows(message.events) == wanted
            assert vars(decoder.counts) == machine.counts
        assert len(message.events) == len(wanted) and message.events["p"].tolist() == [row[3] for row in wanted]
        _take_in(event_filter, message)
        if encoder and message.packet and encoding == encoder.encoding:
            _encode_again(encoder, again, message, seq)
    for part in event_filter.release():
        assert inside(part.events, height, width).all()
    counts = event_filter.counts
    assert counts.received == counts.accepted + counts.outside + counts.late + counts.stray


def _rows(events: np.ndarray) -> list[tuple[int, int, int, bool]]:
    return list(zip(*(events[name].tolist() for name in "txyp"), strict=True))


def _take_in(event_filter: EventFilter, message: EventMessage) -> None:
    for part in event_filter.accept(message.events):
        assert inside(part.events, event_filter.height, event_filter.width).all() and in_order(part.events)
    c = event_filter.counts
    assert c.received == c.accepted + c.outside + c.late + c.stray + event_filter.held_events


def _encode_again(encoder: PacketEncoder, decoder: PacketDecoder, message: EventMessage, seq: int) -> None:
    """Assert that encoded events decode to the same (for evt3, except for earlier roll-overs)."""
    try:
        packet = encoder.encode(message, 0)
    except ValueError:
        return
    events = decoder.decode(packet).events
    if encoder.encoding == "evt3":
        assert ((events["t"] - message.events["t"]) % ((1 << 24) * 1000) == 0).all()
        events = events.copy()
        events["t"] = message.events["t"]
    assert (events == message.events).all()


class _Machine:
    """The plain decoders, and PacketDecoder's documented rules for gaps between packets."""

    def __init__(self) -> None:
        self.missing = self.unplaced = self.unknown = 0
        self._encoding: str | None = None
        self._seq = 0
        self._evt3, self._cmp = Evt3(), LibcaerCmp()

    @property
    def counts(self) -> dict[str, int]:
        return {
            "missing_packets": self.missing,
            "unplaced_events": self.unplaced + self._evt3.unplaced + self._cmp.unplaced,
            "unknown_words": self.unknown + self._evt3.unknown + self._cmp.unknown,
        }

    def decode(self, packet: PacketMessage) -> list[tuple[int, int, int, bool]] | None:
        """Return the packet's events; None if it cannot be decoded."""
        refused = packet.encoding not in ENCODINGS or packet.time_base > 1 << 62
        gap = packet.seq - self._seq - 1
        known = self._encoding is not None and gap >= -1
        if refused:
            if known:
                self.missing += max(gap, 0)
                self._evt3.lose()
                self._seq = packet.seq
            return None
        if packet.encoding != self._encoding or not known:
            self.unplaced, self.unknown = self.counts["unplaced_events"], self.counts["unknown_words"]
            self._encoding, self._evt3, self._cmp = packet.encoding, Evt3(), LibcaerCmp()
        elif gap > 0:
            self.missing += gap
            self._evt3.lose()
        self._seq = packet.seq
        size = 2 if packet.encoding in ("evt3", "libcaer_cmp") else 8
        if len(packet.data) % size:
            self._evt3.lose()
            return None
        match packet.encoding:
            case "evt3":
                return self._evt3.decode(packet.data)
            case "libcaer_cmp":
                return self._cmp.decode(packet.data, packet.time_base)
            case "libcaer":
                return decode_libcaer(packet.data, packet.time_base)
        return decode_mono(packet.data, packet.time_base)
