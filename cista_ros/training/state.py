"""Training states on disk: one file with everything that exact resumption needs, written atomically."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CistaError
from ..networks.torch_files import plain_tensors, read_torch_file
from ..util.atomic import write_atomically
from .config import ConfigError, TrainingConfig
from .config_files import config_from

FORMAT = "cista_ros training/1"


class TrainingError(CistaError):
    """A training cannot continue, or a state cannot be read or written."""


@dataclass
class TrainingState:
    """The progress of a training. Random numbers follow from the seed and the iteration, so they need no state."""

    config: TrainingConfig
    iteration: int = 0  # completed iterations
    network: dict[str, Tensor] = field(default_factory=dict)  # weights
    average: dict[str, Tensor] = field(default_factory=dict)  # their moving average
    optimiser: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # training time
    sequences: int = 0  # trained on so far
    windows: int = 0
    machine: str = ""  # of the last run
    origin: str = "random weights"  # initial weights
    teacher: str = ""  # its weights, if any
    pictures: int = 0  # number of photos to train on
    changes: list[str] = field(default_factory=list)  # of the configuration during training
    history: list[dict[str, float]] = field(default_factory=list)  # scores of the validations


@contextmanager
def failed_writes_named(path: Path) -> Iterator[None]:
    """Raise TrainingError if the file cannot be written, and say whether the previous one is kept."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        kept = "the previous file is kept" if path.exists() else "there is no previous file"
        raise TrainingError(f"cannot write {path} ({error}); {kept}") from None


def save_state(state: TrainingState, path: Path) -> None:
    """Write a state atomically. TrainingError if the file could not be written; the old one is unchanged."""
    content = {
        "format": FORMAT,
        **{k: v for k, v in vars(state).items() if k != "config"},
        "config": asdict(state.config),
    }
    with failed_writes_named(path):
        write_atomically(path, lambda part: torch.save(content, part), sync=True)


def load_state(path: Path) -> TrainingState:
    """Read a state to the CPU: only numbers and text are unpickled. TrainingError for any other file."""
    if not path.is_file():
        raise TrainingError(f"{path}: file not found")
    try:
        content = read_torch_file(path)
    except ValueError as error:
        raise TrainingError(f"{path}: invalid training state ({error})") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise TrainingError(f"{path}: not a training state of this version ({FORMAT})")
    try:
        state = TrainingState(config_from(content.pop("config")), **content)
    except (ConfigError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: invalid training state: bad configuration ({error})") from None
    _check_values(path, state)
    return state


def _check_values(path: Path, state: TrainingState) -> None:
    fields = {
        "iteration sequences windows pictures": lambda value: type(value) is int and value >= 0,
        "seconds": lambda value: type(value) in (int, float) and math.isfinite(value),
        "machine origin teacher": lambda value: isinstance(value, str),
        "network average": plain_tensors,
        "optimiser": lambda value: isinstance(value, dict),
        "changes": lambda value: isinstance(value, list) and all(isinstance(line, str) for line in value),
        "history": lambda value: isinstance(value, list) and all(isinstance(scores, dict) for scores in value),
    }
    for names, fine in fields.items():
        for name in names.split():
            if not fine(getattr(state, name)):
                raise TrainingError(f"{path}: invalid training state: bad value for '{name}'")
