from __future__ import annotations

import json
import sys

import pytest
import torch
from typer.testing import CliRunner

from cista_ros.benchmark import doctor
from cista_ros.commands.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


@pytest.fixture
def without_ros(monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)  # as if it were not installed


def test_describes_the_machine_and_passes_its_tests(one_thread, without_ros):
    result = run("--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    machine = written["machine"]
    assert machine["torch"]["version"] == torch.__version__
    weights, runtime = machine["auto"]["choice"]
    assert weights.startswith("weights cista-tc") and runtime.startswith("runtime ")
    assert any(reason.startswith("runtime cuda-graph needs") for reason in machine["auto"]["unavailable"])
    assert "not installed" in machine["ROS 2"]["rclpy"] and machine["recordings"]["formats"]
    checks = {check["name"]: check["passed"] for check in written["checks"]}
    assert checks.pop("ROS 2") is None
    assert len(checks) == 4 and all(checks.values())


def test_a_failed_test_is_shown_and_gives_exit_code_1(one_thread, without_ros, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CISTA_CACHE", str(tmp_path / "file"))
    result = run("--device", "cpu")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if "FAILED" in line]
    assert "cache folder" in line and str(tmp_path / "file") in line
    said = " ".join(result.output.split())
    assert "choice weights cista-tc" in said and "runtime cuda-graph needs a CUDA GPU" in said


def test_exchanges_a_message_where_ros_is_installed():
    pytest.importorskip("rclpy", reason="needs ROS 2")
    (check,) = [check for check in doctor.self_test("cpu") if check.name == "ROS 2"]
    assert check.passed and "rmw_" in check.detail


def test_describes_a_gpu_and_tests_its_runtime(gpu, one_thread, without_ros, monkeypatch):
    monkeypatch.setattr(doctor, "SIZE", doctor.SMALL)
    result = run("--json")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert written["machine"]["torch"]["GPU 0"].endswith("GiB")
    assert written["machine"]["auto"]["device"] == "cuda"
    assert written["machine"]["auto"]["choice"][1].startswith("runtime cuda-graph fp32")
    (check,) = [check for check in written["checks"] if check["name"] == "exact runtime"]
    assert check["detail"].startswith("cuda-graph differs by")
