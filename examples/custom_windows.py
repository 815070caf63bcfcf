"""Cut events into windows of your own: here, one image per 5000 events in the centre of the view.

python examples/custom_windows.py [RECORDING]
"""

import sys
from pathlib import Path

import numpy as np

import cista_ros
from cista_ros.windows import Windower

SAMPLE = Path(cista_ros.__file__).parent / "samples" / "landscape.bag"


class CentreWindows(Windower):
    """Windows that end with the event that brings the centre of the view to `count` events."""

    def __init__(self, height: int, width: int, count: int) -> None:
        super().__init__()
        self.height, self.width, self.count = height, width, count
        self._left = count

    def _is_complete(self) -> bool:
        if self._left:
            return False
        self._left = self.count
        return True

    def _count_inside(self, events: np.ndarray) -> int:
        """Return how many of the events belong to the open window."""
        x, y = events["x"] * 4 // self.width, events["y"] * 4 // self.height
        central = np.flatnonzero((x >= 1) & (x < 3) & (y >= 1) & (y < 3))
        if len(central) < self._left:
            self._left -= len(central)
            return len(events)
        last = int(central[self._left - 1])
        self._left = 0
        return last + 1


def main(path: str = str(SAMPLE)) -> None:
    with cista_ros.open_recording(path) as recording:
        height, width = recording.height, recording.width
        windows = lambda: CentreWindows(height, width, 5000)  # noqa: E731  (a new one for each stream)
        for frame in cista_ros.reconstruct(recording, windows=windows, end=0.5):
            print(f"{frame.stamp / 1e9:.3f} s: {len(frame.events)} events")


if __name__ == "__main__":
    main(*sys.argv[1:])
