"""The programs in processes of their own: a signal ends them in order from the first moment on."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not any(tmp_path.iterdir())
