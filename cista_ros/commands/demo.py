"""`cista demo`: a recording through a real ROS 2 graph (player, node, recorder) into a folder of images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..errors import CistaError
from .options import DeviceOption, WeightsOption
from .progress import counted, say

SHEET_PANELS = 12
# Far fewer than a node can queue, so that one burst does not slow down the whole playback.
BUSY_WINDOWS = 8
# Longer than cameras pause between two messages.
MESSAGE_GAP_S = 0.1


class DemoError(CistaError):
    """A part of the demo is missing or failed. Its text may be several lines, the end of the log."""

    __str__ = Exception.__str__


def demo(
    recording: Annotated[Path | None, typer.Argument(help="Recording to play. Default: the sample.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Output folder.")] = Path("demo"),
    weights: WeightsOption = "auto",
    device: DeviceOption = "auto",
    period: Annotated[float, typer.Option(help="Seconds of event time per image.", min=0.0005, max=10)] = 1 / 30,
    rate: Annotated[
        float | None,
        typer.Option(help="Playback speed. Default: real time, or what this machine sustains.", min=1e-4, max=1e4),
    ] = None,
) -> None:
    """Play a recording to the ROS 2 node and keep the images: OUTPUT/frames, contact_sheet.png, summary.json."""
    from rich.console import Console

    from ..benchmark.doctor import SAMPLE
    from ..networks import choose_weights, find_weights
    from ..reconstructor import choose_device
    from ..recordings import open_recording
    from ..util.atomic import write_text

    console = Console(stderr=True)
    recording = recording or SAMPLE
    weights, note = choose_weights(weights, choose_device(device))
    weights = str(find_weights(weights).resolve())
    environment = _ros_environment()
    with open_recording(recording) as source:
        topics = ["--ros-args", "-r", f"events:={source.events_topic}"]
        sensor = {"sensor_width": source.width, "sensor_height": source.height}
    rate = rate or _sustained_rate(recording, weights, device, period)
    output.mkdir(parents=True, exist_ok=True)
    for folder in ("frames", "events"):
        for old in (output / folder).glob("[0-9]" * 8 + ".png"):
            old.unlink()
    # Lazy: the node subscribes to the events, which the player waits for, only when the recorder can receive images.
    # No limits of time: windows are the same, and every one becomes an image, however slow the machine is.
    parameters = {"weights": weights, "device": device, "period": period, "lazy": True, **sensor}
    parameters |= {"max_latency": 0.0, "idle_timeout": 0.0}
    waits = ["--wait-for-subscribers", "2", "--wait-for-images"]
    commands = {
        "reconstruct": [*topics, *(word for name, value in parameters.items() for word in ("-p", f"{name}:={value}"))],
        "record": ["-o", str(output), "--idle", str(MESSAGE_GAP_S / rate + 2), *topics],
        "play": [str(recording), "--rate", str(rate), *waits, "--json"],
    }
    say(console, f"{note}. Playing {recording} at {rate:.3g} times real time through node, player and recorder …")
    with console.status("starting") as status:
        sent = _run(commands, environment, output, status)["events"]
    record = output / "record.json"
    tape = json.loads(record.read_text())
    record.unlink()
    images, node = tape["images"], tape["diagnostics"]
    latencies = [image["latency_ms"] for image in images if image["latency_ms"] is not None]
    p50, p95 = np.percentile(latencies, (50, 95)) if latencies else (None, None)
    received, used = (int(node.get(name, 0)) for name in ("received_events", "used_events"))
    summary = {
        "recording": str(recording),
        "weights": weights,
        "rate": rate,
        "images": len(images),
        "events": {"sent": sent, "received": received, "used": used, "dropped": sent - used},
        "latency_ms": {"p50": p50, "p95": p95},
        "rmw": tape["rmw"],
        "diagnostics": node,
        "frames": images,
    }
    write_text(output / "summary.json", json.dumps(summary, indent=1) + "\n")
    if not images:
        raise DemoError(f"no image was published; see {output / 'demo.log'}")
    _write_sheet(output, images)
    latency = f"p50 {p50:.0f} ms, p95 {p95:.0f} ms" if latencies else "unknown"
    say(
        console,
        f"{counted(len(images), 'image')} from {used} of {counted(sent, 'event')}, {sent - used} dropped;"
        f" latency {latency}; {tape['rmw']}",
    )
    say(console, f"Look at {output / 'contact_sheet.png'} and {output / 'frames'}")


def _run(commands: dict[str, list[str]], environment: dict[str, str], output: Path, status: Any) -> dict[str, int]:
    """Run node, recorder and player until the latter two end; return what the player published."""
    log, began = output / "demo.log", time.monotonic()
    with log.open("w") as log_file, ExitStack() as stack:

        def start(name: str, stdout: Any = log_file) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "cista_ros.node.programs", name, *commands[name]]
            process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=log_file, text=True)
            stack.callback(_end, process)
            return process

        node, recorder, player = start("reconstruct"), start("record"), start("play", subprocess.PIPE)
        while True:
            # Each is asked once: between two questions all may have ended.
            ended = node.poll(), player.poll(), recorder.poll()
            if ended[0] is not None or any(code not in (None, 0) for code in ended[1:]):
                tail = "\n".join(log.read_text().splitlines()[-5:])
                raise DemoError(f"a process ended early; the end of its log:\n{tail}")
            if ended[1:] == (0, 0):
                assert player.stdout
                sent: dict[str, int] = json.loads(player.stdout.read())
                return sent
            images = len(list((output / "frames").glob("*.png")))
            status.update(f"{time.monotonic() - began:.0f} s, {images} images")
            time.sleep(0.2)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ros_environment() -> dict[str, str]:
    """Return the environment of the processes: a ROS domain of their own, not visible to other machines.

    Where ROS 2 is installed in this virtual environment, it is put into AMENT_PREFIX_PATH.
    """
    from importlib.util import find_spec

    from ..node.process import PARENT_VARIABLE, free_domain

    missing = [name for name in ("rclpy", "sensor_msgs", "dvs_msgs") if find_spec(name) is None]
    if missing:
        raise DemoError(f"the demo needs ROS 2; cannot import {', '.join(missing)} (see README)")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(free_domain()), PARENT_VARIABLE: str(os.getpid())}
    for name in ("ROS_DISCOVERY_SERVER", "ROS_STATIC_PEERS"):
        environment.pop(name, None)
    if environment.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    else:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if Path(sys.prefix, "share", "ament_index").is_dir():
        prefixes = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if sys.prefix not in prefixes:
            environment["AMENT_PREFIX_PATH"] = os.pathsep.join([sys.prefix, *filter(None, prefixes)])
    return environment


def _sustained_rate(recording: Path, weights: str, device: str, period: float) -> float:
    """Return the playback speed, at most 1, that this machine sustains where the recording is busiest."""
    from ..pipeline import read_windows
    from ..reconstructor import Reconstructor
    from ..recordings import open_recording

    with open_recording(recording) as source:
        reconstructor = Reconstructor.from_weights(
            weights, source.height, source.width, device, window_options={"period": period}
        )
        counts = [len(window.events) for window in read_windows(source, reconstructor.windows)]
        if not counts:
            return 1.0
        starts = range(max(1, len(counts) - BUSY_WINDOWS + 1))
        busiest = max(starts, key=lambda i: sum(counts[i : i + BUSY_WINDOWS]))
        windows = list(islice(read_windows(source, reconstructor.windows), busiest, busiest + BUSY_WINDOWS))
    reconstructor.make(windows[0])  # warms up
    began = time.perf_counter()
    for window in windows:
        reconstructor.make(window)
    seconds = (time.perf_counter() - began) / len(windows)
    # Half of the machine is left to the other two processes and to drawing.
    return min(1.0, period / (2 * seconds))


def _write_sheet(output: Path, frames: list[dict[str, Any]]) -> None:
    import cv2

    from ..util.drawing import contact_sheet, write_png

    chosen = np.unique(np.linspace(0, len(frames) - 1, min(SHEET_PANELS, len(frames))).round().astype(int))
    rows, captions = [], []
    for i in chosen:
        rows.append([np.asarray(cv2.imread(str(output / folder / f"{i:08d}.png"))) for folder in ("events", "frames")])
        seconds = (frames[i]["stamp_ns"] - frames[0]["stamp_ns"]) / 1e9
        captions.append(f"{seconds:.3f} s, {frames[i]['events']} events")
    write_png(output / "contact_sheet.png", contact_sheet(rows, captions))
