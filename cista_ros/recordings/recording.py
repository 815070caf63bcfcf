"""The interface of all recordings: events and frames as a stream, for a span of time."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CistaError, RecordingError, SeveralTopicsError, reason_of
from ..events import NO_TRIGGERS, NS, trigger_times
from ..trigger_pairs import pair
from ..wire.event_packet import EVENT_TIMES, PacketCounts, part_of
from ..wire.ros_types import EmptyMessageError, EventMessage, Message
from .columns import UNITS

# Reading continues for this long after the events have passed the requested end, since frames from before the end may
# have been received later.
_STRAGGLERS_NS = 2 * NS
_MOST_S = 2e10  # more seconds than int64 nanoseconds hold
FRAMES_BEFORE_NS = NS  # how long before the events the frames may begin
# Options that not all recordings use, and those that do.
_USERS = {"time_unit": "text, NumPy, and HDF5 without ECF", "columns": "text, and arrays whose columns have no names"}


@dataclass(frozen=True)
class ReadOptions:
    """Options of `open_recording`; RecordingError if one is invalid."""

    events_topic: str | None = None
    frames_topic: str | None = None
    event_time: str = "sensor"  # one of EVENT_TIMES
    time_unit: str | None = None  # one of UNITS
    columns: str | None = None  # their order, such as "txyp"; "-" is a column to skip; separators are removed

    def __post_init__(self) -> None:
        for name, known in (("event_time", EVENT_TIMES), ("time_unit", (None, *UNITS))):
            if (value := getattr(self, name)) not in known:
                raise RecordingError(f"{name} {value!r}; expected one of {', '.join(filter(None, known))}")
        if self.columns is not None:
            object.__setattr__(self, "columns", columns := re.sub(r"[\s,]", "", self.columns))
            if sorted(columns.replace("-", "")) != sorted("txyp"):
                raise RecordingError(
                    f"columns {columns!r}; expected t, x, y and p in the order of the file, - for others: txyp"
                )


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message, its topic, and when it was received (int64 nanoseconds, the clock of the recorder)."""

    received: int
    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class Item:
    """A message before decoding: its header stamp in nanoseconds (0 for events) and the function that decodes it.

    The function may raise EmptyMessageError for a message that is to be skipped.
    """

    received: int
    topic: str
    stamp: int
    decode: Callable[[], Message]


class Recording(AbstractContextManager["Recording"]):
    """Events, frames and camera infos of one event camera, streamed from a file; a context manager.

    Memory does not grow with the length of the recording, apart from rosbags' index of the messages of a ROS 1 bag
    (165 MB per million messages). Only one `read` or `frame_stamps` may be in progress at a time.
    """

    height: int  # of the sensor, in pixels
    width: int
    first_event: int  # ns
    start: int  # ns; origin of `read`: the first event, or the first frame if it is up to FRAMES_BEFORE_NS earlier
    duration: float | None  # s, approximate, for progress bars; None if it would take reading everything
    events_topic: str
    events_type: str  # EVENT_ARRAY or EVENT_PACKET
    frames_topic: str | None = None  # None if there are no frames, or several topics may have them
    camera_info_topic: str | None = None
    other_topics: tuple[str, ...] = ()  # topics that are not read
    notes: Sequence[str] = ()  # what was assumed or could not be read so far, for the user
    packet_counts: PacketCounts  # of the event packets of the last `read` so far
    reordered = 0  # events that the last `read` sorted into their place so far

    _used_options: tuple[str, ...] = ()  # of _USERS
    _shift = 0  # ns added to the times of events
    _frame_times: dict[int, int] | None = None  # of their triggers, by stamp, where these replace the stamps
    _no_frames: str | None = None  # why it is not clear which topic has the frames
    # What is raised on damaged files, by the format's library too, and the name of the format for the error.
    _damage: tuple[type[Exception], ...] = (OSError,)
    _kind = ""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self.options = path, options
        self.packet_counts = PacketCounts()
        self._held = ExitStack()  # what `close` closes
        try:
            with self._reading():
                self._open()
                self._find_start()
                for name, users in _USERS.items():
                    if getattr(options, name) is not None and name not in self._used_options:
                        raise RecordingError(f"--{name.replace('_', '-')} is for {users}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        self._held.close()

    def read(
        self,
        start: float | None = None,
        end: float | None = None,
        *,
        frames: bool = True,
        camera_info: bool = True,
    ) -> Iterator[Recorded]:
        """Iterate over the messages in the order in which they were received.

        Args:
            start, end: seconds since `self.start`. Only events from `start` to before `end`, and frames and camera
                infos with header stamps from `start` to `end`, are returned; None means no limit. A chunk of events is
                cut exactly, and skipped if nothing remains. With an `end`, reading stops two seconds (of receive time)
                after the events have passed it.
            frames, camera_info: whether to decode these messages.

        Raises:
            RecordingError: a message or line cannot be read, or several topics may have the frames.
        """
        if frames:
            self._require_clear_frames()
        self.packet_counts = PacketCounts()
        return self._cut(self._items(frames, camera_info), *self.span(start, end))

    def frame_stamps(self, start: float | None = None, end: float | None = None) -> npt.NDArray[np.int64]:
        """Return the header stamps (N,) in ns of the frames within [start, end] seconds, without decoding images.

        Raises:
            RecordingError: several topics may have the frames.
        """
        self._require_clear_frames()
        first, past = self.span(start, end)
        times = (self._frame_time(stamp) for stamp in self._frame_stamps())
        stamps = np.fromiter((time for time in times if time is not None), np.int64)
        return stamps[(stamps >= first) & (stamps <= past)]

    def triggers(self, start: float | None = None, end: float | None = None) -> np.ndarray:
        """Return the triggers (N,) of TRIGGER_DTYPE within [start, end) seconds, in order; decodes all events.

        Raises:
            RecordingError: a message cannot be read.
        """
        messages = (recorded.message for recorded in self.read(start, end, frames=False, camera_info=False))
        found = [m.triggers for m in messages if isinstance(m, EventMessage) and len(m.triggers)]
        triggers = np.concatenate(found) if found else NO_TRIGGERS
        return triggers[np.argsort(triggers["t"], kind="stable")]

    @abstractmethod
    def _open(self) -> None:
        """Open the files, and set what they state."""

    @abstractmethod
    def _find_start(self) -> None:
        """Find where the recording starts and how long it lasts."""

    @abstractmethod
    def _items(self, frames: bool, camera_info: bool) -> Iterator[Item]:
        """Iterate over all messages in the order received, not decoded; frames and camera infos only if wanted."""

    @abstractmethod
    def _frame_stamps(self) -> Iterator[int]:
        """Iterate over the stamps of all frames."""

    def _set_start(self, first_event: int, first_frame: int | None) -> None:
        """Set `first_event` and `start` (ns). Frames of another clock do not change the start."""
        self.first_event = self.start = first_event
        if first_frame is not None and first_event - FRAMES_BEFORE_NS <= first_frame < first_event:
            self.start = first_frame

    def _note(self, text: str) -> None:
        """Add a note for the user, once."""
        if text not in self.notes:
            self.notes = [*self.notes, text]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what reading raises into a RecordingError that names the file."""
        try:
            yield
        except CistaError as error:
            if isinstance(error, EmptyMessageError) or str(error).startswith(str(self.path)):
                raise
            if isinstance(error, SeveralTopicsError):
                raise SeveralTopicsError(f"{self.path}: {error}", error.topics) from None
            text = str(error).removeprefix(f"{self.path.name}, ")  # of a recording in a single text file
            raise RecordingError(f"{self.path}: {text}") from None
        except self._damage as error:
            kind = "" if isinstance(error, OSError) and error.errno else f" as {self._kind}"
            raise RecordingError(f"{self.path}: cannot be read{kind}: {self._explain(error)}") from error

    def _explain(self, error: Exception) -> str:
        return reason_of(error)

    def _cut(self, items: Iterator[Item], first: int, past: int) -> Iterator[Recorded]:
        last_received = float("inf")
        began = False
        for item in items:
            if item.received > last_received:
                return
            if item.topic != self.events_topic:
                stamp = self._frame_time(item.stamp)
                if stamp is None and item.topic == self.camera_info_topic:
                    stamp = item.stamp
                if stamp is not None and first <= stamp <= past:
                    message = item.decode()
                    yield Recorded(item.received, item.topic, replace(message, stamp=stamp))
                continue
            try:
                message = item.decode()
            except EmptyMessageError:
                continue
            if not isinstance(message, EventMessage):
                raise TypeError(f"{self.path}: {item.topic} has a {type(message).__name__} among its events")
            if self._shift:  # the packet has other times
                events, triggers = message.events.copy(), message.triggers.copy()
                events["t"] += self._shift
                triggers["t"] += self._shift
                message = replace(message, events=events, triggers=triggers, packet=None)
            t = message.events["t"]
            if len(t):
                # A chunk from before the end shows that one after it was out of order.
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
            elif wanted.any() or len(triggers):
                yield Recorded(item.received, item.topic, self._part(message, wanted, triggers))

    def _part(self, message: EventMessage, wanted: npt.NDArray[np.bool_], triggers: np.ndarray) -> EventMessage:
        try:
            return part_of(message, wanted, triggers)
        except ValueError as error:
            raise RecordingError(
                f"{self.path}: a packet of {self.events_topic} cannot be cut where it should begin or end: {error}"
            ) from None

    def shift_events(self, offset: int) -> None:
        """Add `offset` nanoseconds to the times of all events and triggers, but not to those of frames."""
        self._shift += offset
        self._set_start(self.first_event + offset, next(iter(self._frame_stamps()), None))

    def _frame_time(self, stamp: int) -> int | None:
        """Return the time of a frame with this stamp; None for one without a trigger."""
        return stamp if self._frame_times is None else self._frame_times.get(stamp)

    def use_trigger_times(self, edge: str) -> None:
        """Give frames the times of the triggers (rising or falling) that expose them; leave out those without one.

        Raises:
            RecordingError: no frames, or none of the inputs has such triggers that expose them.
        """
        stamps, triggers = self.frame_stamps(), self.triggers()
        if not len(stamps):
            raise RecordingError(
                f"{self.path}: no camera frames, so none whose times could be those of {edge} triggers"
            )
        pairings = [pair(trigger_times(triggers, edge, n), stamps) for n in np.unique(triggers["id"]).tolist()]
        best = max(pairings, key=lambda found: (found.plausible, len(found.frames)), default=None)
        if best is None or not best.plausible:
            raise RecordingError(
                f"{self.path}: no {edge} triggers that expose its {len(stamps)} frames; see `cista sync {self.path}`"
            )
        self._frame_times = dict(zip(best.frames.tolist(), best.triggers.tolist(), strict=True))
        if left_out := len(stamps) - len(best.frames):
            self._note(f"left out {left_out} of {len(stamps)} frames, which have no {edge} trigger")
        self._set_start(self.first_event, int(best.triggers[0]))

    def span(self, start: float | None, end: float | None) -> tuple[int, int]:
        """Return `start` and `end` of `read` as times (ns); the limits of int64 for None."""
        limits = np.iinfo(np.int64)

        def time(seconds: float) -> int:
            offset = round(min(max(seconds, -_MOST_S), _MOST_S) * NS)
            return min(max(self.start + offset, int(limits.min)), int(limits.max))

        return int(limits.min) if start is None else time(start), int(limits.max) if end is None else time(end)

    def _require_clear_frames(self) -> None:
        if self._no_frames:
            raise RecordingError(self._no_frames)

    def __exit__(self, *_: object) -> None:
        self.close()


class RecordingWriter(AbstractContextManager["RecordingWriter"]):
    """Writes messages in the given order; a context manager."""

    @abstractmethod
    def write(self, received: int, message: Message) -> None:
        """Add a message with its receive time (ns), which must not be before that of the last message.

        Raises ValueError if the format cannot hold it.
        """

    @abstractmethod
    def __exit__(self, *error: Any) -> None:
        """Complete the recording, or close its files after an error."""
