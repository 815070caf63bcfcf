"""Event arrays for tests, and windows of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from cista_ros.events import concatenate, make_events

H, W = 20, 24
# Strategies: times of events in nanoseconds, and the places where a stream is cut into messages.
times = st.lists(st.integers(0, 2000), min_size=1, max_size=80)
cuts = st.lists(st.integers(0, 80), max_size=6)


def events_at(times):
    n = len(times)
    return make_events(np.arange(n) % 240, np.arange(n) % 180, sorted(times), np.arange(n) % 2)


def windows_of(windower, events, cuts=()):
    found = []
    for part in np.split(events, sorted(min(cut, len(events)) for cut in cuts)):
        found += windower.push(part)
    return found + windower.flush()


def random_events(n, seconds, seed=0, height=H, width=W):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, round(seconds * 1e9), n))
    return make_events(rng.integers(0, width, n), rng.integers(0, height, n), t, rng.integers(0, 2, n))


def with_hot(events, pixels, hz, seconds):
    """Events and pixels [(x, y)] that fire at hz."""
    hot = [
        make_events(np.full(len(t), x), np.full(len(t), y), t, np.ones(len(t)))
        for x, y in pixels
        for t in [np.arange(0, round(seconds * 1e9), round(1e9 / hz))]
    ]
    everything = concatenate([events, *hot])
    return everything[np.argsort(everything["t"], kind="stable")]
