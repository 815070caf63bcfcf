"""From a sensor's own clock to the host's, by the stamps that the host gave to packets."""

from __future__ import annotations

import numpy as np

# The clocks of sound devices drift apart no faster; what follows no faster is not shaken by stamps that jitter.
_MAX_DRIFT = 1e-4
_SECOND = 1_000_000_000
_JUMP_NS = _SECOND  # a clock that was set anew


class HostClock:
    """Moves a stream's times so that packets' first events lie about their stamps, some before and some after them.

    The offset changes evenly, by at most 100 us in a second, so that time never goes back by it; if it is off by more
    than a second, it changes at once.
    """

    def __init__(self) -> None:
        self._offset: int | None = None  # at the time `_since`, from which it changes at `_rate`
        self._since = 0
        self._rate = 0.0

    def to_host(self, t: np.ndarray, stamp: int) -> None:
        """Change sensor times (N,) in ns of a packet with this stamp to host time, in place."""
        if not len(t):
            return
        first = int(t[0])
        if self._offset is not None:
            self._offset += int(self._change(t[:1])[0])
        if self._offset is None or abs(stamp - first - self._offset) > _JUMP_NS:
            self._offset = stamp - first
        self._since = first
        self._rate = float(np.clip((stamp - first - self._offset) / _SECOND, -_MAX_DRIFT, _MAX_DRIFT))
        self.move(t)

    def move(self, t: np.ndarray) -> None:
        """Change sensor times (N,) in ns near those of the last packet to host time, in place."""
        if self._offset is not None:
            t += self._change(t) + self._offset

    def _change(self, t: np.ndarray) -> np.ndarray:
        """How much the offset has changed by these times; it stops changing where packets stay away."""
        return np.rint(np.clip(t - self._since, 0, _SECOND) * self._rate).astype(np.int64)
