"""Find the topics of one event camera among all topics of a bag, by type and namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import RecordingError, SeveralTopicsError
from ..wire.ros_types import CAMERA_INFO, COMPRESSED_IMAGE, EVENT_ARRAY, EVENT_PACKET, EVENT_TYPES, IMAGE

IMAGES = IMAGE, COMPRESSED_IMAGE


@dataclass(frozen=True)
class Topics:
    """The topics of one event camera.

    Attributes:
        unclear_frames: why `frames` is None although there may be frames; else empty.
        note: what to tell about the choice of `frames`; else empty.
    """

    events: str
    frames: str | None
    camera_info: str | None
    unclear_frames: str = ""
    note: str = ""


def find_topics(types: Mapping[str, str], events_topic: str | None = None, frames_topic: str | None = None) -> Topics:
    """Choose among topics (name -> type) by type and namespace, and by name where one is given.

    Frames and camera info come from the namespace of the events (/dvs/events -> /dvs/image_raw), else from the only
    topic of their type, but never from the namespace of another events topic.

    Raises:
        RecordingError: a topic is missing, has another type, or several topics have events. It lists the topics.
    """
    candidates = _of_type(types, EVENT_TYPES)
    events = _named(types, events_topic, tuple(EVENT_TYPES), "--events-topic")
    if not events:
        if len(candidates) > 1:
            text = f"several topics have events: {', '.join(candidates)}; choose one with --events-topic"
            raise SeveralTopicsError(text, candidates)
        if not candidates:
            expected = f"{EVENT_ARRAY} or {EVENT_PACKET}"
            raise RecordingError(f"no topic has events ({expected}); the recording has {_listed(types)}")
        events = candidates[0]
    others = {_namespace(topic) for topic in candidates} - {_namespace(events)}
    own = {topic: kind for topic, kind in types.items() if _namespace(topic) not in others}
    frames = _named(types, frames_topic, IMAGES, "--frames-topic")
    unclear = note = ""
    if not frames:
        frames = _matching(own, events, IMAGE, "image_raw") or _matching(own, events, COMPRESSED_IMAGE, "image_raw")
        if frames and _namespace(frames) != _namespace(events):
            note = f"frames are those of {frames}, from another namespace than {events} (--frames-topic chooses others)"
        elif not frames and (several := _of_type(own, IMAGES)):
            unclear = f"several topics have images: {', '.join(several)}; choose one with --frames-topic"
    camera_info = _matching(types if frames_topic else own, frames or events, CAMERA_INFO, "camera_info")
    return Topics(events, frames, camera_info, unclear, note)


def _namespace(topic: str) -> str:
    return topic.removesuffix("/compressed").rpartition("/")[0]


def _of_type(types: Mapping[str, str], wanted: Sequence[str] | Mapping[str, str]) -> list[str]:
    return sorted(topic for topic, kind in types.items() if kind in wanted)


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{topic} ({kind})" for topic, kind in sorted(types.items())) or "no topics"


def _named(types: Mapping[str, str], topic: str | None, wanted: Sequence[str], option: str) -> str | None:
    if topic is None:
        return None
    if topic not in types:
        raise RecordingError(f"no topic {topic} ({option}); the recording has {_listed(types)}")
    if types[topic] not in wanted:
        raise RecordingError(f"topic {topic} ({option}) has type {types[topic]}; expected {' or '.join(wanted)}")
    return topic


def _matching(types: Mapping[str, str], of: str, wanted: str, usual_name: str) -> str | None:
    """Return the topic that belongs to another: its sibling of the usual name, its only sibling, or the only one."""
    topics = _of_type(types, (wanted,))
    siblings = [topic for topic in topics if _namespace(topic) == _namespace(of)]
    usual = [topic for topic in siblings if topic.removesuffix("/compressed").endswith(f"/{usual_name}")]
    for choice in (usual, siblings, topics):
        if len(choice) == 1:
            return choice[0]
    return None
