"""The programs in processes of their own: a signal ends them in order from the first moment on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from cista_ros.errors import DecodeError, MissingPackageError
from cista_ros.node import process, programs
from cista_ros.node.topics import deserialize, message_class, qos_overrides
from cista_ros.wire.ros_types import EVENT_TYPES

# A signal at the moment at which rclpy begins to be loaded.
SIGNALLED = """
import os, signal, sys
class AtRclpy:
    def find_spec(self, name, *_):
        if name == "rclpy":
            os.kill(os.getpid(), signal.{number})
sys.meta_path.insert(0, AtRclpy())
from cista_ros.node.programs import PROGRAMS
sys.argv[1:] = {arguments}
PROGRAMS["{program}"]()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("program, arguments", {"reconstruct": [], "play": ["no.bag"], "record": ["-o", "out"]}.items())
def test_a_signal_while_rclpy_is_loaded_ends_a_program_in_order(program, arguments, number, tmp_path):
    code = SIGNALLED.format(program=program, arguments=arguments, number=number)
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option, given, reason",
    [
        ("--rate", "fast", "fast is not a number of 0 or more"),
        ("--start", "-1", "-1 is not a number of 0 or more"),
        ("--end", "inf", "inf is not a number of 0 or more"),
        ("--wait-for-subscribers", "1.5", "1.5 is not an integer of 0 or more"),
    ],
)
def test_a_number_that_the_player_cannot_take_is_refused_with_what_was_expected(
    option, given, reason, capsys, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["play", "a.bag", f"{option}={given}"])
    with pytest.raises(SystemExit, match="2"):
        programs.play()
    assert capsys.readouterr().err.splitlines()[-1] == f"play: error: argument {option}: {reason}"


@pytest.mark.parametrize(
    "arguments, code, text", [(["my.bag"], 2, "unexpected argument my.bag"), (["--help"], 0, "bag:=")]
)
def test_the_node_refuses_arguments_with_the_command_that_is_meant_and_has_help(arguments, code, text):
    command = [sys.executable, "-m", "cista_ros.node.programs", "reconstruct", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code
    assert text in said and "ros2 launch cista_ros reconstruct.launch.py" in said


def test_a_program_ends_when_its_parent_is_killed():
    """Also when the parent has no time to end it."""
    code = (
        "import subprocess, sys, time, os\n"
        "os.environ['CISTA_PARENT_PID'] = str(os.getpid())\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time\\n"
        "from cista_ros.node.process import stop_on_signals\\nstop = stop_on_signals()\\nprint(1, flush=True)\\n"
        "while not stop.is_set(): time.sleep(0.01)'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{child}") and "\nState:\tZ" not in _status(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _status(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/status") as file:
            return file.read()
    except OSError:
        return "\nState:\tZ"


def test_an_unexpected_error_ends_the_calibrator(tmp_path):
    code = """
import sys
from rclpy.executors import SingleThreadedExecutor
from cista_ros.node.programs import calibrate
SingleThreadedExecutor.spin_once = lambda *_: 1 / 0
sys.argv = ["calibrate", "--ros-args", "-p", "target:=checkerboard:9x6:0.03"]
calibrate()
"""
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_domains_are_never_those_that_people_pick_and_never_the_same():
    domains = [process.free_domain() for _ in range(10)]
    assert len(set(domains)) == 10
    assert all(101 < domain < 232 for domain in domains)
    command = "from cista_ros.node.process import free_domain; print(*(free_domain() for _ in range(10)))"
    others = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout.split()
    assert not {str(domain) for domain in domains} & set(others)


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_missing_package_names_this_repository_only_if_it_is_there(kind, monkeypatch):
    package = kind.split("/")[0]
    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    with pytest.raises(MissingPackageError, match=f"{kind}: the package {package} is not installed") as caught:
        message_class(kind)
    assert (f"build it from msg/{package}" in str(caught.value)) == (ROOT / "msg" / package).is_dir()


def test_bytes_that_are_not_a_message_are_an_error_that_names_its_type():
    with pytest.raises(DecodeError, match="cannot deserialize CameraInfo: "):
        deserialize(CameraInfo, b"\0\1\0\0\1")


@pytest.mark.parametrize(("depth", "valid"), [(0, True), (2**31 - 1, True), (2**31, False), (99999999999, False)])
def test_a_depth_beyond_what_dds_can_have_is_refused(depth, valid):
    result = qos_overrides().callback(QoSProfile(depth=depth))
    assert result.successful == valid
    assert valid or str(depth) in result.reason
