"""Begin and end of a ROS 2 process of ours: signals end it in order, with exit code 0; bad input with 2."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ..errors import CistaError

# A signal is noticed after at most this long.
STEP_S = 0.1
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


@contextmanager
def ros_process(name: str, args: list[str] | None) -> Iterator[Stop]:
    """Initialise ROS 2, yield what SIGINT and SIGTERM set, and shut down.

    The signals are ours, not rclpy's: its handler would take the context away from a worker that still publishes.
    Errors of bad input become one line on stderr and exit code 2.
    """
    stop = Stop()
    for number in SIGNALS:
        signal.signal(number, stop.set)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # of rclpy's types, which it keeps private: arguments that cannot be parsed
        _fail(name, error)
    try:
        yield stop
    except (CistaError, ParameterException, NameValidationException, OSError) as error:
        _fail(name, error)
    finally:
        rclpy.try_shutdown()
        # Python gives up its handlers before its last work is done; a second signal then must not change the exit code.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _fail(name: str, error: Exception) -> NoReturn:
    print(f"{name}: error: {error}", file=sys.stderr)
    sys.exit(2)


class Spinner:
    """Lets a node's callbacks run, in this thread."""

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin(self, stop: Stop) -> None:
        """Until asked to stop."""
        while not stop.is_set():
            self.once(STEP_S)

    def once(self, seconds: float) -> None:
        """One callback, waiting for it so long at most."""
        self._executor.spin_once(timeout_sec=seconds)
