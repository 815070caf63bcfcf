"""Messages as no publisher should send them."""

from __future__ import annotations

from typing import Any

import numpy as np

from cista_ros.wire import cdr
from cista_ros.wire.ros_types import EventMessage, PacketMessage

ENCODINGS = "", "evt2", "evt4", "EVT3", "libcaer", "mono", "libcaer_cmp", "\x01", "a" * 1000


def damaged(data: bytes, rng: np.random.Generator, empty: EventMessage) -> bytes:
    """One of: some bits flipped, cut anywhere, bytes put in anywhere, nothing but random bytes, or a packet's random
    words under a random encoding (as bytes of an event array they are random, too).
    """
    kind = int(rng.integers(5))
    if kind == 0:
        bits = np.frombuffer(data, np.uint8).copy()
        # Half of the time within the header and the sizes, where it matters most.
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
