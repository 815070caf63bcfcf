"""The state of a training on disk: all that an exact resumption needs, in one small file that is never half-written."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CistaError
from ..networks.torch_files import plain_tensors, read_torch_file
from .config import ConfigError, TrainingConfig
from .config_files import config_from

FORMAT = "cista_ros training/1"


class TrainingError(CistaError):
    """A training that cannot go on, or a state that cannot be read or written."""


@dataclass
class TrainingState:
    """What a training has come to.

    iteration: batches of sequences done. network, average: weights, and their moving average. optimiser: Adam's state.
    seconds: time spent training. sequences, windows: seen so far. history: scores of the validations. origin: the
    weights that it began with. tutor: the weights that it learns from, if any. pictures: how many it trains on.
    machine: where it last ran. changes: of the configuration, on the way.
    Random numbers need no state of their own: those of an iteration follow from the seed and its number.
    """

    config: TrainingConfig
    iteration: int = 0
    network: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    sequences: int = 0
    windows: int = 0
    machine: str = ""
    origin: str = "random weights"
    tutor: str = ""
    pictures: int = 0
    changes: list[str] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def write_aside(path: Path, write: Any) -> None:
    """Let `write(path)` write a new file, and only when it is whole put it in the old one's place.

    Raises:
        TrainingError: it could not be written; the old file is as it was.
    """
    aside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        kept = "the state saved before it is kept" if path.exists() else "nothing was saved before"
        raise TrainingError(f"{path}: could not be written ({error}); {kept}") from None


def save_state(state: TrainingState, path: Path) -> None:
    """Write a state; see `write_aside`."""
    content = {
        "format": FORMAT,
        **{k: v for k, v in vars(state).items() if k != "config"},
        "config": asdict(state.config),
    }
    write_aside(path, lambda aside: torch.save(content, aside))


def load_state(path: Path) -> TrainingState:
    """Read a state, onto the CPU; nothing in it is unpickled but numbers and text.

    Raises:
        TrainingError: no such file, or not a state of ours.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: no such training state")
    try:
        content = read_torch_file(path)
    except ValueError as error:
        raise TrainingError(f"{path}: not a training state ({error})") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise TrainingError(f"{path}: not a training state of this program ({FORMAT})")
    try:
        state = TrainingState(config_from(content.pop("config")), **content)
    except (ConfigError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: its configuration is not one of this version ({error})") from None
    _check_values(path, state)
    return state


def _check_values(path: Path, state: TrainingState) -> None:
    fields = {
        "iteration sequences windows pictures": lambda value: type(value) is int and value >= 0,
        "seconds": lambda value: type(value) in (int, float) and math.isfinite(value),
        "machine origin tutor": lambda value: isinstance(value, str),
        "network average": plain_tensors,
        "optimiser": lambda value: isinstance(value, dict),
        "changes": lambda value: isinstance(value, list) and all(isinstance(line, str) for line in value),
        "history": lambda value: isinstance(value, list) and all(isinstance(scores, dict) for scores in value),
    }
    for names, fine in fields.items():
        for name in names.split():
            if not fine(getattr(state, name)):
                raise TrainingError(f"{path}: not a training state: its {name} is none")
