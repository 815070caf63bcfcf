"""The training loop: iterate until all is done, time is up or a signal comes; now and then validate, log and save."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import cv2
import torch

from .schedule import learning_rate
from .state import TrainingError, TrainingState
from .trainer import Trainer


@dataclass
class Outcome:
    """Why a training ended: `finished`, `interrupted` or `out of time`; and its last state."""

    why: str
    state: TrainingState


def train(
    trainer: Trainer, folder: Path, log: Callable[[str], None], minutes: float | None = None, board: object = None
) -> Outcome:
    """Iterate until the configuration's iterations are done, the minutes are over, or a signal asks to stop.

    Args:
        folder: gets state.pt, weights.safetensors, card.md and validation/*.png.
        log: prints a line.
        minutes: of training and validation; what is saved can be resumed.
        board: a TensorBoard SummaryWriter.
    Raises:
        TrainingError: a gradient that is not finite, or a state that could not be written.
    """
    config, state, workers = trainer.config, trainer.state, trainer.workers
    state.machine = _machine(trainer.device)
    began = saved = marked = time.monotonic()
    clock = Clock(trainer.device)
    reported = state.iteration
    why = "finished"
    with stop_signals() as stop:
        while state.iteration < config.iterations:
            parts = trainer.iterate(clock)
            now = time.monotonic()
            state.seconds += now - marked
            marked = now
            done = state.iteration == config.iterations
            if workers.leads and (state.iteration % config.log_every == 0 or done):
                values = {name: float(value) for name, value in parts.items()}
                total = sum(clock.seconds.values())
                rate = (state.iteration - reported) * config.data.batch * workers.count / max(total, 1e-9)
                rate_now = learning_rate(config, state.iteration - 1)
                log(
                    f"iteration {state.iteration}/{config.iterations}  "
                    + "  ".join(f"{name} {value:.4f}" for name, value in values.items())
                    + f"  lr {rate_now:.2e}  {rate:.2f} sequences/s, {clock.seconds['simulate'] / total:.0%} simulation"
                )
                _tell(board, {f"loss/{k}": v for k, v in values.items()} | {"learning_rate": rate_now}, state.iteration)
                clock.restart()
                reported = state.iteration
            if workers.leads and (state.iteration % config.validation.every == 0 or done):
                scores, grid = trainer.validate()
                state.history.append(scores)
                log("validation  " + "  ".join(f"{name} {value:.4g}" for name, value in scores.items()))
                _tell(board, {f"validation/{k}": v for k, v in scores.items()}, state.iteration, grid)
                _write_grid(folder / "validation" / f"{state.iteration:08d}.png", grid)
                marked = time.monotonic()
            out_of_time = minutes is not None and time.monotonic() - began >= 60 * minutes
            if workers.any(bool(stop) or out_of_time):
                why = "out of time" if out_of_time and not stop else "interrupted"
                break
            if workers.leads and time.monotonic() - saved >= 60 * config.save_minutes:
                trainer.save(folder)
                saved = time.monotonic()
    if workers.leads:
        trainer.save(folder)
    return Outcome(why, state)


class Clock:
    """Seconds spent in each part of the iterations."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
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
    """While open, SIGINT and SIGTERM are noted in the list that is given, instead of ending the process."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(board: object, values: dict[str, float], iteration: int, grid: object = None) -> None:
    if board is not None:
        for name, value in values.items():
            board.add_scalar(name, value, iteration)
        if grid is not None:
            board.add_image("validation/events, reconstruction, truth", grid, iteration, dataformats="HW")


def _write_grid(path: Path, grid: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), grid):
        raise TrainingError(f"{path}: could not be written")


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
