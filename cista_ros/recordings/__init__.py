"""Files <-> events and frames: one reader a format, all behind `open_recording`."""

from __future__ import annotations

from pathlib import Path

from ..errors import RecordingError
from .recording import Recorded, Recording

__all__ = ["Recorded", "Recording", "open_recording"]

_READ = "a ROS 1 bag (.bag), a rosbag2 (its folder, .mcap or .db3), or ECD text (a folder with events.txt, or its .zip)"


def open_recording(
    path: str | Path,
    *,
    events_topic: str | None = None,
    frames_topic: str | None = None,
    event_time: str = "sensor",
) -> Recording:
    """Open a recording of an event camera: a ROS 1 bag, a rosbag2 (sqlite3 or mcap), or ECD text (folder or zip).

    Topics are found by type; `events_topic` and `frames_topic` name them where several match. The times of event
    packets are the camera's own, or with event_time="host" moved to the host's clock. Close the recording after use: it
    is a context manager.

    Raises RecordingError, naming the path, if the recording is missing, damaged, of another format, or lacks the topics
    or any event.
    """
    path = Path(path)
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder; expected {_READ}")
    if _is_ecd_text(path):
        from .ecd_text import EcdTextRecording

        return EcdTextRecording(path, events_topic=events_topic, frames_topic=frames_topic)
    if path.suffix in (".bag", ".mcap", ".db3") or (path / "metadata.yaml").exists():
        from .rosbag import RosbagRecording

        return RosbagRecording(path, events_topic=events_topic, frames_topic=frames_topic, event_time=event_time)
    raise RecordingError(f"{path}: {_what_it_is(path)}; expected {_READ}")


def _is_ecd_text(path: Path) -> bool:
    return path.suffix == ".zip" or (path / "events.txt").exists()


def _what_it_is(path: Path) -> str:
    if path.suffix == ".active":
        return "a ROS 1 bag that was never closed (run `rosbag reindex` on it and rename it to .bag)"
    if path.suffix == ".txt":
        return "a text file (to read ECD text, give the folder that holds events.txt)"
    if path.is_dir():
        if any(path.glob("*.mcap")) or any(path.glob("*.db3")):
            return "a rosbag2 folder without metadata.yaml (run `ros2 bag reindex` on it, or give the file inside)"
        return "a folder with neither metadata.yaml (rosbag2) nor events.txt (ECD text)"
    return f"files named *{path.suffix} are not read" if path.suffix else "not a format that is read"
