"""The common part of formats that hold one stream of events, with frames and triggers beside it, not messages.

A reader yields blocks of events in the order of the file. Here they are sorted and cut into messages like those of a
driver.
"""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from ..errors import RecordingError, SeveralTopicsError
from ..events import NO_TRIGGERS, NS, concatenate, in_order, no_events
from ..wire.ros_types import EVENT_ARRAY, EVENT_PACKET, EventMessage, ImageMessage, PacketMessage
from .image_file import encoding_of
from .recording import Item, Recording

K = TypeVar("K")
EVENTS_TOPIC, FRAMES_TOPIC = "/dvs/events", "/dvs/image_raw"
CHUNK_NS = NS // 30  # what a driver sends in one message
CHUNK_EVENTS = 200_000
DISORDER_NS = 10_000_000  # events that are late by less than this are sorted into their place
_MOST_BLOCKS = 1000  # joined before they are sorted and cut
_READ_BYTES = 1 << 20
# Sensors of the cameras on the market, as (width, height).
SENSORS = ((128, 128), (240, 180), (304, 240), (320, 240), (320, 320), (346, 260), (640, 480), (1280, 720))


@dataclass(frozen=True)
class Block:
    """Events (N,) in the order of the file, the triggers (M,) among them, and the EVT3 words that they come from."""

    events: np.ndarray
    triggers: np.ndarray = field(default_factory=lambda: NO_TRIGGERS)
    words: np.ndarray | None = None


class EventFile(Recording):
    """A recording in such a format.

    `_open` sets `width` and `height` if they are stated, and topics other than the usual ones.
    """

    events_topic, events_type = EVENTS_TOPIC, EVENT_ARRAY
    width = height = 0  # until they are known
    duration = None

    # For `_measure_sensor`: the events to look at, the least width to assume, and an addition to the note.
    _measured, _narrowest, _hint = 5_000_000, 0, ""

    @abstractmethod
    def _blocks(self) -> Iterator[Block]:
        """Iterate over all events, in the order of the file."""

    def _frames(self) -> Iterator[Item]:
        """Iterate over all frames, in time order."""
        return iter(())

    def _camera_infos(self) -> Iterator[Item]:
        """Iterate over all camera infos, in time order."""
        return iter(())

    def _frame(self, stamp: int, read: Callable[[], np.ndarray], encoding: str = "") -> Item:
        """Return a frame; `read` returns its image, of this encoding or else as OpenCV decodes it, or raises."""
        return Item(stamp, self.frames_topic or "", stamp, partial(self._image_message, stamp, read, encoding))

    def _image_message(self, stamp: int, read: Callable[[], np.ndarray], encoding: str) -> ImageMessage:
        with self._reading():
            image = read()
        image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        return ImageMessage(stamp, "", encoding or encoding_of(image), image)

    def _last_event(self) -> int | None:
        """Return the time (ns) of the last event, if it takes little to find."""
        return None

    def _find_start(self) -> None:
        """Raises RecordingError if there is no event, or none of the chosen topics."""
        if not self.width:
            self._measure_sensor()
        first = next((block.events["t"] for block in self._blocks() if len(block.events)), None)
        if first is None:
            raise RecordingError("holds no event")
        self._set_start(int(first[0]), next(self._frame_stamps(), None))
        if (last := self._last_event()) is not None:
            self.duration = (last - self.start) / NS
        topics = ", ".join(filter(None, (self.events_topic, self.frames_topic)))
        for wanted, name, option in (
            (self.options.events_topic, self.events_topic, "--events-topic"),
            (self.options.frames_topic, self.frames_topic, "--frames-topic"),
        ):
            if wanted not in (None, name):
                raise RecordingError(f"no topic {wanted} ({option}); the recording has {topics}")

    def _measure_sensor(self) -> None:
        """Set the sensor's size to the smallest usual one that the first events fit on, and note it."""
        x = y = total = 0
        for events in (block.events for block in self._blocks()):
            x, y = max(x, int(events["x"].max(initial=0))), max(y, int(events["y"].max(initial=0)))
            if (total := total + len(events)) >= self._measured:
                break
        fitting = (size for size in SENSORS if size[0] >= self._narrowest and x < size[0] and y < size[1])
        self.width, self.height = next(fitting, (x + 1, y + 1))
        self._note(
            f"sensor size not stated{self._hint}: assuming {self.width}x{self.height},"
            f" for coordinates up to x={x}, y={y}"
        )

    def _choose_stream(self, names: Mapping[K, str], topic: str = "events_topic") -> K | None:
        """Return the only key of `names` (key -> topic), or that of the topic chosen by an option; None without any.

        If there are several, the attribute `topic` becomes the name of the chosen one.
        """
        if len(names) < 2:
            return next(iter(names), None)
        wanted, option = getattr(self.options, topic), f"--{topic.replace('_', '-')}"
        chosen = [key for key, name in names.items() if name == wanted]
        if len(chosen) == 1:
            setattr(self, topic, wanted)
            return chosen[0]
        text = f"{self.path}: several streams: {', '.join(names.values())}; choose one with {option}"
        if topic == "events_topic" and wanted is None:
            raise SeveralTopicsError(text, names.values())
        raise RecordingError(text)

    def _items(self, frames: bool, camera_info: bool) -> Iterator[Item]:
        streams = [self._messages()]  # first among those of equal time
        if frames and self.frames_topic:
            streams.append(self._frames())
        if camera_info and self.camera_info_topic:
            streams.append(self._camera_infos())
        with self._reading():
            yield from heapq.merge(*streams, key=lambda item: item.received)

    def _words(self, at: int, size: int) -> Iterator[bytes]:
        """Read the file from byte `at` in blocks of whole words of `size` bytes; note where it ends within one."""
        with self.path.open("rb") as file:
            file.seek(at)
            while data := file.read(_READ_BYTES // size * size):
                if cut := len(data) % size:
                    self._note(f"the file ends within a record: its last {cut} bytes are ignored")
                yield data[: len(data) - cut]

    def _frame_stamps(self) -> Iterator[int]:
        return (item.stamp for item in self._frames())

    def _messages(self) -> Iterator[Item]:
        """Yield the events as messages; the receive time of each is that of its last event."""
        self.reordered = 0
        newest = 0  # the time at which a message without events is received
        blocks = self._blocks() if self.events_type == EVENT_PACKET else self._chunks()
        for seq, block in enumerate(blocks):
            packet = None
            if len(block.events):
                newest = max(newest, int(block.events["t"][-1]))
            stamp = int(block.events["t"][0]) if len(block.events) else newest
            if block.words is not None:
                raw = np.frombuffer(block.words.astype("<u2").tobytes(), np.uint8)
                packet = PacketMessage(stamp, "", self.height, self.width, seq, 0, "evt3", raw)
            message = EventMessage(stamp, "", self.height, self.width, block.events, packet, block.triggers)
            yield Item(newest + self._shift, self.events_topic, 0, partial(lambda given: given, message))

    def _chunks(self) -> Iterator[Block]:
        """Yield the events in short chunks, those that are late by less than DISORDER_NS sorted into their place."""
        pending, triggers = no_events(), NO_TRIGGERS
        for blocks in _grouped(self._blocks()):
            pending = concatenate([pending, *(block.events for block in blocks)])
            triggers = np.concatenate([triggers, *(block.triggers for block in blocks)])
            if not in_order(pending):
                order = np.argsort(pending["t"], kind="stable")
                self.reordered += int(np.count_nonzero(order[1:] < order[:-1]))
                pending = pending[order]
            ready = int(np.searchsorted(pending["t"], pending["t"][-1] - DISORDER_NS)) if len(pending) else 0
            ready = max(ready, len(pending) - 10 * CHUNK_EVENTS)  # whatever the event rate
            yield from _cut(pending[:ready], triggers, self.first_event)
            if ready:
                triggers = triggers[triggers["t"] > pending["t"][ready - 1]]
            pending = pending[ready:]
        yield from _cut(pending, triggers, self.first_event, last=True)


def _grouped(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    """Group short blocks, for speed."""
    group: list[Block] = []
    count = 0
    for block in blocks:
        group.append(block)
        count += len(block.events)
        if count >= CHUNK_EVENTS or len(group) >= _MOST_BLOCKS:
            yield group
            group, count = [], 0
    if group:
        yield group


def _cut(events: np.ndarray, triggers: np.ndarray, start: int, last: bool = False) -> Iterator[Block]:
    """Cut at every 1/30 s and after CHUNK_EVENTS; a trigger goes with the first part that ends at or after it."""
    t = np.ascontiguousarray(events["t"])
    at = 0
    while at < len(t):
        latest = int(t[at]) + CHUNK_NS - 1 - (int(t[at]) - start) % CHUNK_NS
        end = at + int(np.searchsorted(t[at : at + CHUNK_EVENTS], latest, "right"))
        mine = triggers["t"] <= t[end - 1]
        yield Block(events[at:end], triggers[mine])
        at, triggers = end, triggers[~mine]
    if last and len(triggers):
        yield Block(no_events(), triggers)
