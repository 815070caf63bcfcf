"""Quantities that change as a training goes on; all are functions of the iteration alone, so a resumed run agrees."""

from __future__ import annotations

import math

from .config import TrainingConfig


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """The learning rate of an iteration (0-based)."""
    optimiser = config.optimiser
    progress = iteration / config.iterations
    if optimiser.schedule == "paper":
        factor = 0.9 ** math.floor(2 * progress)  # 20 epochs, 10 % less every 10
    elif optimiser.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    elif optimiser.schedule == "trapezoid":
        factor = min(1.0, (1 - progress) / optimiser.decay)
    else:
        factor = 1.0
    warm = min(1.0, (iteration + 1) / optimiser.warm_up) if optimiser.warm_up else 1.0
    return optimiser.learning_rate * factor * warm


def sequence_length(config: TrainingConfig, iteration: int) -> int:
    """Windows of the sequences of an iteration."""
    data = config.data
    share = min(1.0, iteration / data.windows_grow) if data.windows_grow else 1.0
    return round(data.windows_at_start + share * (data.windows - data.windows_at_start))


def teacher_probability(config: TrainingConfig, iteration: int) -> float:
    """Probability that a window's last image is the true one."""
    teacher = config.teacher
    share = min(1.0, iteration / teacher.iterations)
    return teacher.start + share * (teacher.end - teacher.start)


def ema_decay(config: TrainingConfig, iteration: int) -> float:
    """Decay of the moving average of the weights; smaller at first, so that the random start is soon forgotten."""
    return min(config.optimiser.ema, (1 + iteration) / (10 + iteration))
