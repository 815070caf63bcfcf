"""`cista info`: describe recordings: sensor, events, rates, gaps, disorder, hot pixels, triggers, frames, clocks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ..events import NO_TRIGGERS, NS
from .options import JsonOption, reads_recordings
from .progress import counted, recording_bar

if TYPE_CHECKING:
    from ..recordings import Recording

GAP_NS = NS // 10  # a pause that is reported
BIN_NS = NS // 100  # over which the peak rate is measured
_SHOWN = 5  # gaps and hot pixels
_EPOCH_NS = 10**17  # later times are since 1970


@reads_recordings
def info(
    files: Annotated[list[Path], typer.Argument(help="Recordings of any readable format, or folders of them.")],
    as_json: JsonOption = False,
    **read: Any,
) -> None:
    """Describe recordings. Each is read once, in pieces. Of several topics with events, all are described."""
    from ..errors import CistaError, SeveralTopicsError
    from ..recordings import find_recordings
    from ..recordings.formats import is_recording

    described, failed = [], False
    todo = [(path, read["events_topic"]) for path in files]
    while todo:
        path, topic = todo.pop(0)
        try:
            if path.is_dir() and not is_recording(path):
                todo[:0] = [(inside, topic) for inside in find_recordings([path]).values()]
                continue
            described.append(_read(path, read | {"events_topic": topic}))
        except SeveralTopicsError as error:
            todo[:0] = [(path, one) for one in error.topics]
        except (CistaError, OSError) as error:
            failed = True
            typer.echo(f"cista: error: {error}", err=True)
        else:
            if not as_json:
                typer.echo(_table(described[-1]) + "\n")
    if as_json:
        typer.echo(json.dumps(described))
    if failed:
        raise typer.Exit(2)


def _read(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    from rich.console import Console

    from ..recordings import find_format, open_recording

    with open_recording(path, **options) as recording, recording_bar("events", Console(stderr=True)) as advance:
        found = describe(recording, lambda after, count: advance(after, recording.duration, count))
    return {"path": str(path), "format": find_format(path).name, **found}


def describe(
    recording: Recording, on_message: Callable[[float, int], None] = lambda after, count: None
) -> dict[str, Any]:
    """Return what a recording contains, by name, as `--json` prints it. Times are seconds, or ns where named so.

    Args:
        on_message: called with the seconds since the first event and the number of events read so far.

    Raises:
        CistaError: the recording cannot be read, or its sensor has an impossible size.
    """
    from ..wire.ros_types import EventMessage

    events, triggers = _Events(recording), [NO_TRIGGERS]
    kinds: set[str] = set()
    messages = 0
    for recorded in recording.read(frames=False, camera_info=False):
        message = recorded.message
        if isinstance(message, EventMessage):
            messages += 1
            kinds.add(message.packet.encoding if message.packet else "array")
            events.add(message.events)
            if len(message.triggers):
                triggers.append(message.triggers)
            on_message((events.last - recording.first_event) / NS, events.count)
    notes = list(recording.notes)
    found = {
        "sensor": {"width": recording.width, "height": recording.height},
        "topics": {
            "events": recording.events_topic,
            "type": recording.events_type,
            "encodings": sorted(kinds),
            "frames": recording.frames_topic,
            "camera_info": recording.camera_info_topic,
            "others": list(recording.other_topics),
        },
        "events": {
            "messages": messages,
            **events.summary(recording.reordered),
            "packets": vars(recording.packet_counts),
        },
        "triggers": _triggers(np.concatenate(triggers)),
        "frames": _frames(recording, events.first, events.last, notes),
    }
    return {**found, "notes": notes}


class _Events:
    """Counts over the events of a recording. Memory does not grow with their number."""

    def __init__(self, recording: Recording) -> None:
        from ..event_filter import EventFilter
        from ..noise_filter import HotPixels

        self._filter = EventFilter(recording.height, recording.width, max_gap_ns=GAP_NS)
        self._hot = HotPixels(recording.height, recording.width)
        self._by_pixel = np.zeros(recording.height * recording.width, np.int64)
        self.count = self._positive = self._back = self._furthest = 0
        self.first = self.last = recording.first_event
        self._gaps: list[tuple[int, int]] = []  # the longest ones: (length, begin)
        self._end: int | None = None  # of the events that the filter has passed
        self._bin, self._in_bin, self._most = 0, 0, 0

    def add(self, events: np.ndarray) -> None:
        if not len(events):
            return
        t = np.ascontiguousarray(events["t"])
        steps = np.diff(t, prepend=self.last)
        self._back += int(np.count_nonzero(steps < 0))
        self._furthest = max(self._furthest, -int(steps.min()))
        self.first, self.last = min(self.first, int(t.min())), int(t[-1])
        self.count += len(events)
        self._positive += int(np.count_nonzero(events["p"]))
        for part in self._filter.accept(events):
            self._add_in_order(part.events)

    def _add_in_order(self, events: np.ndarray) -> None:
        t = np.ascontiguousarray(events["t"])
        steps = np.diff(t, prepend=t[0] if self._end is None else self._end)
        if steps.max() > GAP_NS:
            at = np.flatnonzero(steps > GAP_NS)
            found = zip(steps[at].tolist(), (t[at] - steps[at]).tolist(), strict=True)
            self._gaps = sorted([*self._gaps, *found], reverse=True)[:_SHOWN]
        self._end = int(t[-1])
        self._by_pixel += np.bincount(
            events["y"].astype(np.int64) * self._hot.mask.shape[1] + events["x"], minlength=len(self._by_pixel)
        )
        self._hot.keep(events)
        bins = t // BIN_NS
        starts = np.concatenate(([0], np.flatnonzero(np.diff(bins)) + 1, [len(bins)]))
        counts = np.diff(starts)
        if bins[0] == self._bin:
            counts[0] += self._in_bin
        self._bin, self._in_bin = int(bins[-1]), int(counts[-1])
        self._most = max(self._most, int(counts.max()))

    def summary(self, reordered: int) -> dict[str, Any]:
        for part in self._filter.release():
            self._add_in_order(part.events)
        counts, last = self._filter.counts, max(self.last, self._end or self.last)
        duration = (last - self.first) / NS
        rate = self.count / duration if duration else 0.0
        hot = np.flatnonzero(self._hot.mask)
        hot = hot[np.argsort(-self._by_pixel[hot], kind="stable")]
        y, x = np.divmod(hot[:_SHOWN], self._hot.mask.shape[1])
        inside = max(1, int(self._by_pixel.sum()))
        return {
            "count": self.count,
            "first_ns": self.first,
            "last_ns": last,
            "duration": duration,
            "rate": rate,
            "peak_rate": max(self._most * NS / BIN_NS, rate),
            "positive_share": self._positive / max(1, self.count),
            "active_pixels_share": float(np.count_nonzero(self._by_pixel)) / len(self._by_pixel),
            "out_of_order": self._back + reordered,
            "furthest_back": self._furthest / NS,
            "time_jumps": counts.time_jumps,
            "stray": counts.stray,
            "outside_sensor": counts.outside,
            "gaps": counts.gaps,
            "longest_gaps": [{"seconds": length / NS, "after": (t - self.first) / NS} for length, t in self._gaps],
            "hot_pixels": len(hot),
            "hot_share": int(self._by_pixel[hot].sum()) / inside,
            "hottest": [list(pixel) for pixel in zip(x.tolist(), y.tolist(), strict=True)],
        }


def _triggers(triggers: np.ndarray) -> dict[str, Any]:
    """Return the edges of each external input."""
    found = {}
    for number in np.unique(triggers["id"]).tolist():
        edges = triggers[triggers["id"] == number]
        rising = int(np.count_nonzero(edges["p"]))
        falling, first, last = len(edges) - rising, int(edges["t"][0]), int(edges["t"][-1])
        rate = (max(rising, falling) - 1) * NS / (last - first) if last > first else 0.0
        found[str(number)] = dict(rising=rising, falling=falling, first_ns=first, last_ns=last, rate=rate)
    return found


def _frames(recording: Recording, first: int, last: int, notes: list[str]) -> dict[str, Any] | None:
    """Describe the frames of a recording with events from `first` to `last` ns; add what is odd to the notes."""
    from ..errors import RecordingError
    from ..wire.ros_types import ImageMessage

    try:
        stamps = recording.frame_stamps()
    except RecordingError as error:
        notes.append(str(error))
        return None
    if not len(stamps):
        return None
    steps = np.diff(stamps)
    found: dict[str, Any] = {
        "count": len(stamps),
        "first_ns": int(stamps.min()),
        "last_ns": int(stamps.max()),
        "rate": NS / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 0.0,
        "longest_interval": int(steps.max(initial=0)) / NS,
        "out_of_order": int(np.count_nonzero(steps < 0)),
        "first_after_events": (int(stamps.min()) - first) / NS,
    }
    if found["first_ns"] > last + NS or found["last_ns"] < first - NS:
        offset, packets = found["first_after_events"], recording.events_type.endswith("Packet")
        notes.append(
            f"frames and events are on different clocks: the frames start {offset:.6f} s after the events."
            f" If both started together, --time-offset {offset:.6f} moves the events to the clock of the frames"
            + ", or --event-time host does it by the stamps of the packets"
            * packets
        )
        return found
    at = (int(stamps[0]) - recording.start) / NS
    for recorded in recording.read(at - 1e-6, at + 1e-6, camera_info=False):
        if isinstance(image := recorded.message, ImageMessage):
            found |= {"width": image.image.shape[1], "height": image.image.shape[0], "encoding": image.encoding}
            break
    return found


def _table(found: dict[str, Any]) -> str:
    events, topics, frames = found["events"], found["topics"], found["frames"] or {}
    longest = ", ".join(f"{gap['seconds']:.3f} s after {gap['after']:.3f} s" for gap in events["longest_gaps"])
    disorder = events["out_of_order"] or events["time_jumps"] or events["stray"]
    hottest = ", ".join(f"x={x} y={y}" for x, y in events["hottest"])
    size = f", {frames['width']}x{frames['height']} {frames['encoding']}" if "width" in frames else ""
    rows = [
        ("format", found["format"]),
        ("sensor", f"{found['sensor']['width']}x{found['sensor']['height']} pixels"),
        ("events topic", f"{topics['events']} ({topics['type']}: {', '.join(topics['encodings'])})"),
        (
            "events",
            f"{events['count']} in {counted(events['messages'], 'message')}, {events['positive_share']:.1%} positive",
        ),
        ("time", f"{_time(events['first_ns'])} to {_time(events['last_ns'])}: {events['duration']:.6f} s"),
        ("rate", f"{events['rate']:.4g} events/s, peak {events['peak_rate']:.4g} events/s (in {BIN_NS / 1e6:.0f} ms)"),
        ("pixels", f"{events['active_pixels_share']:.1%} have events"),
        ("gaps", events["gaps"] and f"{events['gaps']} longer than {GAP_NS / 1e6:.0f} ms: {longest}"),
        (
            "disorder",
            disorder
            and f"time goes back {counted(events['out_of_order'], 'time')}, by up to {events['furthest_back']:.6f} s;"
            f" {counted(events['time_jumps'], 'jump')}, {counted(events['stray'], 'stray event')}",
        ),
        ("outside sensor", events["outside_sensor"] and counted(events["outside_sensor"], "event")),
        ("packets", ", ".join(counted(n, name[:-1].replace("_", " ")) for name, n in events["packets"].items() if n)),
        (
            "hot pixels",
            hottest and f"{events['hot_pixels']} with {events['hot_share']:.1%} of the events: {hottest}",
        ),
        *(
            (f"trigger {n}", f"{t['rising']} rising and {t['falling']} falling edges, {t['rate']:.4g} Hz")
            for n, t in found["triggers"].items()
        ),
        ("frames topic", frames and topics["frames"]),
        (
            "frames",
            frames
            and f"{frames['count']}{size}, {frames['rate']:.4g} Hz, at most {frames['longest_interval']:.3f} s apart",
        ),
        ("frame clock", frames and f"first frame {frames['first_after_events']:+.6f} s from the first event"),
        ("frame disorder", frames.get("out_of_order") and f"stamps go back {counted(frames['out_of_order'], 'time')}"),
        ("camera info", topics["camera_info"]),
        ("other topics", ", ".join(topics["others"])),
        *(("note", note) for note in found["notes"]),
    ]
    return "\n".join([found["path"], *(f"  {name:16}{text}" for name, text in rows if text)])


def _time(ns: int) -> str:
    if ns < _EPOCH_NS:
        return f"{ns / NS:.6f} s"
    return f"{datetime.fromtimestamp(ns // NS, timezone.utc):%Y-%m-%d %H:%M:%S}.{ns % NS // 1000:06d} UTC"
