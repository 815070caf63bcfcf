"""Convert a recording to another format or type of event messages. The events stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import RecordingError
from ..events import NS
from ..wire.event_packet import ENCODINGS, PacketEncoder
from ..wire.evt3 import PERIOD_NS
from ..wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage, Message, PacketMessage
from .recording import Recording
from .write import EVENTS_ONLY, write_recording

EVENTS_AS = ("keep", "dvs_msgs", *ENCODINGS)
_LONGEST_NS = 4 * NS  # what every encoding holds in one packet


@dataclass
class Converted:
    """What was written and left out, and which times were changed."""

    messages: int = 0
    events: int = 0
    images: int = 0
    camera_infos: int = 0
    left_out_camera_infos: int = 0
    left_out_topics: list[str] = field(default_factory=list)
    cut_times: int = 0  # events whose fraction of a microsecond was cut off
    time_shift_ns: int = 0  # added to the times of all events
    left_out_triggers: int = 0


def convert(
    source: Recording,
    path: Path,
    format: str,
    *,
    events_as: str = "keep",
    lossy: bool = False,
    metadata_version: int = 8,
    frames: bool = True,
    on_message: Callable[[int, int], None] = lambda received, events: None,
) -> Converted:
    """Write a recording in one of write.FORMATS, under its own topics.

    Args:
        events_as: one of EVENTS_AS: "keep" writes arrays as arrays and packets as they are; "dvs_msgs" arrays; an
            encoding packets. ECD text, RAW (evt3) and HDF5 have one form: others are a RecordingError.
        lossy: change times that the encoding cannot hold: fractions of a microsecond are cut off, and evt3 is moved
            to its first 16.8 s.
        frames: also write frames and camera infos, if the format holds them.
        on_message: called with the receive time (ns) of each message and the number of events written so far.

    Raises:
        RecordingError: the source cannot be read, the path exists, or the format cannot hold a message.
    """
    done = Converted(left_out_topics=list(source.other_topics))
    others = frames and format not in EVENTS_ONLY
    if not others:
        done.left_out_topics += [name for name in (source.frames_topic, source.camera_info_topic) if name]
    has_packets = format not in ("ecd-text", "hdf5")
    encoding = "evt3" if format == "raw" else events_as if has_packets else "keep"
    if events_as not in ("keep", encoding):
        raise RecordingError(f"{path}: --events {events_as} is for bags; {format} has a form of its own")
    encode = Encode(encoding, lossy, done) if encoding in ENCODINGS else None
    topics: dict[type, str] = {EventMessage: source.events_topic, PacketMessage: source.events_topic}
    frames_topic = (source.frames_topic or "").removesuffix("/compressed")  # images are written uncompressed
    topics |= {ImageMessage: frames_topic, CameraInfoMessage: source.camera_info_topic or ""}
    with write_recording(path, format, topics=topics, metadata_version=metadata_version, compression="lz4") as writer:
        for recorded in source.read(frames=others, camera_info=others):
            message = recorded.message
            try:
                if isinstance(message, EventMessage):
                    done.events += len(message.events)
                    if format == "hdf5" and lossy:
                        message = replace(message, events=_in_microseconds(message.events, 0, done))
                    packet = message.packet if has_packets and events_as == "keep" else None
                    if packet and (format != "raw" or packet.encoding == "evt3"):
                        parts: Iterable[Message] = [packet]
                    else:
                        parts = encode(message) if encode else [message]
                    for part in parts:
                        writer.write(recorded.received, part)
                        done.messages += 1
                    holds = isinstance(part, PacketMessage) and part.encoding == "evt3"
                    done.left_out_triggers += 0 if holds else len(message.triggers)
                else:
                    writer.write(recorded.received, message)
                    done.messages += 1
                    done.images += isinstance(message, ImageMessage)
                    done.camera_infos += isinstance(message, CameraInfoMessage)
            except ValueError as error:
                if not isinstance(message, CameraInfoMessage):
                    raise RecordingError(
                        f"{path}: a message on {recorded.topic} cannot be written ({done.events} events in): {error}"
                    ) from None
                done.left_out_camera_infos += 1
            on_message(recorded.received, done.events)
    return done


class Encode:
    """Encodes events as packets, one for each message, or several for one that is too long.

    Raises:
        ValueError: when called, if the encoding cannot hold the times and `lossy` does not allow to change them.
    """

    def __init__(self, encoding: str, lossy: bool, done: Converted) -> None:
        self._encoder, self._lossy, self._done = PacketEncoder(encoding), lossy, done
        self._seq = 0
        self._began = False

    def __call__(self, message: EventMessage) -> Iterator[PacketMessage]:
        events = self._fitted(message.events)
        t = events["t"]
        cells = (t - t.min()) // _LONGEST_NS if len(t) else t
        cuts = np.flatnonzero(np.diff(cells)) + 1
        all_triggers = message.triggers.copy()
        if self._lossy and self._encoder.encoding == "evt3":
            all_triggers["t"] = (all_triggers["t"] + self._done.time_shift_ns) // 1000 * 1000
        triggers = np.split(all_triggers, np.searchsorted(all_triggers["t"], np.maximum.accumulate(t[cuts])))
        for part, among in zip(np.split(events, cuts), triggers, strict=True):
            try:
                yield self._encoder.encode(replace(message, events=part, packet=None, triggers=among), self._seq)
            except ValueError as error:
                hint = "" if self._lossy else " (--lossy cuts times to what it holds)"
                raise ValueError(f"{self._encoder.encoding}: {error}{hint}") from None
            self._seq += 1

    def _fitted(self, events: np.ndarray) -> np.ndarray:
        encoding, done = self._encoder.encoding, self._done
        if not len(events):
            return events
        if encoding == "evt3" and not self._began:
            first = int(events["t"][0])
            done.time_shift_ns = -(first // PERIOD_NS * PERIOD_NS)
            if done.time_shift_ns and not self._lossy:
                raise ValueError(
                    f"evt3: the first event is at {first / NS:.6f} s, and evt3's time begins between 0 and"
                    f" {PERIOD_NS / NS:.1f} s (--lossy moves it there)"
                )
        self._began = True
        if not self._lossy or encoding == "mono":
            return events
        return _in_microseconds(events, done.time_shift_ns, done)


def _in_microseconds(events: np.ndarray, shift: int, done: Converted) -> np.ndarray:
    """Return the events at times moved by `shift` ns and cut to whole microseconds; count those whose time is cut."""
    fitted = events.copy()
    t = events["t"] + shift
    fitted["t"] = t // 1000 * 1000
    done.cut_times += int(np.count_nonzero(fitted["t"] != t))
    return fitted
