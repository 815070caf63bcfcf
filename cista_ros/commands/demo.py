"""`cista demo`: a recording through a real ROS 2 graph (player, node, recorder), and what came out, as a picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import CistaError, RecordingError

SHEET_PANELS = 12
# What the node's queue holds by far, so that one burst does not slow down the whole.
BUSY_WINDOWS = 8
# Longer than cameras pause between two messages.
MESSAGE_GAP_S = 0.1


class DemoError(CistaError):
    """A part of the demo is missing or failed; its text may be the last lines that a process of ours said."""

    __str__ = Exception.__str__


def demo(
    recording: Annotated[Path | None, typer.Argument(help="What to play. Default: the sample recording.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path("demo"),
    weights: Annotated[str, typer.Option(help="Shipped weights by name, a file, or auto.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    period: Annotated[float, typer.Option(help="Seconds of event time to an image.", min=0.0005, max=10)] = 1 / 30,
    rate: Annotated[
        float | None, typer.Option(help="Playback speed. Default: real time, or what this machine sustains.", min=1e-4)
    ] = None,
) -> None:
    """Play a recording to the ROS 2 node and keep the images: OUTPUT/frames, contact_sheet.png, summary.json."""
    from rich.console import Console

    from ..networks import choose_weights, find_weights
    from ..reconstructor import choose_device
    from ..recordings import open_recording

    console = Console(stderr=True)
    recording = recording or _sample()
    weights, note = choose_weights(weights, choose_device(device))
    weights = str(find_weights(weights).resolve())
    environment = _ros_environment()
    rate = rate or _sustained_rate(recording, weights, device, period)
    output.mkdir(parents=True, exist_ok=True)
    for folder in ("frames", "events"):
        for old in (output / folder).glob("[0-9]" * 8 + ".png"):
            old.unlink()

    with open_recording(recording) as source:
        topics = ["-r", f"events:={source.events_topic}"]
    parameters = {
        "weights": weights,
        "device": device,
        "period": period,
        # Nothing is to be merged or flushed early here: the demo shows every image, however slow the machine. At a
        # speed that it sustains few events wait; at one asked for it may be too many, and the sums tell of it.
        "max_queued_windows": 100_000,
        "idle_timeout": max(0.5, MESSAGE_GAP_S / rate),
    }
    assignments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    log = output / "demo.log"
    console.print(f"{note}. Playing {recording} at {rate:.3g} times real time through node, player and recorder …")
    began = time.monotonic()
    with log.open("w") as log_file, console.status("starting") as status:
        idle = str(parameters["idle_timeout"] + 1.5)
        with (
            _process("reconstruct", ["--ros-args", *topics, *assignments], environment, log_file) as node,
            _process(
                "record", ["-o", str(output), "--idle", idle, "--ros-args", *topics], environment, log_file
            ) as tape,
        ):
            play = [str(recording), "--rate", str(rate), "--wait-for-subscribers", "2", "--json"]
            with _process("play", play, environment, log_file, stdout=subprocess.PIPE) as player:
                while True:
                    # Each is asked once: between two questions all may have ended.
                    ended = node.poll(), player.poll(), tape.poll()
                    if ended[0] is not None or any(code not in (None, 0) for code in ended[1:]):
                        raise DemoError(f"a process ended early; its last words:\n{_tail(log)}")
                    if ended[1:] == (0, 0):
                        break
                    shown = len(list((output / "frames").glob("*.png")))
                    status.update(f"{time.monotonic() - began:.0f} s, {shown} images")
                    time.sleep(0.2)
                sent = json.loads(player.stdout.read())
    summary = _summary(json.loads((output / "record.json").read_text()), sent, rate, recording, weights)
    (output / "record.json").unlink()
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    if not summary["images"]:
        raise DemoError(f"no image came; see {log}")
    _write_sheet(output, summary["frames"])
    events, latency = summary["events"], summary["latency_ms"]
    told = " unknown" if latency["p50"] is None else f" p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms"
    console.print(
        f"{summary['images']} images from {events['used']} of {events['sent']} events, {events['dropped']} dropped;"
        f" latency{told}; {summary['rmw']}"
    )
    console.print(f"Look at {output / 'contact_sheet.png'} and {output / 'frames'}")


def _sample() -> Path:
    samples = sorted((Path(__file__).parent.parent / "samples").glob("*.bag"))
    if not samples:
        raise RecordingError("no recording given, and this version ships none: make demo RECORDING=… (or cista demo …)")
    return samples[0]


def _ros_environment() -> dict[str, str]:
    """The environment of the three processes: this one's, and ROS 2's prefix where it is this virtual environment."""
    from importlib.util import find_spec

    missing = [name for name in ("rclpy", "sensor_msgs", "dvs_msgs") if find_spec(name) is None]
    if missing:
        raise DemoError(f"the demo needs ROS 2; {', '.join(missing)} cannot be imported (see README)")
    environment = dict(os.environ)
    if Path(sys.prefix, "share", "ament_index").is_dir():
        prefixes = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if sys.prefix not in prefixes:
            environment["AMENT_PREFIX_PATH"] = os.pathsep.join([sys.prefix, *filter(None, prefixes)])
    # A demo is nobody else's business on the network, and a camera that runs here is not the demo's.
    private = "ROS_LOCALHOST_ONLY" if environment.get("ROS_DISTRO") == "humble" else "ROS_AUTOMATIC_DISCOVERY_RANGE"
    environment.setdefault(private, "1" if private == "ROS_LOCALHOST_ONLY" else "LOCALHOST")
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    return environment


def _sustained_rate(recording: Path, weights: str, device: str, period: float) -> float:
    """The playback speed, at most 1, at which the network keeps up on this machine where the recording is busiest."""
    from ..event_filter import EventFilter
    from ..networks import load_network
    from ..pipeline import choose_windows, read_windows
    from ..reconstructor import Reconstructor
    from ..recordings import open_recording
    from ..window_maker import WindowMaker
    from ..windows import Window

    with open_recording(recording) as source:
        make_windower = choose_windows(source, "period", period=period)[1]
        maker = WindowMaker(EventFilter(source.height, source.width), make_windower)
        recent: deque[Window] = deque(maxlen=BUSY_WINDOWS)
        busiest: list[Window] = []
        most = 0
        for window in read_windows(source, maker):
            recent.append(window)
            events = sum(len(window.events) for window in recent)
            if events > most:
                most, busiest = events, list(recent)
        if not busiest:
            return 1.0
        reconstructor = Reconstructor(load_network(weights), source.height, source.width, device)
    reconstructor.make(busiest[0])  # the first step also warms up
    began = time.perf_counter()
    for window in busiest:
        reconstructor.make(window)
    seconds = (time.perf_counter() - began) / len(busiest)
    # Half of the machine is left to the other two processes and to drawing.
    return min(1.0, period / (2 * seconds))


@contextmanager
def _process(
    name: str, arguments: Sequence[str], environment: dict[str, str], log: Any, stdout: Any = None
) -> Iterator[subprocess.Popen[str]]:
    """A ROS 2 process of this package, ended (SIGTERM) with the block."""
    command = [sys.executable, "-m", f"cista_ros.node.{name}", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=stdout or log, stderr=log, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-5:])


def _summary(tape: dict[str, Any], sent: dict[str, int], rate: float, recording: Path, weights: str) -> dict[str, Any]:
    import numpy as np

    latencies = [image["latency_ms"] for image in tape["images"] if image["latency_ms"] is not None]
    p50, p95 = np.percentile(latencies, (50, 95)) if latencies else (None, None)
    node = tape["diagnostics"]
    return {
        "recording": str(recording),
        "weights": weights,
        "rate": rate,
        "images": len(tape["images"]),
        "events": {
            "sent": sent["events"],
            "received": int(node.get("received_events", 0)),
            "used": int(node.get("used_events", 0)),
            "dropped": sent["events"] - int(node.get("used_events", 0)),
        },
        "latency_ms": {"p50": p50, "p95": p95},
        "rmw": tape["rmw"],
        "diagnostics": node,
        "frames": tape["images"],
    }


def _write_sheet(output: Path, frames: list[dict[str, Any]]) -> None:
    import cv2
    import numpy as np

    from ..util.drawing import contact_sheet

    chosen = np.unique(np.linspace(0, len(frames) - 1, min(SHEET_PANELS, len(frames))).round().astype(int))
    rows, captions = [], []
    for i in chosen:
        rows.append([cv2.imread(str(output / folder / f"{i:08d}.png")) for folder in ("events", "frames")])
        seconds = (frames[i]["stamp_ns"] - frames[0]["stamp_ns"]) / 1e9
        captions.append(f"{seconds:.3f} s, {frames[i]['events']} events")
    cv2.imwrite(str(output / "contact_sheet.png"), contact_sheet(rows, captions))
