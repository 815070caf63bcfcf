"""Signals that ask a process to end. Without ROS: in place before what takes long is imported."""

from __future__ import annotations

import signal

SIGNALS = signal.SIGINT, signal.SIGTERM


class Stop:
    """Whether to end. Not a threading.Event: its lock would be waited for in vain where a second signal interrupts
    the handler of the first.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self, *_: object) -> None:
        """Ask to end; a signal handler."""
        self._asked = True

    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self._asked


def stop_on_signals() -> Stop:
    """What SIGINT and SIGTERM set from now on."""
    stop = Stop()
    for number in SIGNALS:
        signal.signal(number, stop.set)
    return stop


def ignore_signals() -> None:
    """At the very end: Python gives up its handlers before its last work is done; a second signal then must not change
    the exit code.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
