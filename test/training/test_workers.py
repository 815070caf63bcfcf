"""Several processes under torchrun: they train as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import torch
from small import SETTINGS, pictures, trainer

from cista_ros.training.state import load_state
from cista_ros.training.trainer import STATE, Workers, learning_rate

ROOT = Path(__file__).parents[2]


def test_two_processes_on_gloo_train_together_and_resume(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, picture in pictures().items():
        cv2.imwrite(str(folder / name), picture)

    def run(*arguments: str) -> str:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "cista_ros.commands.main", "train", "--pictures", str(folder), "--device", "cpu", *arguments),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    sets = [text for setting in SETTINGS for text in ("--set", setting)]
    first = run("-o", str(tmp_path / "out"), "--minutes", "0", *sets)
    assert first.count("iteration 1/6 ") == 1 and "processes: 2" in first and "--resume" in first
    state = load_state(tmp_path / "out" / STATE)
    assert (state.iteration, state.sequences) == (1, 2 * 2)  # two sequences in each of two processes
    expected = one_step_on_both_batches()
    assert all(torch.allclose(v, expected[k], atol=1e-6) for k, v in state.network.items())

    run("-o", str(tmp_path / "out"), "--resume", str(tmp_path / "out" / STATE), "--set", "iterations=3")
    assert load_state(tmp_path / "out" / STATE).iteration == 3


def one_step_on_both_batches() -> dict[str, torch.Tensor]:
    """The weights after one step along the mean of the gradients of what the two processes see."""
    gradients = []
    for rank in range(2):
        run = trainer()
        run.workers = Workers(rank, 2, run.device)
        run._step = lambda loss, run=run: gradients.append(
            torch.autograd.grad(loss, list(run.network.parameters()), allow_unused=True)
        )
        run.iterate()
    stepped = trainer()
    stepped.optimiser.param_groups[0]["lr"] = learning_rate(stepped.config, 0)
    for weight, *both in zip(stepped.network.parameters(), *gradients, strict=True):
        weight.grad = sum(both) / 2
    torch.nn.utils.clip_grad_norm_(stepped.network.parameters(), stepped.config.optimiser.clip)
    stepped.optimiser.step()
    return stepped.network.state_dict()
