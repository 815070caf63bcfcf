"""The program `reconstruct`: runs the node `cista_reconstruct`."""

from __future__ import annotations

from ..threads import wait_without_spinning
from .process import Spinner, ros_process


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM (exit code 0); 2 for a bad parameter."""
    wait_without_spinning()
    with ros_process("cista_reconstruct", args) as stop:
        # Imported only now: loading torch takes seconds, and a signal in that time must end us in order, too.
        from .reconstruct_node import ReconstructNode

        node = ReconstructNode()
        try:
            Spinner(node).spin(stop)
        finally:
            node.close()


if __name__ == "__main__":
    main()
