"""The training loop: iterate until done, out of time or interrupted; log, validate and save on the way."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..util.drawing import write_png
from .state import failed_writes_named
from .trainer import Trainer, learning_rate

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def train(
    trainer: Trainer,
    folder: Path,
    log: Callable[[str], None],
    minutes: float | None = None,
    board: SummaryWriter | None = None,
) -> str:
    """Iterate until the configured iterations are done, the minutes are over, or a signal asks to stop.

    Args:
        folder: receives state.pt, weights.safetensors, card.md and validation/*.png.
        log: prints a line.
        minutes: limit on the time of training and validation; the saved state can be resumed.
        board: receives losses, scores and pictures.

    Returns why it ended: `finished`, `interrupted` or `out of time`. TrainingError if the gradient is not finite, or a
    file cannot be written.
    """
    config, state, workers = trainer.config, trainer.state, trainer.workers
    state.machine = _machine(trainer.device)
    started = saved = marked = time.monotonic()
    clock = Clock(trainer.device)
    logged = state.iteration
    why = "finished"
    with stop_signals() as signals:
        while state.iteration < config.iterations:
            parts = trainer.iterate(clock)
            now = time.monotonic()
            state.seconds += now - marked
            marked = now
            done = state.iteration == config.iterations
            if workers.leads and (state.iteration % config.log_every == 0 or done):
                values = {name: float(value) for name, value in parts.items()}
                total = sum(clock.seconds.values())
                rate = (state.iteration - logged) * config.data.batch * workers.count / max(total, 1e-9)
                rate_now = learning_rate(config, state.iteration - 1)
                log(
                    f"iteration {state.iteration}/{config.iterations}  "
                    + "  ".join(f"{name} {value:.4f}" for name, value in values.items())
                    + f"  lr {rate_now:.2e}  {rate:.2f} sequences/s, {clock.seconds['simulate'] / total:.0%} simulation"
                )
                _plot(board, {f"loss/{k}": v for k, v in values.items()} | {"learning_rate": rate_now}, state.iteration)
                clock.restart()
                logged = state.iteration
            if workers.leads and (state.iteration % config.validation.every == 0 or done):
                scores, grid = trainer.validate()
                state.history.append(scores)
                log("validation  " + "  ".join(f"{name} {value:.4g}" for name, value in scores.items()))
                _plot(board, {f"validation/{k}": v for k, v in scores.items()}, state.iteration, grid)
                picture = folder / "validation" / f"{state.iteration:08d}.png"
                with failed_writes_named(picture):
                    write_png(picture, grid)
                marked = time.monotonic()
            out_of_time = minutes is not None and time.monotonic() - started >= 60 * minutes
            if not done and workers.any(bool(signals) or out_of_time):
                why = "out of time" if out_of_time and not signals else "interrupted"
                break
            if workers.leads and time.monotonic() - saved >= 60 * config.save_minutes:
                trainer.save(folder)
                saved = time.monotonic()
    if workers.leads:
        trainer.save(folder)
    return why


class Clock:
    """Seconds spent in each part of the iterations."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Set all times to zero."""
        self.seconds = {"simulate": 0.0, "train": 0.0}
        self._last = time.monotonic()

    def __call__(self, name: str) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.monotonic()
        self.seconds[name] += now - self._last
        self._last = now


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list instead of ending the process."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plot(
    board: SummaryWriter | None, values: dict[str, float], iteration: int, grid: np.ndarray | None = None
) -> None:
    if board is not None:
        for name, value in values.items():
            board.add_scalar(name, value, iteration)
        if grid is not None:
            board.add_image("validation/events, reconstruction, truth", grid, iteration, dataformats="HW")


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
