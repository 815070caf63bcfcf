"""Report what this machine offers to cista_ros, and test each part of it for a few seconds."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import CistaError
from ..networks import load_network
from ..networks.weights import choose_weights
from ..pipeline import reconstruct
from ..reconstructor import choose_device
from ..recordings import FORMATS, open_recording
from ..runtime import RUNTIMES, make_runtime
from ..runtime.choice import has_matrix_unit
from ..runtime.library import compiler_name
from ..util.atomic import prepare_folder
from ..util.cache import cache_folder
from ..wire.ros_types import EventMessage
from .machine import describe_machine

SAMPLE = Path(__file__).parent.parent / "samples" / "landscape.bag"
SIZE, SMALL = (180, 240), (48, 64)  # height, width
ROS_TIMEOUT_S = 30
ROS_VARIABLES = ("ROS_DISTRO", "RMW_IMPLEMENTATION", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")
# The name since Kilted, and before.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "CYCLONEDDS_URI")
MESSAGES = ("dvs_msgs", "event_camera_msgs", "sensor_msgs", "diagnostic_msgs")
# The only code here that imports ROS, in a process of its own.
ROS_TEST = ("-m", "cista_ros.node.programs", "self_test")


@dataclass(frozen=True)
class Check:
    """Result of one self-test: `passed` is None if it does not apply here."""

    name: str
    passed: bool | None
    detail: str
    seconds: float


def describe(device_name: str = "auto") -> dict[str, dict[str, Any]]:
    """Return what is installed and selected: section -> item -> value."""
    device = choose_device(device_name)
    machine = {name.replace("_", " "): value for name, value in describe_machine(device).items()}
    del machine["system"], machine["torch"]  # in more detail below
    machine["load average"] = " ".join(map(str, machine["load average"]))
    machine |= {"memory": _memory(), "bf16 matrix unit": has_matrix_unit(), "platform": platform.platform()}
    return {
        "cista_ros": {"version": __version__, "folder": str(Path(__file__).parents[1]), "executable": sys.executable},
        "machine": machine,
        "torch": _torch(),
        "compiler": {"C++": _compiler()},
        "ROS 2": _ros(),
        "recordings": {"formats": [format.name for format in FORMATS]},
        "optional packages": _extras(),
        "auto": _auto(device),
    }


def _memory() -> str:
    try:
        words = Path("/proc/meminfo").read_text().split()
    except OSError:
        return "unknown"
    total, free = (int(words[words.index(name) + 1]) / 2**20 for name in ("MemTotal:", "MemAvailable:"))
    return f"{free:.1f} of {total:.1f} GiB available"


def _torch() -> dict[str, Any]:
    found: dict[str, Any] = {"version": torch.__version__, "CUDA build": torch.version.cuda or "none"}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        found[f"GPU {i}"] = f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB"
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    found["GPU driver"] = driver.splitlines()[0] if driver else "none"
    if driver and not torch.cuda.is_available():
        found["note"] = "a GPU driver is installed, but torch finds no GPU: install torch's CUDA build for this driver"
    return found


def _compiler() -> str:
    name = compiler_name()
    path = shutil.which(name)
    if path is None:
        return f"no {name} (Debian, Ubuntu: apt install g++)"
    return f"{path}, {(_output(path, '--version').splitlines() or ['unknown version'])[0]}"


def _output(*command: str) -> str:
    """Return the output of a command, or "" if it does not exist or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _ros() -> dict[str, Any]:
    if find_spec("rclpy") is None:
        return {"rclpy": "not installed or not sourced; commands work without it, the node does not"}
    wheels = (re.fullmatch(r"ros-([a-z]+)-rclpy", d.metadata["Name"] or "") for d in metadata.distributions())
    wheel = next((f"{match[1]} (wheels)" for match in wheels if match), "unknown (ROS_DISTRO is not set)")
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [Path(prefix, "share/ament_index/resource_index/rmw_typesupport") for prefix in prefixes]
    names = sorted({file.name for folder in folders if folder.is_dir() for file in folder.iterdir()})
    profiles = {name: os.environ[name] for name in PROFILE_VARIABLES if os.environ.get(name)}
    return {
        "distribution": os.environ.get("ROS_DISTRO") or wheel,
        "rclpy": _version("rclpy") or "installed, version unknown",
        "middleware installed": [name for name in names if name != "rmw_implementation"] or "unknown",
        **{name: os.environ[name] for name in ROS_VARIABLES if os.environ.get(name)},
        **(profiles or {"profile": "none (large images: see docs/howto/view_images.md)"}),
        "messages": {name: find_spec(name) is not None for name in MESSAGES},
    }


def _version(package: str) -> str:
    """Return the version of an installed package, or ""."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _extras() -> dict[str, str]:
    """Return the packages of the extras in setup.py: name -> version, or how to install it."""
    found: dict[str, str] = {}
    for requirement in (metadata.requires("cista_ros") or []) if _version("cista_ros") else []:
        match = re.match(r"([\w.-]+).*extra == [\"']([\w-]+)[\"']", requirement)
        if match and match[2] != "test":
            found[match[1]] = _version(match[1]) or f"not installed ({match[2]}: pip install {match[1]})"
    return found


def _auto(device: torch.device) -> dict[str, Any]:
    """Return what `auto` selects for device, weights and runtime, and why; and why other runtimes are unavailable."""
    name, why = choose_weights("auto", device)
    network = load_network(name).to(device)
    _, note = make_runtime("auto", network, *SIZE, device, "auto")
    unavailable = []
    for runtime in RUNTIMES[1:]:
        try:
            make_runtime(runtime, network, *SMALL, device)
        except CistaError as error:
            unavailable.append(str(error))
    return {"device": str(device), "choice": [why, note], "unavailable": unavailable}


def self_test(device_name: str = "auto") -> list[Check]:
    """Test each part for a few seconds."""
    device = choose_device(device_name)
    parts: dict[str, Callable[[], str | None]] = {
        "recording": _test_recording,
        "reconstruction": lambda: _test_reconstruction(device),
        "exact runtime": lambda: _test_runtime(device),
        "cache folder": _test_cache,
        "ROS 2": _test_ros,
    }
    checks = []
    for name, test in parts.items():
        began = time.perf_counter()
        try:
            detail = test()
            passed = None if detail is None else True
        except Exception as error:  # whatever is wrong with this machine is the result
            passed, detail = False, f"{type(error).__name__}: {error}"
        checks.append(Check(name, passed, detail or "not installed", time.perf_counter() - began))
    return checks


def _test_recording() -> str:
    with open_recording(SAMPLE) as recording:
        messages = (item.message for item in recording.read(frames=False, camera_info=False))
        count = sum(len(message.events) for message in messages if isinstance(message, EventMessage))
        if not count:
            raise CistaError("the sample recording has no events")
        return f"read {count} events of {recording.width}x{recording.height} pixels from the sample recording"


def _test_reconstruction(device: torch.device) -> str:
    times = []
    for frame in islice(reconstruct(SAMPLE, device=device), 6):
        image = frame.image
        times.append(time.perf_counter())
    if not np.isfinite(image).all() or image.std() < 0.01:
        raise CistaError("the image of the sample recording is empty")
    return f"{1e3 * float(np.median(np.diff(times))):.1f} ms per image of {image.shape[1]}x{image.shape[0]} pixels"


@torch.inference_mode()
def _test_runtime(device: torch.device) -> str:
    name, _ = choose_weights("auto", device)
    network = load_network(name).to(device)
    fast, note = make_runtime("auto", network, *SMALL, device, "fp32")
    reference = make_runtime("eager", network, *SMALL, device)[0]
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for _ in range(5):
        grid = torch.randn(network.bins, *SMALL, generator=generator).to(device)
        worst = max(worst, (fast.step(grid) - reference.step(grid)).abs().max().item())
    if not worst < (1e-2 if device.type == "cuda" else 1e-4):  # TF32 on a GPU
        raise CistaError(f"{note}: images differ by {worst:.1e} from the reference")
    return f"{fast.name} differs by {worst:.0e} from the reference"


def _test_cache() -> str:
    folder = cache_folder()
    prepare_folder(folder)
    return f"{folder} is writable"


def _test_ros() -> str | None:
    """Exchange a message in a process of its own, on this machine only."""
    if find_spec("rclpy") is None:
        return None
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOCALHOST_ONLY": "1"}
    done = subprocess.run(
        [sys.executable, *ROS_TEST], capture_output=True, text=True, timeout=ROS_TIMEOUT_S, env=environment
    )
    if not done.stdout.startswith("received"):
        reason = (done.stderr.strip().splitlines() or ["no message arrived"])[-1]
        raise CistaError(f"cannot exchange a message: {reason}")
    return f"exchanged a message with {done.stdout.split()[1]}"
