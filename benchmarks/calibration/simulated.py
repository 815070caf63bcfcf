"""Simulate recordings of three targets before three lenses, calibrate them by several methods, and print the errors.

python benchmarks/calibration/simulated.py ROWS.jsonl FOLDER frames cista-tc-small cista-tc FILE.pth … [--seconds 20]

A method is `frames` (the true frames), weights, or `live:WEIGHTS`: player, node and calibrator as processes, by
`ros2 launch cista_ros calibrate.launch.py`, which needs a ROS environment. Each calibration appends a row to
ROWS.jsonl, and those already there are not repeated, so the command can be interrupted. Without methods, only the
tables are printed. FOLDER keeps the recordings.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import re
import shutil
import signal
import statistics
import subprocess
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from cista_ros.benchmark.machine import processor_name
from cista_ros.calibration.solve import INTRINSICS
from cista_ros.commands.calibrate import calibrate
from cista_ros.commands.simulate import simulate
from cista_ros.errors import CistaError

TARGETS = ("checkerboard:7x5:0.03", "aprilgrid:4x3:0.05:0.3", "charuco:6x5:0.04:0.03")
LENSES = (("plumb_bob", "-0.2,0.05"), ("rational_polynomial", "-0.2,0.05"), ("equidistant", "0.02,-0.01"))
SIZES = [(240, 180)] * 10 + [(346, 260)] * 6 + [(480, 360)] * 2 + [(640, 480)] * 2
LIMITS = {"focal_percent": 0.5, "centre_px": 1.5, "rms_px": 0.3}


def case(number: int) -> dict[str, Any]:
    """Return the arguments of one simulated recording; the focal length and centre differ in each."""
    width, height = SIZES[number]
    focal = width * (0.8 + 0.02 * (number % 10))
    centre = (width - 1) / 2 + number % 5 - 2, (height - 1) / 2 + number % 3 - 1
    model, distortion = LENSES[number // 3 % 3]
    return {
        "target": TARGETS[number % 3],
        "width": width,
        "height": height,
        "intrinsics": (focal, focal, *centre),
        "distortion_model": model,
        "distortion": distortion,
        "seed": number,
    }


def measure(number: int, method: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Return the row of one calibration, or why there is none."""
    options = case(number)
    path = folder / f"{number:02d}"
    intrinsics = options.pop("intrinsics")
    if not path.with_name(f"{number:02d}.truth.yaml").exists():
        shutil.rmtree(path, ignore_errors=True)
        simulate(output=path, seconds=seconds, intrinsics=",".join(map(str, intrinsics)), **options)
    row = {"recording": number, "method": Path(method).name, **options}
    output = folder / f"{number:02d}-{row['method']}"
    source: dict[str, Any] = {"source": "frames"} if method == "frames" else {"weights": method}
    chosen = {"target": options["target"], "model": options["distortion_model"], "device": "cpu", "output": output}
    try:
        if method.startswith("live:"):
            got = live(bag=path, weights=method.removeprefix("live:"), **chosen)
        else:
            text = io.StringIO()
            with redirect_stdout(text):
                calibrate(recording=path, as_json=True, **source, **chosen)
            got = json.loads(text.getvalue())
    except CistaError as error:
        return row | {"error": str(error)}
    fx, fy, cx, cy = intrinsics
    return row | {
        "focal_percent": 100 * max(abs(got["fx"] / fx - 1), abs(got["fy"] / fy - 1)),
        "centre_px": max(abs(got["cx"] - cx), abs(got["cy"] - cy)),
        "rms_px": got["rms"],
        "found_intrinsics": [got[name] for name in INTRINSICS],
        "views": got["views"],
        "found": got["found"],
        "searched": got["searched"],
    }


def live(output: Path, **arguments: Any) -> dict[str, Any]:
    """Play a recording to the node and the calibrator, all as processes; return the numbers of the calibration."""
    given = [f"{name}:={value}" for name, value in (arguments | {"output": output}).items()]
    launch = ["ros2", "launch", "cista_ros", "calibrate.launch.py", *given]
    with subprocess.Popen(launch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                if re.search(r"play-\d+\]: process has finished cleanly", line):
                    break
            else:
                raise CistaError("the launch ended before the recording")
            service = ["/cista/cista_calibrate/calibrate", "std_srvs/srv/Trigger"]
            answer = subprocess.run(["ros2", "service", "call", *service], capture_output=True, text=True, check=True)
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    solved = re.search(r"RMS ([\d.]+) px over (\d+) views .*? found in (\d+) of (\d+) images", answer.stdout)
    if not solved:
        raise CistaError(answer.stdout.strip())
    matrix = yaml.safe_load((output / "camera_info.yaml").read_text())["camera_matrix"]["data"]
    fx, _, cx, _, fy, cy = matrix[:6]
    rms, views, found, searched = solved.groups()
    numbers = {"rms": float(rms), "views": int(views), "found": int(found), "searched": int(searched)}
    return {"fx": fx, "fy": fy, "cx": cx, "cy": cy, **numbers}


def print_tables(rows: list[dict[str, Any]]) -> None:
    """Print a table with a row per method and one with a row per calibration."""
    print(
        "| method | recordings | calibrated | within all limits | median focal % | median centre px | median RMS px |"
    )
    print("|---|---|---|---|---|---|---|")
    for method in dict.fromkeys(row["method"] for row in rows):
        all_rows = [row for row in rows if row["method"] == method]
        solved = [row for row in all_rows if "error" not in row]
        within = sum(all(row[key] <= limit for key, limit in LIMITS.items()) for row in solved)
        medians = [f"{statistics.median(row[key] for row in solved):.3f}" if solved else "–" for key in LIMITS]
        print(f"| {' | '.join(map(str, (method, len(all_rows), len(solved), within, *medians)))} |")
    print("\n| recording | size | target | lens | method | focal % | centre px | RMS px | found |\n|" + "---|" * 9)
    for row in sorted(rows, key=lambda row: row["recording"]):
        size = f"{row['width']}x{row['height']}"
        first = (row["recording"], size, row["target"], row["distortion_model"], row["method"])
        if "error" in row:
            last: tuple[str, ...] = ("–", "–", "–", row["error"].split(";")[0])
        else:
            last = (*(f"{row[key]:.3f}" for key in LIMITS), f"{row['found']} of {row['searched']}")
        print(f"| {' | '.join(map(str, (*first, *last)))} |")


def print_live(rows: list[dict[str, Any]]) -> None:
    """Print how far the intrinsics of each live calibration are from those of the command."""
    found = {(row["recording"], row["method"]): row["found_intrinsics"] for row in rows if "error" not in row}
    print("\n| recording | weights | live against command: largest difference of an intrinsic % |\n|" + "---|" * 3)
    for (number, method), live_ones in found.items():
        weights = method.removeprefix("live:")
        if weights != method and (commands := found.get((number, weights))):
            worst = max(abs(a / b - 1) for a, b in zip(live_ones, commands, strict=True))
            print(f"| {number} | {weights} | {100 * worst:.1g} |")


def main() -> None:
    """Run what is not yet in the file of rows, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, metavar="ROWS.jsonl")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--seconds", type=float, default=5, help="duration of the recordings; a FOLDER for each")
    options = parser.parse_args()
    output, folder, seconds = options.rows, options.folder, options.seconds
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    done = {(row["recording"], row["method"]) for row in rows}
    for number in range(len(SIZES)):
        for method in options.methods:
            if (number, Path(method).name) not in done:
                rows.append(measure(number, method, folder, seconds))
                with output.open("a") as lines:
                    lines.write(json.dumps(rows[-1]) + "\n")
    print(f"machine: {processor_name()}, {platform.platform()}")
    ran = " ".join(dict.fromkeys(row["method"] for row in rows))
    print(f"command: python benchmarks/calibration/simulated.py {output.name} FOLDER {ran} --seconds {seconds:g}")
    print(f"recordings: {len(SIZES)} planned, {len({row['recording'] for row in rows})} used, {seconds:g} s each")
    print(f"limits: {', '.join(f'{key} {limit:g}' for key, limit in LIMITS.items())}\n")
    print_tables(rows)
    print_live(rows)


if __name__ == "__main__":
    main()
