"""Saved states: whole or not there at all."""

from __future__ import annotations

import pickle
import resource

import pytest
import torch
from small import config

from cista_ros.training import state as states
from cista_ros.training.config import TrainingConfig
from cista_ros.training.state import TrainingError, TrainingState, load_state, save_state


def test_a_state_reads_back(tmp_path):
    state = TrainingState(config(), iteration=7, network={"a": torch.arange(3)}, history=[{"mse": 0.5}], origin="x")
    save_state(state, tmp_path / "new" / "state.pt")
    read = load_state(tmp_path / "new" / "state.pt")
    assert torch.equal(read.network.pop("a"), state.network.pop("a"))
    assert read == state
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["state.pt"]


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    save_state(TrainingState(config(), iteration=1), path)

    def half_written(content, aside):
        aside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(states.torch, "save", half_written)
    with pytest.raises(TrainingError, match=r"cannot write .*state.pt .*No space left.*previous file is kept"):
        save_state(TrainingState(config(), iteration=2), path)
    assert load_state(path).iteration == 1
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_a_write_that_fails_half_way_leaves_the_last_state(tmp_path):
    path = tmp_path / "state.pt"
    save_state(TrainingState(config(), iteration=1), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="cannot write"):
            save_state(TrainingState(config(), iteration=2, network={"w": torch.zeros(10**6)}), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_state(path).iteration == 1
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "file not found"),
        (lambda p: p.write_bytes(b"garbage"), "invalid training state"),
        (lambda p: p.write_bytes(pickle.dumps(Evil(), protocol=2)), "invalid training state"),
        (lambda p: torch.save({"state_dict": {}}, p), "not a training state of this version"),
        (lambda p: torch.save({"format": states.FORMAT, "config": {"speed": 1}}, p), "bad configuration .*speed"),
    ],
)
def test_other_files_are_refused(tmp_path, capsys, write, message):
    path = tmp_path / "state.pt"
    write(path)
    with pytest.raises(TrainingError, match=message):
        load_state(path)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"),
    [("iteration", "5"), ("iteration", -1), ("seconds", float("nan")), ("network", {"a": 1}), ("optimiser", []),
     ("average", {"a": torch.ones(1).expand(10**6, 10**6)}), ("history", [5]), ("changes", "text"), ("machine", None)],
)  # fmt: skip
def test_a_state_whose_values_are_of_another_kind(tmp_path, name, value):
    state = TrainingState(TrainingConfig(), **{name: value})
    save_state(state, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=f"bad value for '{name}'"):
        load_state(tmp_path / "state.pt")
