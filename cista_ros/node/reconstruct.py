"""The program `reconstruct`: runs the node `cista_reconstruct`."""

from __future__ import annotations

from ..util.threads import wait_without_spinning
from .stop import ignore_signals, stop_on_signals


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM (exit code 0); 2 for a bad parameter."""
    stop = stop_on_signals()
    wait_without_spinning()
    # Imported only now: loading rclpy and torch takes seconds, and a signal in that time must end us in order, too.
    from .process import Spinner, ros_process

    if stop.is_set():
        return ignore_signals()
    with ros_process("cista_reconstruct", args):
        from .reconstruct_node import ReconstructNode

        if stop.is_set():
            return
        node = ReconstructNode(stop)
        node.start()
        try:
            Spinner(node).spin(stop)
        finally:
            node.close()


if __name__ == "__main__":
    main()
