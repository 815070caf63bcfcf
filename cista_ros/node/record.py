"""The program `record`: runs the node `cista_record`."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from .stop import ignore_signals, stop_on_signals


def main(args: list[str] | None = None) -> None:
    """Record until idle, SIGINT or SIGTERM (exit code 0); 2 if the folder cannot be written."""
    stop = stop_on_signals()
    # Imported only now, as in reconstruct.py.
    from rclpy.utilities import remove_ros_args

    from .process import STEP_S, Spinner, ros_process
    from .recorder import Recorder

    if stop.is_set():
        return ignore_signals()
    parser = argparse.ArgumentParser(
        "record", description="Write the images of a topic, and their events, to a folder."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--idle", type=float, help="end when nothing has come for this many seconds after the first")
    options = parser.parse_args(remove_ros_args(sys.argv if args is None else ["record", *args])[1:])
    with ros_process("cista_record", args):
        recorder = Recorder(options.output)
        spinner = Spinner(recorder)
        try:
            while not (stop.is_set() or (options.idle and recorder.done(options.idle))):
                spinner.once(STEP_S)
        except OSError:  # a full disk: what could not be written first is what to tell of
            with suppress(OSError):
                recorder.write_report()
            raise
        recorder.write_report()


if __name__ == "__main__":
    main()
