"""Begin and end of a ROS 2 process of ours: signals end it in order, with exit code 0; bad input with 2."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ..errors import CistaError

# A signal is noticed after at most this long.
STEP_S = 0.1


@contextmanager
def ros_process(name: str, args: list[str] | None) -> Iterator[threading.Event]:
    """Initialise ROS 2, yield an event that SIGINT and SIGTERM set, and shut down.

    The signals are ours, not rclpy's: its handler would take the context away from a worker that still publishes.
    Errors of bad input become one line on stderr and exit code 2.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield stop
    except (CistaError, ParameterException, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        rclpy.try_shutdown()


class Spinner:
    """Lets a node's callbacks run, in this thread."""

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin(self, stop: threading.Event) -> None:
        """Until the event is set."""
        while not stop.is_set():
            self.once(STEP_S)

    def once(self, seconds: float) -> None:
        """One callback, waiting for it so long at most."""
        self._executor.spin_once(timeout_sec=seconds)
