"""The encodings of event packets as plain loops over words, written from their descriptions: slow and easy to check.

Each yields events as tuples (t in ns, x, y, p).
"""

import struct


def words_of(data):
    return struct.unpack(f"<{len(data) // 2}H", bytes(data))


class Evt3:
    """Prophesee EVT 3.0. None is not set yet; events that depend on it are dropped and counted."""

    def __init__(self):
        self.high = self.low = self.y = self.base = self.polarity = None
        self.rolls = 0
        self.has_high = False
        self.unplaced = self.unknown = 0
        self.triggers = []  # of the last packet

    def lose(self):
        self.low = self.y = self.base = None
        self.has_high = False

    def decode(self, data):
        events, self.triggers = [], []
        for word in words_of(data):
            code, payload = word >> 12, word & 0xFFF
            if code == 0x0:
                self.y = payload & 0x7FF
            elif code == 0x2:
                self.emit(events, payload & 0x7FF, payload >> 11)
            elif code == 0x3:
                self.base, self.polarity = payload & 0x7FF, payload >> 11
            elif code in (0x4, 0x5):
                width = 12 if code == 0x4 else 8
                for i in range(width):
                    if payload >> i & 1:
                        self.emit(events, None if self.base is None else self.base + i, self.polarity)
                if self.base is not None:
                    self.base = min(self.base, 0xFFF0) + width
                    # A base beyond all sensors stays there, whatever follows.
                    self.base = min(self.base, 0xFFF0)
            elif code == 0x6:
                if self.has_high:
                    self.low = payload
            elif code == 0x8:
                if self.high is not None:
                    if payload < self.high - 10:
                        self.rolls += 1
                    elif payload > self.high + 4085:
                        self.rolls -= 1
                self.high, self.has_high = payload, True
            elif code == 0xA:
                if self.low is not None:
                    self.triggers.append((self.now(), payload >> 8, bool(payload & 1)))
            elif code not in (0x7, 0x9, 0xE, 0xF):
                self.unknown += 1
        return events

    def emit(self, events, x, polarity):
        if x is None or self.y is None or self.low is None:
            self.unplaced += 1
        else:
            events.append((self.now(), x, self.y, bool(polarity)))

    def now(self):
        return (self.rolls * 2**24 + self.high * 4096 + self.low) * 1000


class LibcaerCmp:
    """`libcaer_cmp`: every packet starts at its time base."""

    def __init__(self):
        self.unplaced = self.unknown = 0

    def lose(self):
        pass

    def decode(self, data, time_base):
        events = []
        high = low = 0
        x = base = polarity = None
        for word in words_of(data):
            code, payload = word >> 12, word & 0xFFF
            found = []
            if code == 0:
                high = payload
            elif code == 1:
                low = payload
            elif code == 2:
                x = payload & 0x7FF
            elif code == 3:
                found = [(payload & 0x7FF, payload >> 11)]
            elif code == 4:
                base, polarity = payload & 0x7FF, payload >> 11
            elif code == 5:
                found = [(None if base is None else base + i, polarity) for i in range(8) if payload >> i & 1]
                base = None if base is None else min(base + 8, 0xFFF0)
            else:
                self.unknown += 1
            for y, p in found:
                if x is None or y is None:
                    self.unplaced += 1
                else:
                    events.append((((high << 12 | low) + time_base // 1000) * 1000, x, y, bool(p)))
        return events


def decode_libcaer(data, time_base):
    events, last, rolls = [], 0, 0
    for word, us in struct.iter_unpack("<II", bytes(data)):
        us &= 2**31 - 1
        if us < last - 2**30:
            rolls += 1
        elif us > last + 2**30 and rolls:
            rolls -= 1
        last = us
        events.append((time_base + (rolls * 2**31 + us) * 1000, word >> 17, word >> 2 & 0x7FFF, bool(word >> 1 & 1)))
    return events


def decode_mono(data, time_base):
    return [
        (time_base + (word & 0xFFFFFFFF), word >> 32 & 0xFFFF, word >> 48 & 0x7FFF, bool(word >> 63))
        for (word,) in struct.iter_unpack("<Q", bytes(data))
    ]
