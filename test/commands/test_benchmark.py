from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
import torch
from helpers import files_of_at_most
from typer.testing import CliRunner

from cista_ros.benchmark import BenchmarkError
from cista_ros.benchmark.cost import count_mac
from cista_ros.commands.main import app
from cista_ros.errors import CistaError
from cista_ros.networks import make_network, save_network


def run(*arguments):
    return CliRunner().invoke(app, ["benchmark", "--device", "cpu", *map(str, arguments)])


def test_measures_every_size_and_runtime_against_the_reference(small_network, tmp_path):
    weights, out, picture = tmp_path / "small.safetensors", tmp_path / "out.json", tmp_path / "plot.png"
    save_network(small_network, weights)
    command = [
        "--network",
        weights,
        "--size",
        "32x24",
        "--size",
        "20x17",
        "--seconds",
        "0.01",
        "--events",
        500,
        "--events",
        900,
    ]
    result = run(*command, "--runtime", "fused", "--runtime", "winograd", "--json", out, "--plot", picture)
    assert result.exit_code == 0, result.output
    written = json.loads(out.read_text())
    rows = written["rows"]
    assert [(r["runtime"], r["width"], r["height"]) for r in rows] == [
        (runtime, *size) for size in ((32, 24), (20, 17)) for runtime in ("reference", "fused", "winograd")
    ]
    for reference, *others in (rows[:3], rows[3:]):
        assert reference["ratio"] == 1 and reference["difference"] == 0
        for row in others:
            assert row["ratio"] == pytest.approx(reference["ms_median"] / row["ms_median"])
            assert 0 < row["difference_mean"] <= row["difference"] < 1e-5
            assert row["ms_min"] <= row["ms_p90"] and row["steps"] >= 5
    gflop = rows[0]["gflops"] * rows[0]["ms_median"] / 1e3
    assert gflop == pytest.approx(2 * count_mac(small_network, 24, 32) / 1e9)
    assert {s["stage"] for s in written["stages"]} == {
        "noise filter",
        "decode", "window", "voxel grid", "decode and voxel grid", "normalise", "tone map", "message",
    }  # fmt: skip
    assert written["machine"]["torch"] == torch.__version__
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "| small | 32x24 | winograd | fp32 |" in result.output


def test_operations_of_cista_tc_at_the_papers_size():
    network = make_network("cista-tc").eval()
    assert count_mac(network, 180, 240) / 1e9 == pytest.approx(14.9, rel=0.005)
    assert count_mac(network, 90, 120) / 1e9 == pytest.approx(14.9 / 4, rel=0.005)


def test_unavailable_runtimes_are_reported_and_the_others_measured(small_network, tmp_path):
    weights = tmp_path / "small.safetensors"
    save_network(small_network, weights)
    runtimes = "--runtime", "cuda-graph:bf16", "--runtime", "fused"
    result = run("--network", weights, "--size", "20x17", "--seconds", 0, *runtimes)
    assert "| small | 20x17 | fused | fp32 |" in result.output
    assert isinstance(result.exception, BenchmarkError) and "--runtime: not measured" in str(result.exception)
    assert "not measured: cuda-graph bf16: runtime cuda-graph needs a CUDA GPU" in result.output


def test_files_of_the_same_name_have_different_titles(small_network, tmp_path):
    files = [tmp_path / name / "small.safetensors" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        save_network(small_network, file)
    words = [word for file in files for word in ("--network", file)]
    run(*words, "--size", "20x17", "--seconds", 0, "--runtime", "fused", "--json", tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert [row["network"] for row in written["rows"]] == [str(file) for file in files for _ in range(2)]
    assert list(written["peak_memory_so_far_mib"]) == [f"{file} 20x17" for file in files]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "240"], "WIDTHxHEIGHT"),
        (["--size", "8x8"], "at least 16"),
        (["--size", "240x180", "--size", "16x16", "--network", "pie-net"], "pie-net takes at least 20x20 pixels"),
        (["--runtime", "warp"], "NAME"),
        (["--network", "firenet", "--network", "nowhere"], "weights 'nowhere': neither a file nor"),
        (["--plot", "."], "--plot .: is a folder"),
        (["--plot", "plot.txt"], "--plot plot.txt: expected a name that ends in .png"),
        (["--json", "."], "--json .: is a folder"),
    ],
)
def test_bad_input_is_reported_before_measuring(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("--seconds", 0, *arguments)
    assert isinstance(result.exception, CistaError) and message in str(result.exception)
    assert not result.output


def test_a_missing_matplotlib_is_reported_before_measuring(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # what the import system itself does for "not there"
    result = run("--plot", tmp_path / "plot.png")
    assert isinstance(result.exception, CistaError) and "figures need matplotlib" in str(result.exception)
    assert not result.output


def test_a_failing_plot_does_not_lose_the_numbers(small_network, tmp_path):
    save_network(small_network, tmp_path / "small.safetensors")
    plot, out = tmp_path / "plot.png", tmp_path / "new" / "out.json"
    command = ["--network", tmp_path / "small.safetensors", "--size", "20x17", "--seconds", 0, "--runtime", "fused"]
    with files_of_at_most(8192):
        result = run(*command, "--plot", plot, "--json", out)
    assert isinstance(result.exception, OSError) and result.exception.filename == str(plot)
    assert not list(tmp_path.glob("*plot*")) and len(json.loads(out.read_text())["rows"]) == 2


def test_too_large_for_the_memory_is_one_line(small_network, tmp_path):
    save_network(small_network, tmp_path / "small.safetensors")
    limit = 6 << 30  # of address space; torch alone takes two to three GB
    command = ["benchmark", "--device", "cpu", "--size", "20000x20000", "--runtime", "fused", "--seconds", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "cista_ros.commands.main", *command, "--network", str(tmp_path / "small.safetensors")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("cista: error: out of memory (")
    assert "Traceback" not in done.stderr and "--downscale" in done.stderr
