"""Finding the topics of one event camera among all topics of a bag, by their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import RecordingError
from ..wire.ros_types import CAMERA_INFO, EVENT_ARRAY, EVENT_PACKET, EVENT_TYPES, IMAGE


@dataclass(frozen=True)
class Topics:
    """The topics of one event camera; `unclear_frames` says why `frames` is None although the bag has images."""

    events: str
    frames: str | None
    camera_info: str | None
    unclear_frames: str | None = None


def find_topics(types: Mapping[str, str], events_topic: str | None = None, frames_topic: str | None = None) -> Topics:
    """Choose among topics (name -> type) by type, and by name where one is given.

    Of several image topics the events' sibling is taken (/dvs/events -> /dvs/image_raw, else the only one in /dvs); of
    several camera infos likewise, and none if that does not decide. Raises RecordingError, listing what there is.
    """
    events = _named(types, events_topic, EVENT_TYPES, "events_topic") or _only_events(types)
    frames = _named(types, frames_topic, (IMAGE,), "frames_topic") or _sibling(types, events, IMAGE, "image_raw")
    camera_info = _sibling(types, frames or events, CAMERA_INFO, "camera_info")
    unclear = None
    if not frames and (several := _of_type(types, (IMAGE,))):
        unclear = f"several topics hold images: {', '.join(several)}; name one (frames_topic=...)"
    return Topics(events, frames, camera_info, unclear)


def _of_type(types: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    return sorted(topic for topic, kind in types.items() if kind in wanted)


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{topic} ({kind})" for topic, kind in sorted(types.items())) or "no topic at all"


def _named(types: Mapping[str, str], topic: str | None, wanted: Sequence[str], argument: str) -> str | None:
    if topic is None:
        return None
    if topic not in types:
        raise RecordingError(f"no topic {topic} ({argument}); the recording has {_listed(types)}")
    if types[topic] not in wanted:
        raise RecordingError(f"topic {topic} ({argument}) is of type {types[topic]}; expected {' or '.join(wanted)}")
    return topic


def _only_events(types: Mapping[str, str]) -> str:
    topics = _of_type(types, EVENT_TYPES)
    if len(topics) > 1:
        raise RecordingError(f"several topics hold events: {', '.join(topics)}; name one (events_topic=...)")
    if topics:
        return topics[0]
    raise RecordingError(f"no topic of events ({EVENT_ARRAY}, {EVENT_PACKET}); the recording has {_listed(types)}")


def _sibling(types: Mapping[str, str], events: str, wanted: str, usual_name: str) -> str | None:
    """The topic of a type that belongs to the events: the only one, the sibling of that name, or the only sibling."""
    topics = _of_type(types, (wanted,))
    if len(topics) == 1:
        return topics[0]
    namespace = events.rpartition("/")[0]
    if f"{namespace}/{usual_name}" in topics:
        return f"{namespace}/{usual_name}"
    siblings = [topic for topic in topics if topic.rpartition("/")[0] == namespace]
    return siblings[0] if len(siblings) == 1 else None
