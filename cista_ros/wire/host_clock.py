"""From a sensor's own clock to the host's, by the stamps that the host gave to packets."""

from __future__ import annotations

import numpy as np

# No two clocks of sound devices drift apart faster. Stamps jitter by milliseconds; what is followed no faster than
# this is smooth, and never makes time go back.
_MAX_DRIFT = 1e-4
_JUMP_NS = 1_000_000_000  # a clock that was set anew


class HostClock:
    """Moves a stream's times so that the packets' first events lie at the packets' stamps, half earlier, half later.

    The offset follows by at most 100 us a second, and at once if it is off by more than a second.
    """

    def __init__(self) -> None:
        self._offset: int | None = None
        self._last = 0

    def to_host(self, t: np.ndarray, stamp: int) -> None:
        """Change sensor times (N,) in ns of a packet with this stamp to host time, in place."""
        if not len(t):
            return
        first = int(t[0])
        wrong = 0 if self._offset is None else stamp - first - self._offset
        if self._offset is None or abs(wrong) > _JUMP_NS:
            self._offset = stamp - first
        else:
            most = int(max(0, first - self._last) * _MAX_DRIFT)
            self._offset += max(-most, min(most, wrong))
        self._last = first
        t += self._offset
