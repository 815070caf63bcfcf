"""Run one network on one recording and pair its images with the camera's frames, one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..event_filter import EventFilter, FilterCounts
from ..events import NS, no_events
from ..networks import Network
from ..pipeline import read_windows
from ..reconstructor import Frame, Reconstructor
from ..recordings import Recording
from ..tone_map import RobustStretch, ToneMap, make_tone_map
from ..window_maker import WindowMaker
from ..windows import Window, make_windower
from ..wire.ros_types import EVENT_ARRAY, ImageMessage
from .padding import ZeroPadded
from .protocols import EvaluationError, Plan, Protocol


@dataclass(frozen=True)
class Compared:
    """An image and the frame at its time, both float32 (H, W) in [0, 1], before the metrics' views.

    Attributes:
        index: number of the frame in the recording, or of the image if the recording has no frames.
        image: None before the first event.
        truth: None if the recording has no frames.
        steps, milliseconds: of the network; 0 if no step was needed.
    """

    index: int
    stamp: int
    events: np.ndarray
    image: np.ndarray | None
    truth: np.ndarray | None
    steps: int
    milliseconds: float


@dataclass(frozen=True)
class Comparison:
    """A recording's images, paired with its frames.

    Attributes:
        reconstructor: makes the images.
        plan: what the protocol does with the recording; None if it has no frames.
        counts: what became of its events, complete once the images are consumed.
        images: those that the protocol scores, in order; consuming them does the work.
    """

    reconstructor: Reconstructor
    plan: Plan | None
    counts: FilterCounts
    images: Iterator[Compared]


def network_of(protocol: Protocol, network: Network) -> Network:
    """Return the network with the padding of the protocol."""
    return ZeroPadded(network) if protocol.zero_padding else network


def image_tone_map(protocol: Protocol, network: Network) -> ToneMap:
    """Return the tone map that the protocol applies before the metrics' views."""
    return RobustStretch(rate=1) if protocol.native_scaling and network.conventions.robust else make_tone_map("none")


def compare_sequence(
    recording: Recording, sequence: str, network: Network, protocol: Protocol, device: str = "auto"
) -> Comparison:
    """Run a network on a recording by a protocol.

    A recording without frames gives one image per full step of events, without scores.

    Raises:
        EvaluationError: no frame to score; and while the images are consumed: frames of another size than the sensor,
            images that are not finite, time that jumps back, no frame within the time of the events.
    """
    images = Reconstructor(
        network_of(protocol, network),
        recording.height,
        recording.width,
        device,
        tone_map=image_tone_map(protocol, network),
        max_events=protocol.max_events,
        runtime="auto",
        precision="fp32",
    )
    event_filter = EventFilter(recording.height, recording.width)
    if recording.frames_topic is None and not len(recording.frame_stamps()):
        return Comparison(images, None, event_filter.counts, _without_frames(recording, sequence, event_filter, images))
    stamps = recording.frame_stamps()
    plan = protocol.plan(sequence, stamps, min([recording.start, *stamps[:1].tolist()]))
    with_frames = _with_frames(recording, sequence, plan, protocol, event_filter, images)
    return Comparison(images, plan, event_filter.counts, with_frames)


def _without_frames(
    recording: Recording, sequence: str, event_filter: EventFilter, images: Reconstructor
) -> Iterator[Compared]:
    maker = WindowMaker(event_filter, partial(make_windower, "count", recording.height, recording.width))
    for index, window in enumerate(read_windows(recording, maker)):
        picture, milliseconds = _timed(images, window)
        _check_finite(picture, sequence, index)
        yield Compared(index, window.stamp, window.events, picture.shown, None, picture.steps, milliseconds)


def _with_frames(
    recording: Recording,
    sequence: str,
    plan: Plan,
    protocol: Protocol,
    event_filter: EventFilter,
    images: Reconstructor,
) -> Iterator[Compared]:
    stamps = plan.stamps if plan.begin is None else np.concatenate(([plan.begin], plan.stamps))
    maker = WindowMaker(
        event_filter, partial(make_windower, "stamps", recording.height, recording.width, stamps=stamps)
    )
    frames: dict[int, list[ImageMessage]] = {}
    start = None if plan.begin is None else (plan.begin - recording.start) / NS - 1e-3
    end = (int(stamps[-1]) - recording.start) / NS + 1e-3
    wanted = set(plan.stamps[plan.scored].tolist())

    def keep(frame: ImageMessage) -> None:
        if frame.stamp in wanted:
            frames.setdefault(frame.stamp, []).append(frame)

    windows = every_stamp(stamps, read_windows(recording, maker, start, end, keep))
    if plan.begin is not None:
        next(windows)  # before the first frame
    waiting: list[Compared] = []
    picture: Frame | None = None
    # The first frame's window contains all earlier events, however old, so it does not prove an overlap.
    first_telling = 0 if plan.begin is not None or len(stamps) == 1 else 1
    overlap = False
    for i, window in enumerate(windows):
        if event_filter.counts.time_jumps:
            raise EvaluationError(f"{sequence}: time jumps back in its events; cut it into several recordings")
        overlap |= len(window.events) > 0 and i >= first_telling
        steps, milliseconds = 0, 0.0
        if len(window.events) or protocol.empty_steps:
            picture, milliseconds = _timed(images, replace(window, first=picture is None))
            steps = picture.steps
            _check_finite(picture, sequence, plan.first + i)
        if plan.scored[i]:
            shown = picture.shown if picture is not None else None
            waiting.append(Compared(plan.first + i, window.stamp, window.events, shown, None, steps, milliseconds))
        # A frame may be recorded some time after the events of its own time.
        while waiting and waiting[0].stamp in frames:
            yield _joined(waiting.pop(0), frames, recording, sequence)
    while waiting and waiting[0].stamp in frames:
        yield _joined(waiting.pop(0), frames, recording, sequence)
    if waiting:
        raise EvaluationError(f"{sequence}: frame {waiting[0].index} is announced by its stamp, but was not found")
    if not overlap:
        raise EvaluationError(f"{sequence}: none of its frames lies within the time of its events{_hint(recording)}")


def _hint(recording: Recording) -> str:
    """Return a likely cause if events and frames do not overlap in time; may be empty."""
    if recording.events_type == EVENT_ARRAY:
        return ""
    return (
        "; event packets have the camera's time and frames the host's, which may differ:"
        " `cista convert --event-time host` gives the events the host's time"
    )


def every_stamp(stamps: np.ndarray, windows: Iterable[Window]) -> Iterator[Window]:
    """Yield one window per stamp, in order; an empty one where StampWindows gives none."""
    position = 0
    for window in windows:
        while position < len(stamps) and stamps[position] != window.stamp:
            yield Window(no_events(), int(stamps[position]))
            position += 1
        position += 1
        yield window
    for stamp in stamps[position:]:
        yield Window(no_events(), int(stamp))


def _timed(images: Reconstructor, window: Window) -> tuple[Frame, float]:
    began = time.perf_counter()
    picture = images.make(window)
    return picture, 1000 * (time.perf_counter() - began)


def _check_finite(picture: Frame, sequence: str, index: int) -> None:
    if not np.isfinite(picture.image).all():
        raise EvaluationError(f"{sequence}: the network's image {index} has values that are not finite")


def _joined(compared: Compared, frames: dict[int, list[ImageMessage]], recording: Recording, sequence: str) -> Compared:
    same_stamp = frames[compared.stamp]
    frame = same_stamp.pop(0)
    if not same_stamp:
        del frames[compared.stamp]
    size = (recording.height, recording.width)
    if frame.image.shape[:2] != size:
        raise EvaluationError(
            f"{sequence}: frame {compared.index} is of {frame.image.shape[1]}x{frame.image.shape[0]} pixels,"
            f" the events of {size[1]}x{size[0]}"
        )
    return replace(compared, truth=grey(frame))


def grey(frame: ImageMessage) -> np.ndarray:
    """Convert a camera frame to float32 (H, W) in [0, 1]. CistaError for other encodings than mono, rgb, bgr."""
    if not frame.encoding.startswith(("mono", "8UC", "16UC", "rgb", "bgr")):
        raise EvaluationError(f"a frame of encoding {frame.encoding}; expected mono, rgb or bgr of 8 or 16 bits")
    image = frame.grey()
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
