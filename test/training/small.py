"""The smallest training there is: a few seconds for a handful of iterations."""

from __future__ import annotations

import numpy as np
import torch

from cista_ros.training.config import TrainingConfig
from cista_ros.training.config_files import override
from cista_ros.training.state import TrainingState
from cista_ros.training.trainer import Trainer, Workers

SETTINGS = [
    "network.channels=4",
    "network.iterations=2",
    "iterations=6",
    "data.size=32",
    "data.batch=2",
    "data.windows=4",
    "data.windows_at_start=3",
    "data.windows_grow=4",
    "simulation.motion.renders=3",
    "simulation.motion.events_per_pixel=[0.2, 1.0]",
    "simulation.camera.threshold=[0.1, 0.2]",
    "optimiser.warm_up=2",
    "forcing.start=0.5",
    "forcing.iterations=4",
    "validation.sequences=2",
    "validation.windows=4",
    "validation.size=32",
    "validation.every=3",
    "log_every=1",
    "save_minutes=0",
]


def config(*overrides: str) -> TrainingConfig:
    return override(TrainingConfig(), [*SETTINGS, *overrides])


def pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"{i}.png": rng.integers(0, 256, (12, 12)).astype(np.uint8).repeat(8, 0).repeat(8, 1) for i in range(6)}


def trainer(*overrides: str, state: TrainingState | None = None) -> Trainer:
    return Trainer(state or TrainingState(config(*overrides)), pictures(), Workers(0, 1, torch.device("cpu")))
