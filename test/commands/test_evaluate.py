"""`cista evaluate`, `cista cost`, `cista weights get` and `cista ecd` as their users meet them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from recordings.makers import event_messages, frames, random_events, with_topics, write_any, write_bag
from typer.testing import CliRunner

from cista_ros.commands.main import app
from cista_ros.errors import CistaError
from cista_ros.networks import save_network
from cista_ros.networks.cista import VARIANTS, Cista, CistaConfig
from cista_ros.networks.firenet import Firenet, FirenetConfig

pytestmark = pytest.mark.usefixtures("one_thread")
RUN = [sys.executable, "-m", "cista_ros.commands.main"]


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Two networks and three recordings of 20 frames."""
    folder = tmp_path_factory.mktemp("material")
    torch.manual_seed(0)
    save_network(Firenet(FirenetConfig(channels=4)), folder / "fire.safetensors")
    save_network(Cista(CistaConfig(channels=4, iterations=1)), folder / "tc.safetensors")
    recordings = []
    for i in range(3):
        (folder / str(i)).mkdir()
        written = write_any(folder / str(i), "ros1", random_events(800, seed=i), frames(20))
        recordings.append(written.rename(folder / f"made{i}.bag"))
    return folder, [str(path) for path in recordings]


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def numbers(folder):
    """All that must not depend on how the work was cut: every file of scores without the times."""
    found = {}
    for path in sorted((folder / "scores").rglob("*.csv")):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        found[str(path.relative_to(folder))] = [row[:5] + row[6:] for row in rows]
    return found


def test_tables_scores_figures_and_a_report_are_written(material, tmp_path):
    folder, recordings = material
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    weights = f"Fire={folder}/fire.safetensors,{folder}/tc.safetensors"
    done = evaluate(
        *recordings[:2], "-o", tmp_path, "--weights", weights, "--sheets", 2, "--video", "--paper", "--task", "tracks"
    )
    assert done.exit_code == 0, done.output
    assert (
        "| KLT track, frames ↑, icassp2022 |" in done.stdout
        and "ORB inliers ↑" in (tmp_path / "report.html").read_text()
    )
    assert "| made0 | 20 |" in done.stdout or "| made0 | 19 |" in done.stdout
    assert done.stdout.startswith("Protocol icassp2022")
    assert "| Fire | FireNet, channels=4 | 39 |" in done.stdout or "| Fire | FireNet, channels=4 | 38 |" in done.stdout
    assert (tmp_path / "tables.md").read_text() == done.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert all(sequence["means"]["orb_inliers"] >= 0 for sequence in scores["sequences"])
    assert scores["failures"] == [] and len(scores["sequences"]) == 4
    assert scores["machine"]["processor"] and scores["command"].split()[0] == "cista"
    figures = ("figures/all_sequences.pdf", "figures/made1_errors.png", "videos/made0.mp4")
    for name in ("report.html", "tables.tex", *figures):
        assert (tmp_path / name).stat().st_size > 500, name


def test_table_2_is_one_command_with_the_papers_means_below_also_of_smaller_networks(material, tmp_path, monkeypatch):
    _, recordings = material
    torch.manual_seed(0)
    for name, variant in {"cista": "cista", "cista-d": "cista-d", "cista-tc-small": "cista-tc"}.items():
        config = replace(VARIANTS[variant], channels=4, iterations=1)
        save_network(Cista(config), tmp_path / f"{name}.safetensors")
    monkeypatch.setattr("cista_ros.networks.weights.WEIGHTS_FOLDER", tmp_path)
    words = ["--weights", "cista,cista-d,cista-tc-small", "--paper", "--no-figures"]
    done = evaluate(*recordings[:2], "-o", tmp_path / "out", *words, "--json")
    assert done.exit_code == 0, done.output
    ours = json.loads(done.stdout)["means"]
    assert [row["name"] for row in ours] == ["cista", "cista-d", "cista-tc-small"]
    assert [row["network"].split(",")[0] for row in ours] == ["CISTA", "CISTA-D", "CISTA-TC"]
    assert {row["network"].partition(", ")[2] for row in ours} == {"channels=4, iterations=1"}
    assert len({row["means"]["mse:equalised"] for row in ours}) == 3 and all(
        0 < row["means"]["mse:equalised"] < 1 for row in ours
    )
    printed = (tmp_path / "out" / "tables.md").read_text()
    assert "| paper, real: CISTA-D | CISTA-D |  | 0.049 | 13.93 | 0.510 | 0.306 | – |" in printed
    assert "| paper, simulated: CISTA-TC | CISTA-TC |  | 0.030 | 15.78 | 0.511 | 0.330 | – |" in printed
    assert "(paper)" not in printed, "its Table 1 has no such sequences"


def test_a_sequence_goes_by_the_name_of_the_link_to_it(material, tmp_path):
    folder, recordings = material
    (tmp_path / "slider_depth.bag").symlink_to(recordings[0])
    words = ["--weights", folder / "fire.safetensors", "--no-figures"]
    done = evaluate(tmp_path / "slider_depth.bag", "-o", tmp_path / "out", *words)
    assert done.exit_code == 0 and "of the protocol's 84 frames" in done.stdout


@pytest.mark.parametrize(("name", "method"), [("", "lr=3"), ("fire=", "fire")])
def test_weights_whose_path_holds_an_equals_sign_are_found_named_or_not(material, tmp_path, name, method):
    folder, recordings = material
    weights = tmp_path / "run=1" / "lr=3.safetensors"
    weights.parent.mkdir()
    weights.symlink_to(folder / "fire.safetensors")
    done = evaluate(recordings[0], "-o", tmp_path / "out", "--weights", f"{name}{weights}", "--no-figures")
    assert done.exit_code == 0 and f"| {method} | FireNet" in done.stdout


def test_broken_off_and_resumed_gives_the_same_as_unbroken(material, tmp_path):
    folder, recordings = material
    words = [*recordings, "--weights", f"{folder}/fire.safetensors,{folder}/tc.safetensors", "--no-figures"]
    words += ["--protocol", "evreal"]
    assert evaluate(*words, "-o", tmp_path / "whole").exit_code == 0
    broken = tmp_path / "broken"
    command = [*RUN, "evaluate", *words, "-o", str(broken)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(broken.glob("scores/*/*.json")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in broken.glob("scores/*/*.json")}
    assert 1 <= len(finished) < 6 and not (broken / "tables.md").exists()
    assert evaluate(*words, "-o", broken).exit_code == 0
    assert all(path.stat().st_mtime_ns == at for path, at in finished.items()), "finished work is not done again"
    assert (broken / "tables.md").read_text() == (tmp_path / "whole" / "tables.md").read_text()
    assert numbers(broken) == numbers(tmp_path / "whole")


def test_a_failed_sequence_ends_with_exit_code_1_and_the_others_are_done(material, tmp_path):
    folder, recordings = material
    (tmp_path / "damaged.bag").write_bytes(b"no bag")
    weights = f"{folder}/fire.safetensors"
    damaged = tmp_path / "damaged.bag"
    done = evaluate(damaged, recordings[0], "-o", tmp_path / "out", "--weights", weights, "--no-figures")
    assert done.exit_code == 1
    assert re.search(r"failed: damaged, fire: .*damaged.bag: cannot be read as a bag", done.stderr)
    assert "| made0 |" in done.stdout and "damaged, fire: failed" in done.stdout


def test_nothing_scored_is_exit_code_2_and_no_table(material, tmp_path):
    folder, _ = material
    (tmp_path / "damaged.bag").write_bytes(b"no bag")
    blind = write_bag(tmp_path / "blind.bag", with_topics(event_messages(random_events(300))))
    words = tmp_path / "damaged.bag", blind, "-o", tmp_path / "out", "--weights", f"{folder}/fire.safetensors"
    done = evaluate(*words)
    assert done.exit_code == 2 and not done.stdout and not (tmp_path / "out" / "tables.md").exists()
    assert "damaged.bag: cannot be read as a bag" in done.stderr and "blind: no camera frames" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing.bag"], "nothing.bag: no such file or folder"),
        (["{a}", "{a}"], "made0.bag: the recording is given twice"),
        (["{a}", "--weights", ","], "--weights ',': expected a name or a file"),
        (["{a}", "--weights", "x"], "weights 'x': neither a file nor the name of shipped weights"),
        (["{a}", "--weights", "e2vid"], r"weights 'e2vid': not downloaded yet \(run: cista weights get e2vid\)"),
        (["{a}", "--weights", "{w},{w}"], "two weights have the name fire"),
        (["{a}", "--weights", "a/b={w}"], "'a/b' cannot name a method"),
        (["{a}", "--weights", "{w},b={a}"], "made0.bag: not a weights file: neither .safetensors nor"),
        (["{a}", "--weights", "{w}", "--device", "tpu"], "device 'tpu' is not one of"),
        (
            ["{a}", "--weights", "{w}", "--mask", "{w}"],
            "fire.safetensors: line 1: expected `x y` in pixels, or an image",
        ),
        (["{a}", "--weights", "{w}", "--paper", "--protocol", "evreal"], "--paper: its numbers are of .* icassp2022"),
        (["{a}", "--columns", "zz"], "columns 'zz'; expected t, x, y and p"),
        (["{a}", "--time-unit", "h"], "time_unit 'h'; expected one of"),
        (["{a}", "--weights", "{w}", "--task", "corners"], "corners needs the target: --target"),
        (
            ["{a}", "--weights", "{w}", "--task", "tracks", "--target", "checkerboard:9x6:1"],
            "--target: only for --task",
        ),
        (["{a}", "--weights", "{w}", "--squeeze", "{a}", "{a}"], "not a SqueezeNet 1.1|needs the package h5py"),
    ],
)
def test_bad_input_is_told_before_anything_is_done(material, tmp_path, monkeypatch, words, text):
    folder, recordings = material
    monkeypatch.setenv("CISTA_CACHE", str(tmp_path))
    words = [w.format(a=recordings[0], w=folder / "fire.safetensors") for w in words]
    done = evaluate(*words, "-o", tmp_path / "out", "--no-figures")
    assert isinstance(done.exception, CistaError) and re.search(text, str(done.exception))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["{w}", "{w}/below", "/proc/out"])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_done(material, monkeypatch, output):
    folder, recordings = material
    weights = folder / "fire.safetensors"
    output = output.format(w=weights)
    monkeypatch.setattr("cista_ros.evaluation.run.run_job", lambda job: 1 / 0)
    done = evaluate(recordings[0], "-o", output, "--weights", weights, "--no-figures")
    assert isinstance(done.exception, OSError) and done.exception.filename == output and not done.output
    assert done.exception.strerror == ("No such file or directory" if output == "/proc/out" else "not a folder")


def test_the_real_command_ends_with_one_line_and_exit_code_2(tmp_path):
    command = [*RUN, "evaluate", "nothing.bag", "-o", str(tmp_path)]
    path = os.pathsep.join(map(str, sys.path))
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 2 and done.stderr.startswith("cista: error: ") and done.stderr.count("\n") == 1


def test_published_weights_and_the_dataset_are_listed():
    listed = CliRunner().invoke(app, ["weights", "get"]).stdout
    assert "authors-cista-lstc" in listed and "SPADE-E2VID by its own authors" in listed
    sequences = CliRunner().invoke(app, ["ecd", "list"]).stdout
    assert "https://rpg.ifi.uzh.ch/datasets/davis/slider_depth.bag" in sequences and "CC BY-NC-SA" in sequences
    assert isinstance(CliRunner().invoke(app, ["weights", "get", "x"]).exception, CistaError)
    assert isinstance(CliRunner().invoke(app, ["ecd", "get", "x"]).exception, CistaError)


def test_fetched_weights_go_by_their_name(material, tmp_path, monkeypatch):
    from cista_ros.networks import find_weights
    from cista_ros.networks.weights import cached_weights

    monkeypatch.setenv("CISTA_CACHE", str(tmp_path))
    cached_weights("firenet").parent.mkdir(parents=True)
    cached_weights("firenet").write_bytes(b"")
    assert find_weights("firenet") == cached_weights("firenet")


def test_cost_measures_in_processes_of_their_own():
    done = CliRunner().invoke(app, ["cost", "firenet", "--size", "32x24", "--steps", "1", "--json", "--device", "cpu"])
    measured = json.loads(done.stdout)
    (cost,) = measured["costs"]
    assert measured["machine"]["processor"] and measured["size"] == "32x24"
    assert cost["parameters"] == 37_777 and cost["gmac"] == pytest.approx(37_600 * 32 * 24 / 1e9, rel=1e-3)
    for size in ("32", "8x8", "axb"):
        assert "expected WIDTHxHEIGHT" in str(CliRunner().invoke(app, ["cost", "--size", size]).exception)


def test_a_full_disk_is_told_with_its_folder_and_what_was_finished_is_kept(material, tmp_path):
    """A real one, where this may be mounted."""
    folder, recordings = material
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        command = [
            *RUN,
            "evaluate",
            *recordings,
            "-o",
            str(disk / "out"),
            "--weights",
            str(folder / "fire.safetensors"),
        ]
        done = subprocess.run([*command, "--no-figures", "--video"], capture_output=True, text=True)
        kept = list(disk.glob("out/scores/*/*.json"))
        parts = list(disk.rglob("*.part"))
    finally:
        subprocess.run(["umount", disk], check=True)
    assert done.returncode == 2 and len(kept) == 1 and not parts
    last = done.stderr.splitlines()[-1]
    assert last == f"cista: error: {disk}/out: disk full; finished work is kept: free some space and repeat the command"
