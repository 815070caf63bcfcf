"""Run one network on one recording and pair its images with the camera's frames, one at a time."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ..event_filter import EventFilter
from ..events import NS, no_events
from ..networks import Network
from ..networks.layers import pad_to_multiple
from ..pipeline import read_windows
from ..reconstructor import Frame, Reconstructor
from ..recordings import Recording
from ..tone_map import RobustStretch
from ..window_maker import WindowMaker
from ..windows import Window, make_windower
from ..wire.ros_types import EVENT_ARRAY, ImageMessage
from .protocols import EvaluationError, Plan, Protocol

OTHER_CLOCK = (
    "; event packets have the camera's time and frames the host's, which may differ:"
    " `cista convert --event-time host` gives the events the host's time"
)


@dataclass(frozen=True)
class Compared:
    """An image and the frame at its time, both float32 (H, W) in [0, 1], before the metrics' views."""

    index: int  # of the frame in the recording, or of the image if the recording has no frames
    stamp: int
    events: np.ndarray
    image: np.ndarray | None  # None before the first event
    truth: np.ndarray | None  # None if the recording has no frames
    steps: int  # of the network, in as many milliseconds; 0 if no step was needed
    milliseconds: float


class ZeroPadded(Network):
    """A network whose voxel grids are padded by zeros to EVREAL's multiples, and whose images are cropped back."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.inner = network
        self.name, self.config, self.conventions = network.name, network.config, network.conventions
        # EVREAL derives the multiple from the assumed depth of the encoder: 4 for FireNet, which has none.
        self.multiple = 16 if network.name == "firenet" else 8

    def forward(self, voxel: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """See Network; the state is the inner network's, of the padded size."""
        padded, (rows, columns) = pad_to_multiple(voxel, self.multiple, mode="constant")
        image, state = self.inner(padded, state)
        return image[..., rows, columns], state


class Comparison:
    """A recording's images, paired with its frames by a protocol; without frames one per full step of events, unscored.

    Attributes:
        plan: what the protocol does with the recording; None if it has no frames.
        counts: what became of its events, complete once the images are consumed.
        images: those that the protocol scores, in order; consuming them does the work.

    EvaluationError: no frame to score; and while the images are consumed: frames of another size than the sensor,
    images that are not finite, time that jumps back, no frame within the time of the events.
    """

    def __init__(
        self, recording: Recording, sequence: str, network: Network, protocol: Protocol, device: str = "auto"
    ) -> None:
        self._recording, self._sequence, self._protocol = recording, sequence, protocol
        self._size = recording.height, recording.width
        self.reconstructor = Reconstructor(
            ZeroPadded(network) if protocol.zero_padding else network,
            *self._size,
            device,
            tone_map=RobustStretch(rate=1) if protocol.native_scaling and network.conventions.robust else "none",
            max_events=protocol.max_events,
            precision="fp32",
        )
        self._filter = EventFilter(*self._size)
        self.counts = self._filter.counts
        self.plan: Plan | None = None
        stamps = recording.frame_stamps()
        if recording.frames_topic is not None or len(stamps):
            self.plan = protocol.plan(sequence, stamps, min([recording.start, *stamps[:1].tolist()]))
        self.images = self._with_frames(self.plan) if self.plan else self._without_frames()

    def _without_frames(self) -> Iterator[Compared]:
        for index, window in enumerate(read_windows(self._recording, self._windows("count"))):
            frame, milliseconds = self._make(window, index)
            yield Compared(index, window.stamp, window.events, frame.shown, None, frame.steps, milliseconds)

    def _with_frames(self, plan: Plan) -> Iterator[Compared]:
        recording, protocol, begin = self._recording, self._protocol, plan.begin
        stamps = plan.stamps if begin is None else np.concatenate(([begin], plan.stamps))
        start = None if begin is None else (begin - recording.start) / NS - 1e-3
        end = (int(stamps[-1]) - recording.start) / NS + 1e-3
        wanted = set(plan.stamps[plan.scored].tolist())
        truths: defaultdict[int, deque[ImageMessage]] = defaultdict(deque)
        waiting: deque[Compared] = deque()

        def keep(truth: ImageMessage) -> None:
            if truth.stamp in wanted:
                truths[truth.stamp].append(truth)

        def joined() -> Iterator[Compared]:
            while waiting and truths[waiting[0].stamp]:
                compared = waiting.popleft()
                yield replace(compared, truth=self._truth(truths[compared.stamp].popleft(), compared.index))

        windows = every_stamp(stamps, read_windows(recording, self._windows("stamps", stamps=stamps), start, end, keep))
        if begin is not None:
            next(windows)  # before the first frame
        frame: Frame | None = None
        # The first frame's window contains all earlier events, however old, so it does not prove an overlap.
        first_telling = 0 if begin is not None or len(stamps) == 1 else 1
        overlap = False
        for i, window in enumerate(windows):
            if self.counts.time_jumps:
                raise self._error("time jumps back in its events; cut it into several recordings")
            overlap |= len(window.events) > 0 and i >= first_telling
            steps, milliseconds = 0, 0.0
            if len(window.events) or protocol.empty_steps:
                frame, milliseconds = self._make(replace(window, first=frame is None), plan.first + i)
                steps = frame.steps
            if plan.scored[i]:
                shown = frame.shown if frame is not None else None
                waiting.append(Compared(plan.first + i, window.stamp, window.events, shown, None, steps, milliseconds))
            yield from joined()  # a frame may be recorded some time after the events of its own time
        yield from joined()
        if waiting:
            raise self._error(f"frame {waiting[0].index} is announced by its stamp, but was not found")
        if not overlap:
            hint = "" if recording.events_type == EVENT_ARRAY else OTHER_CLOCK
            raise self._error(f"none of its frames lies within the time of its events{hint}")

    def _windows(self, kind: str, **options: Any) -> WindowMaker:
        return WindowMaker(self._filter, partial(make_windower, kind, *self._size, **options))

    def _make(self, window: Window, index: int) -> tuple[Frame, float]:
        """Return the frame of a window, and the milliseconds that it took."""
        began = time.perf_counter()
        frame = self.reconstructor.make(window)
        milliseconds = 1000 * (time.perf_counter() - began)
        if not np.isfinite(frame.image).all():
            raise self._error(f"the network's image {index} has values that are not finite")
        return frame, milliseconds

    def _truth(self, frame: ImageMessage, index: int) -> np.ndarray:
        """Return a camera frame as float32 (H, W) in [0, 1]."""
        (height, width), (rows, columns) = self._size, frame.image.shape[:2]
        if (rows, columns) != (height, width):
            raise self._error(f"frame {index} is of {columns}x{rows} pixels, the events of {width}x{height}")
        if not frame.encoding.startswith(("mono", "8UC", "16UC", "rgb", "bgr")):
            raise self._error(f"a frame of encoding {frame.encoding}; expected mono, rgb or bgr of 8 or 16 bits")
        image = frame.grey()
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)

    def _error(self, text: str) -> EvaluationError:
        return EvaluationError(f"{self._sequence}: {text}")


def every_stamp(stamps: np.ndarray, windows: Iterable[Window]) -> Iterator[Window]:
    """Yield one window per stamp, in order; an empty one where StampWindows gives none."""
    windows = iter(windows)
    window = next(windows, None)
    for stamp in stamps.tolist():
        if window is None or window.stamp != stamp:
            yield Window(no_events(), stamp)
        else:
            yield window
            window = next(windows, None)
