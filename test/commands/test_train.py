"""`cista train`, as it is typed (the loop itself: test/training)."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch

from cista_ros.networks import Cista, CistaConfig, load_network, save_network
from cista_ros.training.state import load_state
from cista_ros.training.trainer import STATE, WEIGHTS

QUICK = """
iterations: 2
network: {channels: 4, iterations: 1}
data: {size: 24, batch: 1, windows: 3, windows_at_start: 3}
simulation: {motion: {renders: 2}}
loss: {first_window: 0}
validation: {every: 2, sequences: 1, windows: 2, size: 24}
log_every: 1
"""


@pytest.fixture
def train(cista, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), np.full((40, 40), 60 * i, np.uint8))
    (tmp_path / "quick.yaml").write_text(QUICK)
    monkeypatch.chdir(tmp_path)

    return lambda *words: cista("train", *words, "--pictures", "pictures", "--device", "cpu")


def test_train_resume_and_begin_from_weights(train, tmp_path):
    done = train("quick.yaml", "-o", "out", "--minutes", "0", "--set", "iterations=3")
    assert done.code == 0 and "channels: 4" in done.said and "pictures: 2 to train on, 1 held out" in done.said
    assert f"continue with: cista train --resume out/{STATE} --pictures pictures -o out" in done.said
    done = train("--resume", f"out/{STATE}", "-o", "out", "--set", "loss.temporal=0.5")
    assert done.code == 0 and "finished after 3 iterations" in done.said
    state = load_state(tmp_path / "out" / STATE)
    assert state.changes == ["after iteration 1, loss.temporal: 0.0 -> 0.5"]
    assert "after iteration 1, loss.temporal" in (tmp_path / "out" / "card.md").read_text()
    assert (state.iteration, state.config.iterations) == (3, 3)

    done = train("quick.yaml", "-o", "next", "--from", f"out/{WEIGHTS}", "--set", "optimiser.learning_rate=1e-12")
    assert done.code == 0
    first, second = (load_network(tmp_path / name / WEIGHTS).state_dict() for name in ("out", "next"))
    assert all(torch.allclose(first[k], second[k], atol=1e-6) for k in first)
    assert "Initial weights:** the weights out/weights.safetensors." in (tmp_path / "next" / "card.md").read_text()


def test_train_leaves_no_folder_if_it_cannot_start(train, tmp_path):
    for picture in (tmp_path / "pictures").iterdir():
        picture.unlink()
    done = train("quick.yaml", "-o", "out")
    assert done.code == 2 and "pictures" in done.said and not (tmp_path / "out").exists()


def test_train_another_network_than_the_recipe_s(train, tmp_path):
    firenet = ["quick.yaml", "--model", "firenet", "--set", "network.channels=4", "--set", "forcing.start=0.5"]
    done = train(*firenet, "-o", "out")
    assert done.code == 0 and "settings without effect on firenet: forcing, optimiser.forget_bias" in done.said
    assert load_network(tmp_path / "out" / WEIGHTS).name == "firenet"
    done = train(*firenet, "-o", "next", "--from", f"out/{WEIGHTS}")
    assert done.code == 0, done.said
    done = train("--resume", f"out/{STATE}", "-o", "out", "--model", "e2vid")
    assert done.code == 2 and "another architecture: FirenetConfig" in done.said
    for more in (["--from", f"out/{WEIGHTS}"], ["--from", f"out/{WEIGHTS}", "--adapt"]):
        done = train("quick.yaml", "-o", "new", *more)
        assert done.code == 2 and ("another architecture" in done.said or "need CISTA networks" in done.said)


def test_train_goes_on_with_a_wider_network(train, tmp_path):
    save_network(Cista(CistaConfig(channels=4, iterations=1)), tmp_path / "narrow.safetensors")
    done = train("quick.yaml", "-o", "out", "--from", "narrow.safetensors", "--widen", "--set", "network.channels=8")
    assert done.code == 0, done.said
    assert load_network(tmp_path / "out" / WEIGHTS).config.channels == 8
    assert "narrow.safetensors, widened to twice" in (tmp_path / "out" / "card.md").read_text()


def test_train_learns_from_a_teacher_named_in_the_card(train, tmp_path):
    save_network(Cista(CistaConfig(channels=6)), tmp_path / "teacher.safetensors")
    done = train("quick.yaml", "-o", "out", "--teacher", "teacher.safetensors", "--set", "loss.distillation=0.5")
    assert done.code == 0 and "distillation" in done.said
    card = (tmp_path / "out" / "card.md").read_text()
    assert "**Teacher:** teacher.safetensors (SHA-256 " in card and "distillation: 0.5" in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["quick.yaml", "-o", "out", "--teacher", "wide.safetensors"],
            "--teacher and loss.distillation need each other",
        ),
        (
            ["quick.yaml", "-o", "out", "--set", "loss.distillation=0.5"],
            "--teacher and loss.distillation need each other",
        ),
        (["none.yaml", "-o", "out"], "none.yaml: No such file"),
        (["quick.yaml", "-o", "out", "--set", "data.sise=5"], "unknown key data.sise"),
        (["quick.yaml", "-o", "out", "--set", "network.channels=5"], "channels must be even"),
        (["--resume", "none.pt", "-o", "out"], "none.pt: file not found"),
        (["quick.yaml", "-o", "out", "--from", "wide.safetensors"], "weights of another architecture"),
        (["quick.yaml", "-o", "out", "--from", "wide.safetensors", "--adapt"], "do not fit a network of"),
    ],
)
def test_bad_input_ends_with_one_clear_line_and_code_2(train, tmp_path, arguments, message):
    save_network(Cista(CistaConfig(channels=8)), tmp_path / "wide.safetensors")
    done = train(*arguments)
    assert done.code == 2 and message in done.said


@pytest.mark.parametrize(("output", "reason"), [("quick.yaml", "not a folder"), ("/proc/out", "No such file")])
def test_an_output_that_cannot_be_written_is_told_in_one_line_before_training(train, output, reason):
    done = train("quick.yaml", "-o", output)
    assert done.code == 2 and done.said.startswith(f"cista: error: {output}: {reason}") and done.said.count("\n") == 1


def test_tensorboard_is_named_where_it_is_missing(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = train("quick.yaml", "-o", "out", "--tensorboard")
    assert done.code == 2 and "pip install tensorboard" in done.said


def test_tensorboard_gets_losses_and_grids(train, tmp_path):
    pytest.importorskip("tensorboard")
    assert train("quick.yaml", "-o", "out", "--tensorboard").code == 0
    (file,) = (tmp_path / "out" / "tensorboard").iterdir()
    assert file.stat().st_size > 1000


def test_a_state_is_not_written_over_and_not_resumed_as_another_network(train):
    assert train("quick.yaml", "-o", "out").code == 0
    done = train("quick.yaml", "-o", "out")
    assert done.code == 2 and f"continue with --resume out/{STATE}, or choose another -o" in done.said
    done = train("--resume", f"out/{STATE}", "-o", "out", "--set", "network.channels=6")
    assert done.code == 2 and "another architecture" in done.said
