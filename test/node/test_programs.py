"""The programs in processes of their own: a signal ends them in order from the first moment on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cista_ros.node import play

# A signal at the moment at which rclpy begins to be loaded.
SIGNALLED = """
import os, signal, sys
class AtRclpy:
    def find_spec(self, name, *_):
        if name == "rclpy":
            os.kill(os.getpid(), signal.{number})
sys.meta_path.insert(0, AtRclpy())
from cista_ros.node.{program} import main
main({arguments})
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("program, arguments", {"reconstruct": [], "play": ["no.bag"], "record": ["-o", "out"]}.items())
def test_a_signal_while_rclpy_is_loaded_ends_a_program_in_order(program, arguments, number, tmp_path):
    code = SIGNALLED.format(program=program, arguments=arguments, number=number)
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option, given, reason",
    [
        ("--rate", "fast", "fast is not a number of 0 or more"),
        ("--start", "-1", "-1 is not a number of 0 or more"),
        ("--end", "inf", "inf is not a number of 0 or more"),
        ("--wait-for-subscribers", "1.5", "1.5 is not a whole number of 0 or more"),
    ],
)
def test_a_number_that_the_player_cannot_take_is_refused_with_what_was_expected(option, given, reason, capsys):
    with pytest.raises(SystemExit, match="2"):
        play.main(["a.bag", f"{option}={given}"])
    assert capsys.readouterr().err.splitlines()[-1] == f"play: error: argument {option}: {reason}"
