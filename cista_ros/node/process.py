"""Start and end of a ROS 2 process: signals, exit codes, parent, domain. Imports ROS only where it is used."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import NoReturn

from ..errors import CistaError

SIGNALS = signal.SIGINT, signal.SIGTERM
# Nothing blocks for longer, so that signals take effect.
STEP_S = 0.1
# Process ID of the parent; the programs end with it.
PARENT_VARIABLE = "CISTA_PARENT_PID"
PR_SET_PDEATHSIG = 1
# People pick domains from 0 to 101 by hand. Above, the ports of 102 to 214 are also ephemeral ports on Linux.
SAFE_DOMAINS, OTHER_DOMAINS = range(215, 232), range(102, 215)
_claims: deque[socket.socket] = deque(maxlen=16)
_starts = count(os.getpid())


class Stop:
    """A flag that asks the process to end.

    Not a threading.Event: its lock deadlocks when a second signal interrupts the handler of the first.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self, *_: object) -> None:
        """Ask to end. Can be used as a signal handler."""
        self._set = True

    def is_set(self) -> bool:
        """Return whether the process should end."""
        return self._set


def stop_on_signals() -> Stop:
    """Return a flag that SIGINT and SIGTERM set from now on. Call it before the slow imports.

    Where CISTA_PARENT_PID is in the environment, the end of the parent process sets it, too.
    """
    stop = Stop()
    for number in SIGNALS:
        signal.signal(number, stop.set)
    if parent := os.environ.get(PARENT_VARIABLE):
        end_with_parent()
        try:
            os.kill(int(parent), 0)
        except PermissionError:
            pass  # it is alive
        except (ValueError, OverflowError, ProcessLookupError):
            stop.set()
    return stop


def end_with_parent() -> None:
    """Send SIGTERM to this process when its parent ends, even by SIGKILL. No-op on other systems than Linux."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def ignore_signals() -> None:
    """Ignore signals from now on: one that arrives during the interpreter's shutdown would change the exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_at_once(code: int) -> NoReturn:
    """End the process without tearing down the interpreter, which takes 0.5 s of CPU time with torch loaded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def ros_process(name: str, args: list[str] | None) -> Iterator[None]:
    """Initialise ROS 2, and shut it down at the end.

    rclpy installs no signal handlers: its own would invalidate the context while a worker thread still publishes.
    Bad input becomes one line on stderr and exit code 2.
    """
    import rclpy
    from rclpy.exceptions import NameValidationException, ParameterException
    from rclpy.signals import SignalHandlerOptions

    failed = False
    try:
        try:
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # includes rclpy's private errors for arguments that cannot be parsed
            raise CistaError(str(error)) from None
        yield
    except (CistaError, ParameterException, NameValidationException, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        failed = True
        # What was made of a node must go before the middleware, whose threads may still use it.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
    finally:
        rclpy.try_shutdown()
        ignore_signals()
    if failed:
        exit_at_once(2)


def free_domain() -> int:
    """Return a ROS domain ID that no process on this machine uses.

    The last 16 are claimed by abstract Unix sockets, so that no two callers get the same one before its first
    participant exists. Raises CistaError if every domain is in use.
    """
    for domains in SAFE_DOMAINS, OTHER_DOMAINS:
        start = next(_starts)
        for i in range(len(domains)):
            domain = domains[(start + i) % len(domains)]
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            with suppress(OSError):
                claim.bind(f"\0cista_ros-domain-{domain}")
                if not _has_participant(domain):
                    _claims.append(claim)
                    return domain
            claim.close()
    raise CistaError("all ROS domains from 102 to 231 are in use")


def _has_participant(domain: int) -> bool:
    # Where every participant of a domain, and its first one, listens (DDSI-RTPS 2.2, section 9.6.1.1).
    for port in (7400 + 250 * domain, 7400 + 250 * domain + 10):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return True
    return False
