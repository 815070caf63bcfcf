"""Training on a GPU: on the machine's if there is one, else on the stand-in."""

from __future__ import annotations

import pytest
import torch
from small import config, pictures

from cista_ros.training import trainer as module
from cista_ros.training.loop import Clock, train
from cista_ros.training.state import TrainingState, load_state
from cista_ros.training.trainer import STATE, Trainer, Workers

CUDA = torch.device("cuda")
pytestmark = pytest.mark.usefixtures("gpu", "one_thread")


def trainer(*settings, state=None, device=CUDA):
    return Trainer(state or TrainingState(config(*settings)), pictures(), Workers(0, 1, device))


def losses(run, count):
    return [float(run.iterate()["total"]) for _ in range(count)]


@pytest.mark.parametrize("settings", [[], ["amp=true"], ["optimiser.method=muon"]])
def test_a_resumed_training_continues_like_the_unbroken_one(settings, tmp_path):
    whole = trainer(*settings)
    unbroken = losses(whole, 3)
    broken = trainer(*settings)
    first = losses(broken, 2)
    broken.save(tmp_path)
    resumed = trainer(state=load_state(tmp_path / STATE))
    assert first + losses(resumed, 1) == unbroken
    assert whole.validate()[0]["mse"] == resumed.validate()[0]["mse"]


def test_the_loop_names_the_gpu_and_writes_files(tmp_path):
    run = trainer("iterations=2")
    train(run, tmp_path, print)
    assert run.state.machine == torch.cuda.get_device_name()
    assert (tmp_path / STATE).exists()
    clock = Clock(CUDA)
    clock("simulate")
    assert clock.seconds["simulate"] >= 0


def test_each_process_takes_the_gpu_of_its_rank(monkeypatch):
    backends = []
    monkeypatch.setattr(module.dist, "init_process_group", backends.append)  # NCCL needs a GPU for each process
    monkeypatch.setattr(module.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(module.dist, "get_world_size", lambda: 2)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    group = module.join_workers(CUDA)
    assert backends == ["nccl"] and group.device == torch.device("cuda", 0)


def test_a_teacher_runs_on_the_gpu():
    teacher = trainer("seed=5").network
    settings = TrainingState(config("loss.distillation=0.5"))
    taught = Trainer(settings, pictures(), Workers(0, 1, CUDA), teacher=teacher)
    assert losses(taught, 1) != losses(trainer(), 1)
