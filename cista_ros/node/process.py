"""Begin and end of a ROS 2 process of ours: signals end it in order, with exit code 0; bad input with 2."""

from __future__ import annotations

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
from .stop import Stop, ignore_signals

# A signal is noticed after at most this long.
STEP_S = 0.1


@contextmanager
def ros_process(name: str, args: list[str] | None) -> Iterator[None]:
    """Initialise ROS 2, and shut down at the end.

    The signals stay ours (see stop_on_signals): rclpy's handler would take the context away from a worker that still
    publishes. Errors of bad input become one line on stderr and exit code 2.
    """
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # of rclpy's types, which it keeps private: arguments that cannot be parsed
        _fail(name, error)
    try:
        yield
    except (CistaError, ParameterException, NameValidationException, OSError) as error:
        _fail(name, error)
    finally:
        rclpy.try_shutdown()
        ignore_signals()


def _fail(name: str, error: Exception) -> NoReturn:
    print(f"{name}: error: {error}", file=sys.stderr)
    sys.exit(2)


class Spinner:
    """Lets the callbacks of nodes run, in this thread."""

    def __init__(self, *nodes: Node) -> None:
        self._executor = SingleThreadedExecutor()
        for node in nodes:
            self._executor.add_node(node)

    def spin(self, stop: Stop) -> None:
        """Until asked to stop."""
        while not stop.is_set():
            self.once(STEP_S)

    def once(self, seconds: float) -> None:
        """One callback, waiting for it so long at most."""
        self._executor.spin_once(timeout_sec=seconds)
