"""The disk becomes full while the recorder writes, and under every command that writes much (root, for the tmpfs):

    PYTHONPATH=test/ros:test python test/soak/full_disk.py

Held if who writes says so in one line that names the file, with exit code 2, and leaves no half picture, and if the
node goes on.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
from harness import Process, environment, module
from soak import accounted, conclude, ended_in_order, say, soak
from traffic import SAMPLE

PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"
SIZE_KB = 256
COMMANDS = {
    "reconstruct": ("reconstruct", str(SAMPLE), "--weights", "cista-tc-small", "-o", "{}/out"),
    "reconstruct --npz": ("reconstruct", str(SAMPLE), "--weights", "cista-tc-small", "--npz", "-o", "{}/out"),
    "reconstruct --video": (
        "reconstruct",
        str(SAMPLE),
        "--weights",
        "cista-tc-small",
        "-o",
        "{}/out",
        "--video",
        "{}/a.mp4",
    ),
    "convert to ROS 1": ("convert", str(SAMPLE), "{}/out.bag", "--events", "libcaer", "--lossy"),
    "convert to sqlite3": ("convert", str(SAMPLE), "{}/out"),
    "convert to mcap": ("convert", str(SAMPLE), "{}/out.mcap"),
    "convert to ECD text": ("convert", str(SAMPLE), "{}/out", "--format", "ecd-text"),
    "convert to a zip": ("convert", str(SAMPLE), "{}/out.zip"),
}


@contextmanager
def small_disk(folder: Path):
    """A disk of SIZE_KB in this folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_KB}k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def unreadable(folder: Path) -> list[str]:
    """Pictures that are there, and are none."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.png") if cv2.imread(str(path)) is None]


def main() -> int:
    with soak() as this:
        held, said = {}, {}
        with small_disk(this.folder / "recorder") as disk:
            node = this.start_node(*PARAMETERS)
            recorder = Process(
                module("record", "-o", str(disk), "--ros-args", "-r", "events:=/dvs/events"), this.domain
            )
            this.processes.append(recorder)
            camera = this.start_camera("--rate", 200_000, "--seconds", 60, "--subscribers", 2)
            ended = this.watcher.until(lambda: recorder.popen.poll() is not None, 100)
            said["record"] = recorder.err.strip().splitlines()[-1:]
            held["the recorder ends with code 2 and says which file"] = (
                ended
                and recorder.popen.returncode == 2
                and str(disk) in "".join(said["record"])
                and "Traceback" not in recorder.err
            )
            held["it leaves no half picture"] = not unreadable(disk)
            say(record=said["record"], err=recorder.err[-1500:], code=recorder.popen.returncode, left=unreadable(disk))
            images = this.watcher.images
            this.spin_while(camera)
            held["the node goes on"] = this.watcher.settled() and this.watcher.images > images
            counts, sent = this.watcher.counts, this.sent()
            held["every event used"] = sent["sent_events"] == counts["received_events"] == counts["used_events"]
            held["identity"] = accounted(counts)
            held["the node ended in order"] = ended_in_order(node)
        for name, words in COMMANDS.items():
            with small_disk(this.folder / name.replace(" ", "-")) as disk:
                command = [sys.executable, "-m", "cista_ros.commands.main", *(word.format(disk) for word in words)]
                done = subprocess.run(
                    command, capture_output=True, text=True, env=environment(this.domain), timeout=300
                )
                said[name] = done.stderr.strip().splitlines()[-1:]
                left = [str(path.relative_to(disk)) for path in disk.rglob("*")]
                say(command=name, code=done.returncode, said=done.stderr[-400:], left=left[:5])
                held[f"{name}: code 2, says which file, leaves no half one"] = (
                    done.returncode == 2
                    and str(disk) in done.stderr
                    and "Traceback" not in done.stderr
                    and not unreadable(disk)
                    and (name.startswith("reconstruct") or not left)
                )
        return conclude(this, f"disk of {SIZE_KB} KiB full while recording", held, parameters=PARAMETERS, said=said)


if __name__ == "__main__":
    sys.exit(main())
