"""Which frame was exposed by which pulse: pair triggers with the frames of a camera that they trigger.

A trigger has the event camera's time, a frame the stamp that its driver gave it: later by exposure, transfer and
scheduling, and possibly on another clock.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import numpy.typing as npt

MAX_TRIGGERS = 10_000  # without a frame that are kept, and pairs that are remembered
MAX_FRAMES = 100  # that wait for their trigger
_INTERVALS = 9  # between triggers, of which the median is the period
_GAIN = 1 / 16  # of the residual by which the delay follows; the drift of two clocks is below 0.01 ms per frame
_ESTIMATED = 1000  # triggers and frames that the delay is estimated from
_MOST_DRIFT = 1e-3  # of two clocks; more is another frequency


@dataclass
class TriggerPairs:
    """Pairs triggers and frames as they arrive, in any order.

    A frame belongs to the trigger that is nearest to its stamp minus the delay, if it is within half a period. The
    delay follows the pairs, as clocks drift. Nothing is paired before the second trigger, which shows the period.
    """

    delay: float = 0.0  # expected stamp minus trigger time in ns
    frame_stamps: dict[int, int] = field(default_factory=dict)  # by trigger time, of the last MAX_TRIGGERS pairs
    unpaired_frames: int = 0  # that found no trigger while MAX_FRAMES later ones came
    _triggers: list[int] = field(default_factory=list)  # in order
    _frames: list[int] = field(default_factory=list)
    _intervals: deque[int] = field(default_factory=lambda: deque(maxlen=_INTERVALS))
    _half: float = 0.0  # a period; 0 before the second trigger
    _last: int | None = None

    def add_trigger(self, time: int) -> list[int]:
        """Add a trigger; return the times of triggers that now have a frame."""
        if self._last is not None and time > self._last:
            self._intervals.append(time - self._last)
            self._half = median(self._intervals) / 2
        self._last = time
        insort(self._triggers, time)
        del self._triggers[:-MAX_TRIGGERS]
        if len(self._intervals) < 2:
            return self._pair(self._frames)
        return self._pair([stamp for stamp in self._frames if abs(stamp - self.delay - time) < self._half])

    def add_frame(self, stamp: int) -> list[int]:
        """Add the stamp of a frame; return the times of triggers that now have a frame."""
        self._frames.append(stamp)
        found = self._pair([stamp])
        self.unpaired_frames += max(0, len(self._frames) - MAX_FRAMES)
        del self._frames[:-MAX_FRAMES]
        return found

    def _pair(self, stamps: list[int]) -> list[int]:
        found: list[int] = []
        for stamp in stamps.copy():
            at = stamp - self.delay
            i = bisect_left(self._triggers, at)
            if i == len(self._triggers) or (i and at - self._triggers[i - 1] < self._triggers[i] - at):
                i -= 1
            if i < 0 or abs(self._triggers[i] - at) >= self._half:
                continue
            self._frames.remove(stamp)
            near = self._triggers.pop(i)
            self.delay += _GAIN * (at - near)
            self.frame_stamps[near] = stamp
            if len(self.frame_stamps) > MAX_TRIGGERS:
                del self.frame_stamps[next(iter(self.frame_stamps))]
            found.append(near)
        return found


@dataclass(frozen=True)
class Pairing:
    """The pairs of a recording, and what they say of the rig; times in ns."""

    triggers: npt.NDArray[np.int64]  # times (N,)
    frames: npt.NDArray[np.int64]  # their stamps (N,)
    period: float  # median time between triggers
    lone_triggers: int  # without partner between the first and the last pair
    lone_frames: int
    other_delays: tuple[float, ...]  # a whole number of periods away, fit as well; the recording cannot rule them out

    @property
    def delays(self) -> npt.NDArray[np.int64]:
        """Frame stamp minus trigger time (N,)."""
        return self.frames - self.triggers

    @property
    def drift(self) -> float:
        """Change of the delay per time: the least-squares slope; 0 with fewer than three pairs."""
        if len(self.triggers) < 3:
            return 0.0
        t = (self.triggers - self.triggers[0]).astype(np.float64)
        t -= t.mean()
        return float(t @ (self.delays - self.delays[0]) / (t @ t))

    @property
    def residuals(self) -> npt.NDArray[np.float64]:
        """Delays (N,) without their mean and drift."""
        if not len(self.triggers):
            return np.empty(0)
        rest = (self.delays - self.delays[0]) - self.drift * (self.triggers - self.triggers[0])
        return np.asarray(rest - rest.mean())

    @property
    def plausible(self) -> bool:
        """Whether these triggers trigger these frames: most have a partner, at a delay that hardly varies."""
        n = len(self.triggers)
        steady = n > 1 and self.residuals.std() < self.period / 5 and abs(self.drift) < _MOST_DRIFT
        return bool(steady and n >= 2 * min(self.lone_frames, self.lone_triggers))


def pair(triggers: np.ndarray, frames: np.ndarray) -> Pairing:
    """Pair trigger times (N,) with frame stamps (M,), both int64 ns.

    Where delays that differ by whole periods fit as well, it is one from 0 to a period, as on a shared clock; between
    different clocks, that with the most pairs.
    """
    triggers, frames = np.unique(triggers), np.sort(frames)
    period = 0.0
    others: tuple[float, ...] = ()
    chosen: dict[int, int] = {}
    if len(triggers) > 1 and len(frames):
        period = float(np.median(np.diff(triggers)))
        delay, others = _estimate(triggers, frames, period)
        pairs = TriggerPairs(delay)
        when = np.concatenate([triggers, frames - round(delay)])
        for i in np.argsort(when, kind="stable").tolist():
            n = i - len(triggers)
            found = pairs.add_trigger(int(triggers[i])) if n < 0 else pairs.add_frame(int(frames[n]))
            chosen |= {trigger: pairs.frame_stamps[trigger] for trigger in found}
    t, s = np.fromiter(chosen.keys(), np.int64), np.fromiter(chosen.values(), np.int64)
    return Pairing(t, s, period, _lone(triggers, t), _lone(frames, s), others)


def _lone(times: np.ndarray, paired: np.ndarray) -> int:
    """Return how many times (N,) are not paired, between the first and the last pair."""
    if len(paired):
        times = times[(times >= paired[0]) & (times <= paired[-1])]
    return len(times) - len(paired)


def missed_pulses(triggers: np.ndarray) -> int:
    """Return how many pulses are missing in a regular train of triggers (N,), by its gaps."""
    steps = np.diff(triggers)
    return int((np.rint(steps / np.median(steps)) - 1).clip(0).sum()) if len(steps) else 0


def _estimate(triggers: np.ndarray, frames: np.ndarray, period: float) -> tuple[float, tuple[float, ...]]:
    """Return the delay and others that are as good: where the differences of all pairs gather."""
    first, last = max(triggers[0], frames[0]) - period, min(triggers[-1], frames[-1]) + period
    if first < last:  # one clock
        triggers = triggers[(triggers >= first) & (triggers <= last)]
        frames = frames[(frames >= first) & (frames <= last)]
    origin = int(frames[0]) - int(triggers[0])
    pairs = np.subtract.outer(frames[:_ESTIMATED] - frames[0], triggers[:_ESTIMATED] - triggers[0])
    differences = np.sort(pairs, axis=None)
    counts = np.searchsorted(differences, differences + period / 2, "right") - np.arange(len(differences))
    best = int(counts.max())
    enough = best - max(2, best // 50)
    delays: list[float] = []
    # If more delays fit, as with pulses that bounce, none of them is right.
    while len(delays) < _ESTIMATED and (count := int(counts[at := int(counts.argmax())])) >= max(enough, 1):
        middle = float(np.median(differences[at : at + count]))
        delays.append(origin + middle)
        begin, end = np.searchsorted(differences, (middle - period * 3 / 4, middle + period / 4))
        counts[begin:end] = 0
    chosen = next((delay for delay in delays if -period / 8 <= delay < period * 7 / 8), delays[0])
    return chosen, tuple(delay for delay in delays if delay != chosen)
