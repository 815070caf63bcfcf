"""What every recording offers, whatever its format: events and frames as a stream, cut to a span of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ..errors import RecordingError
from ..events import NS
from ..wire.event_packet import PacketCounts, part_of
from ..wire.ros_types import EventMessage, Message

# After the events have passed the end of what is wanted, reading goes on for this long, since frames of before the end
# may have been received later.
_STRAGGLERS_NS = 2 * NS


@dataclass(frozen=True)
class ReadOptions:
    """Options of `open_recording`. A reader ignores those that do not concern its format."""

    events_topic: str | None = None
    frames_topic: str | None = None
    event_time: str = "sensor"  # or "host"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message, its topic, and when it was received (int64 nanoseconds, the clock of the recorder)."""

    received: int
    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class Item:
    """A message not decoded yet: its header stamp in nanoseconds (0 for events) and the function that decodes it."""

    received: int
    topic: str
    stamp: int
    decode: Callable[[], Message]


class Recording(ABC):
    """Events, frames and camera infos of one event camera, streamed from a file; a context manager.

    Memory does not grow with the length of the recording, apart from the reader's index of messages. Only one `read`
    or `frame_stamps` may be under way at a time.
    """

    path: Path
    height: int  # of the sensor, in pixels
    width: int
    first_event: int  # ns
    start: int  # ns; the earlier of the first event's time and the first frame's stamp
    duration: float | None  # s, roughly, for progress bars; None where finding out would mean reading everything
    events_topic: str
    events_type: str  # one of EVENT_TYPES
    frames_topic: str | None  # None: there are no frames, or it is not clear which of several topics has them
    camera_info_topic: str | None
    other_topics: tuple[str, ...] = ()  # that are not read
    notes: Sequence[str] = ()  # what was assumed, or could not be read, so far

    packet_counts: PacketCounts  # of event packets: what the last `read` has met with so far

    _no_frames: str | None = None  # why frames cannot be had although there are some

    def read(
        self,
        start: float | None = None,
        end: float | None = None,
        *,
        frames: bool = True,
        camera_info: bool = True,
    ) -> Iterator[Recorded]:
        """Iterate over the messages in the order in which they were received.

        Only events, and frames and camera infos whose header stamps, with start <= (time - self.start) / 1e9 < end are
        given out; None leaves that side open. A chunk of events is cut exactly, and left out if nothing of it remains.
        Event packets between those that have events may have none.
        With an `end`, reading stops two seconds (as received) after the events have passed it. With frames=False or
        camera_info=False those messages are not decoded.

        Raises RecordingError if a message or line cannot be read, or if frames are asked for and several topics have
        some.
        """
        if frames:
            self._require_clear_frames()
        self.packet_counts = PacketCounts()
        return self._cut(self._items(frames, camera_info), *self.span(start, end))

    def frame_stamps(self, start: float | None = None, end: float | None = None) -> npt.NDArray[np.int64]:
        """Header stamps (N,) in nanoseconds of the frames within [start, end) seconds, without decoding any image.

        Empty if the recording has no frames; raises RecordingError if several topics have some.
        """
        self._require_clear_frames()
        first, past = self.span(start, end)
        stamps = np.fromiter(self._frame_stamps(), np.int64)
        return stamps[(stamps >= first) & (stamps < past)]

    @abstractmethod
    def close(self) -> None:
        """Close the files."""

    @abstractmethod
    def _items(self, frames: bool, camera_info: bool) -> Iterator[Item]:
        """All messages in the order received, not decoded; frames and camera infos only if asked for."""

    @abstractmethod
    def _frame_stamps(self) -> Iterator[int]:
        """The stamps of all frames; nothing if there are none."""

    def _cut(self, items: Iterator[Item], first: int, past: int) -> Iterator[Recorded]:
        last_received = float("inf")
        began = False
        for item in items:
            if item.received > last_received:
                return
            if item.topic != self.events_topic:
                if first <= item.stamp < past:
                    yield Recorded(item.received, item.topic, item.decode())
                continue
            message = item.decode()
            t = message.events["t"]
            if len(t):
                # A chunk of before the end tells that one after it was a stray.
                after = item.received + _STRAGGLERS_NS
                last_received = min(last_received, after) if t[0] >= past else float("inf")
            wanted = (t >= first) & (t < past)
            triggers = message.triggers
            triggers = triggers[(triggers["t"] >= first) & (triggers["t"] < past)]
            if wanted.all():
                # A packet without events still belongs to the stream of packets.
                if len(t) or len(triggers) or (began and message.packet):
                    began = True
                    yield Recorded(item.received, item.topic, replace(message, triggers=triggers))
            elif wanted.any():
                yield Recorded(item.received, item.topic, self._part(message, wanted, triggers))

    def _part(self, message: EventMessage, wanted: npt.NDArray[np.bool_], triggers: np.ndarray) -> EventMessage:
        try:
            return part_of(message, wanted, triggers)
        except ValueError as error:
            raise RecordingError(
                f"{self.path}: a packet of {self.events_topic} cannot be cut where it should begin or end: {error}"
            ) from None

    def span(self, start: float | None, end: float | None) -> tuple[int, int]:
        """The times in nanoseconds that `read` gives out: from the first to before the second."""
        limits = np.iinfo(np.int64)
        first = limits.min if start is None else self.start + round(start * NS)
        past = limits.max if end is None else self.start + round(end * NS)
        return first, past

    def _require_clear_frames(self) -> None:
        if self._no_frames:
            raise RecordingError(self._no_frames)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
