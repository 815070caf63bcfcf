from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cista_ros.util.threads import wait_without_spinning


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_unless_the_user_says_otherwise(monkeypatch, set_by_user, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_by_user)
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == expected


@pytest.mark.parametrize("program", ["cista_ros.commands.main", "cista_ros.node.programs"])
def test_no_program_imports_torch_before_it_could_say_so(program):
    if program.startswith("cista_ros.node"):
        pytest.importorskip("rclpy")
    check = f"import sys, {program}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
