"""Reconstruct a stream of events, such as a camera driver delivers: python examples/stream.py"""

from collections.abc import Iterator

import numpy as np

from cista_ros import Reconstructor, make_events

HEIGHT, WIDTH = 180, 240


def camera(seconds: float = 0.2) -> Iterator[np.ndarray]:
    """Stand for a driver: packets of 5 ms in which a vertical bar moves over the sensor at 400 pixels per second."""
    for begin in np.arange(0, seconds, 0.005):
        t = np.sort(np.random.uniform(begin, begin + 0.005, 2000))
        brighter = np.random.random(len(t)) < 0.5
        x = (400 * t).astype(int) % WIDTH + np.where(brighter, 20, 0)
        y = np.random.randint(0, HEIGHT, len(t))
        yield make_events(x % WIDTH, y, (t * 1e9).astype(np.int64), brighter)  # pixels, nanoseconds, polarity


def main() -> None:
    # The first frame comes after the first 20 ms of events. Late events, and those outside the sensor, are dropped.
    reconstructor = Reconstructor.from_weights("auto", HEIGHT, WIDTH, window_options={"period": 0.02})
    print(reconstructor.runtime_note)
    for events in camera():
        for frame in reconstructor.push(events):
            print(f"{frame.stamp / 1e6:.1f} ms: {len(frame.events)} events, mean {frame.image.mean():.2f}")
    reconstructor.flush()
    print(reconstructor.windows.event_filter.counts)


if __name__ == "__main__":
    main()
