"""A camera: a process that publishes events at a given rate, on this machine's clock.

    python benchmarks/soak/traffic.py COUNTS [--rate EVENTS_PER_SECOND] [--seconds S] …

It repeats the events of a recording (default: the sample) with its time scaled to the rate. The file COUNTS holds what
was sent at any time, also after SIGKILL, and the next process continues from there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

import cista_ros
from cista_ros.events import concatenate
from cista_ros.node.topics import message_class
from cista_ros.recordings import open_recording
from cista_ros.wire import cdr
from cista_ros.wire.event_packet import PacketEncoder
from cista_ros.wire.ros_types import EVENT_ARRAY, EVENT_PACKET, EventMessage, PacketMessage

SAMPLE = Path(cista_ros.__file__).parent / "samples" / "landscape.bag"
ENCODINGS = "", "evt2", "evt4", "EVT3", "libcaer", "mono", "libcaer_cmp", "\x01", "a" * 1000
# The int64 fields of COUNTS. A message counts as begun before it is published and as sent after, in case of SIGKILL.
FIELDS = (
    "begun_messages",
    "begun_events",
    "sent_messages",
    "sent_events",
    "damaged_messages",
    "damaged_events",
    "behind_ms",
)


def counts_file(path: Path) -> np.memmap:
    """Map the counts in a file, which is created if needed."""
    if not path.exists():
        path.write_bytes(bytes(8 * len(FIELDS)))
    return np.memmap(path, np.int64, "r+")


def read_counts(path: Path) -> dict[str, int]:
    """Return what was sent so far, by name."""
    return dict(zip(FIELDS, map(int, np.fromfile(path, np.int64)), strict=True))


@dataclass
class Loop:
    """The events of a recording, repeated without end, at a rate in events per second."""

    recording: Path
    rate: float

    def __post_init__(self) -> None:
        with open_recording(self.recording) as source:
            self.height, self.width = source.height, source.width
            messages = [item.message for item in source.read() if isinstance(item.message, EventMessage)]
        events = concatenate([message.events for message in messages])
        self.events = events[np.argsort(events["t"], kind="stable")]
        t = self.events["t"] - self.events["t"][0]
        # Whole microseconds, which every encoding can represent.
        self.length_ns = round(len(t) / self.rate * 1e6) * 1000
        self.events["t"] = (t * (self.length_ns / (t[-1] + 1))).astype(np.int64) // 1000 * 1000

    def between(self, start: int, end: int) -> np.ndarray:
        """Return the events of [start, end), in ns since the first."""
        parts = []
        for turn in range(start // self.length_ns, (end - 1) // self.length_ns + 1):
            offset = turn * self.length_ns
            first, last = np.searchsorted(self.events["t"], (start - offset, end - offset))
            part = self.events[first:last].copy()
            part["t"] += offset
            parts.append(part)
        return concatenate(parts)


def encoder(encoding: str) -> Callable[[EventMessage], bytes]:
    """Return a function from messages to CDR bytes of dvs_msgs or event packets."""
    if encoding == "dvs_msgs":
        return cdr.encode
    packets, seq = PacketEncoder(encoding), iter(range(1 << 62))
    return lambda message: cdr.encode(packets.encode(message, next(seq)))


def damaged(data: bytes, rng: np.random.Generator, empty: EventMessage) -> bytes:
    """Return a message damaged in a random way: bits flipped, cut, bytes inserted, or random content."""
    kind = int(rng.integers(5))
    if kind == 0:
        bits = np.frombuffer(data, np.uint8).copy()
        # Half of the time in the header and the sizes.
        where = rng.integers(0, len(bits) if rng.random() < 0.5 else min(64, len(bits)), int(rng.integers(1, 17)))
        bits[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
        return bits.tobytes()
    if kind == 1:
        return data[: int(rng.integers(len(data)))]
    if kind == 2:
        at = int(rng.integers(len(data)))
        return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]
    if kind == 3:
        return data[:4] + rng.bytes(int(rng.integers(0, 4096)))
    fields: dict[str, Any] = {"seq": int(rng.integers(1 << 62)), "time_base": int(rng.integers(1 << 62))}
    words = np.frombuffer(rng.bytes(int(rng.integers(4096))), np.uint8)
    packet = PacketMessage(
        empty.stamp, "camera", empty.height, empty.width, encoding=str(rng.choice(ENCODINGS)), data=words, **fields
    )
    return cdr.encode(packet)


def main(options: argparse.Namespace) -> None:
    counts = counts_file(options.counts)
    loop = Loop(options.recording, options.rate)
    encode, rng = encoder(options.encoding), np.random.default_rng(options.seed)
    rclpy.init()
    node = rclpy.create_node("traffic")
    kind = message_class(EVENT_ARRAY if options.encoding == "dvs_msgs" else EVENT_PACKET)
    reliability: Any = getattr(QoSReliabilityPolicy, options.reliability)
    publisher: Any = node.create_publisher(kind, options.topic, QoSProfile(depth=1000, reliability=reliability))
    while publisher.get_subscription_count() < options.subscribers:
        time.sleep(0.02)
    step, turns = round(options.every_ms * 1e6), options.jumps or [0.0]
    began = time.monotonic()
    # EVT3 has no wall clock; its time starts within 16.8 s.
    t0 = time.time_ns() if options.encoding in ("dvs_msgs", "mono") else 1_000_000
    for i in range(round(options.seconds * 1000 / options.every_ms)):
        due = began + (i + 1) * step / 1e9
        if options.burst and (i * step / 1e9) % options.burst[1] >= options.burst[0]:
            continue
        events = loop.between(i * step, (i + 1) * step)
        jump = turns[int(i * step / 1e9 / options.jump_every) % len(turns)]
        events["t"] += t0 // 1000 * 1000 + round(jump * 1e9)
        message = EventMessage(time.time_ns(), "camera", loop.height, loop.width, events)
        data, n = encode(message), len(events)
        time.sleep(max(0.0, due - time.monotonic()))
        counts[6] = max(counts[6], round(1000 * (time.monotonic() - due)))
        if rng.random() < options.damage:
            counts[4:6] += 1, n
            publisher.publish(damaged(data, rng, replace(message, events=events[:0])))
            continue
        counts[0:2] += 1, n
        publisher.publish(data)
        counts[2:4] += 1, n
    publisher.wait_for_all_acked(Duration(seconds=30))
    node.destroy_node()
    rclpy.shutdown()


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", type=Path)
    parser.add_argument("--recording", type=Path, default=SAMPLE)
    parser.add_argument("--rate", type=float, default=1e6)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--every-ms", type=float, default=10.0, help="of events in a message")
    parser.add_argument("--encoding", default="dvs_msgs", help="or an encoding of event packets")
    parser.add_argument("--topic", default="/dvs/events")
    parser.add_argument("--reliability", default="RELIABLE")
    parser.add_argument("--subscribers", type=int, default=1, help="to wait for")
    parser.add_argument("--burst", type=numbers, help="ON,EVERY: send only the first ON of each EVERY seconds")
    parser.add_argument("--jumps", type=numbers, help="A,B,…: the clock is wrong by these seconds in turn")
    parser.add_argument("--jump-every", type=float, default=5.0, help="seconds")
    parser.add_argument("--damage", type=float, default=0.0, help="share of the messages that are damaged")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
