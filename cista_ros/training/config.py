"""The configuration of a training: nested dataclasses and the limits of their values (files: config_files.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from ..errors import CistaError
from ..networks import MODELS, CistaConfig, NetworkConfig
from ..simulation.sequences import RangeError, SimulationConfig, check_ranges


class ConfigError(CistaError):
    """A configuration has an unknown key or an invalid value."""


@dataclass(frozen=True)
class DataConfig:
    """A batch.

    Attributes:
        size: side of the square images in pixels.
        batch: sequences in a batch, on each device.
        windows: windows of a sequence (L in the paper).
        windows_at_start, windows_grow: curriculum; sequences grow from windows_at_start to windows during the first
            windows_grow iterations.
        held_out: share of the pictures that only validation uses.
        normalise: whether the network is given normalised voxel grids (E2VID, FireNet, CISTA) or event counts (most
            networks since 2020); one of the conventions that the weights keep.
    """

    size: int = 128
    batch: int = 8
    windows: int = 15
    windows_at_start: int = 15
    windows_grow: int = 0
    held_out: float = 0.03
    normalise: bool = True


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts of the loss (paper, equation 5), and the images it is taken on.

    Attributes:
        images: `last` is the paper's many-to-one scheme; `all` takes the images of all windows from `first_window` on.
        l1, ssim: weights of the mean absolute difference and of 1 - SSIM.
        perceptual: weight of the perceptual distance; zero needs no backbone.
        perceptual_every: take the perceptual distance on every n-th of the images.
        equalised: weight of the mean absolute difference after histogram equalisation of both images, as in the
            paper's evaluation. Unlike l1 it is sensitive to small errors in the order of greys.
        temporal: weight of the mean absolute difference between the change from image to image and the true change.
        temporal_last: share of the sequence, counted from its end, on which the temporal term is taken. V2V (Lou et
            al., 2025) takes the second half, which stops flicker without leaving trails.
        sparsity: weight of the mean absolute value of the sparse codes (lambda_1 of equation 1).
        hold: while the scene rests, compare the images with the network's last image before the rest instead of the
            true one (except in `temporal`): the events carry no information, so the image should not change.
        distillation: share of the loss taken against the images of another network, the teacher, instead of the true
            ones (`cista train --teacher WEIGHTS`).
    """

    images: Literal["last", "all"] = "all"
    first_window: int = 2
    l1: float = 1.0
    ssim: float = 1.0
    perceptual: float = 0.0
    perceptual_every: int = 1
    equalised: float = 0.0
    temporal: float = 0.0
    temporal_last: float = 1.0
    sparsity: float = 0.0
    hold: bool = False
    distillation: float = 0.0


@dataclass(frozen=True)
class ForcingConfig:
    """Teacher forcing: the probability that a window's last image is the true one. It changes linearly to `end`.

    It applies to networks that take their last image as an input (CISTA, CISTA-LSTC, SPADE-E2VID).
    """

    start: float = 0.0
    end: float = 0.0
    iterations: int = 1


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its learning rate.

    Attributes:
        method: `adam` or `muon` (see muon.py); the learning rates of both have the same scale.
        schedule: `paper` multiplies by 0.9 every tenth of a half (10 of 20 epochs); `cosine` falls to zero; `trapezoid`
            is constant and falls to zero over the last `decay` of the iterations; `constant`.
        warm_up: iterations during which the learning rate rises from zero.
        clip: largest norm of the gradient.
        ema: decay of the exponential moving average of the weights, which is validated and saved.
        tbptt: windows between steps, after which the graph is cut; 0 for whole sequences.
        forget_bias: initial bias of the ConvLSTM's forget gate; above zero it remembers for longer.
        theta: `nonnegative` keeps the thresholds >= 0 after every step, so that codes are sparse.
    """

    method: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["paper", "cosine", "trapezoid", "constant"] = "cosine"
    warm_up: int = 100
    decay: float = 0.3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    tbptt: int = 0
    forget_bias: float = 1.0
    theta: Literal["free", "nonnegative"] = "free"


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out sequences: number, windows, size in pixels, and iterations between two validations."""

    every: int = 500
    sequences: int = 8
    windows: int = 20
    size: int = 128


_MINIMA = {
    **dict.fromkeys(("optimiser.tbptt", "optimiser.warm_up"), 0),
    **dict.fromkeys(("iterations", "log_every", "data.batch", "data.windows", "loss.perceptual_every"), 1),
    **dict.fromkeys(("validation.every", "validation.sequences", "validation.windows"), 1),
    **dict.fromkeys(("data.size", "validation.size"), 16),
}


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about a training except where its files are.

    Attributes:
        name: name of the resulting weights.
        model: the network, a key of MODELS; `network` is its architecture.
        pictures_note: source of the pictures, for the model card.
        iterations: number of batches of sequences.
        amp: automatic mixed precision in bfloat16.
        channels_last: memory layout of the convolutions.
        compile: torch.compile the network; on a CPU only its element-wise parts (start.py).
        save_minutes: minutes between two saved states.
        log_every: iterations between two log lines.
    """

    name: str = "cista-tc"
    model: str = "cista-tc"
    pictures_note: str = ""
    seed: int = 1
    iterations: int = 80_000
    network: NetworkConfig = field(default_factory=CistaConfig)
    data: DataConfig = field(default_factory=DataConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    forcing: ForcingConfig = field(default_factory=ForcingConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    amp: bool = False
    channels_last: bool = True
    compile: bool = False
    save_minutes: float = 5.0
    log_every: int = 50

    def __post_init__(self) -> None:
        for key, minimum in _MINIMA.items():
            if attrgetter(key)(self) < minimum:
                raise ConfigError(f"{key} must be at least {minimum}")
        data, loss, optimiser, forcing = self.data, self.loss, self.optimiser, self.forcing
        weights = loss.l1, loss.ssim, loss.perceptual, loss.equalised, loss.temporal, loss.sparsity
        for message, fine in (
            ("network must be the configuration of model", type(self.network) is type(MODELS.get(self.model))),
            ("data.windows_at_start must be from 1 to data.windows", 1 <= data.windows_at_start <= data.windows),
            ("data.held_out must be between 0 and 1", 0 < data.held_out < 1),
            ("loss.first_window must be below data.windows_at_start", loss.first_window < data.windows_at_start),
            ("loss.distillation must be from 0 to 1", 0 <= loss.distillation <= 1),
            ("loss.temporal_last must be from 0 to 1", 0 <= loss.temporal_last <= 1),
            ("the weights of the loss must not be negative", min(weights) >= 0),
            ("one of loss.l1, loss.ssim, loss.perceptual must be above 0", max(weights[:3]) > 0),
            ("optimiser.learning_rate must be above 0", optimiser.learning_rate > 0),
            ("optimiser.weight_decay needs method adam", optimiser.method == "adam" or not optimiser.weight_decay),
            ("optimiser.clip must be above 0", optimiser.clip > 0),
            ("optimiser.ema must be at least 0 and below 1", 0 <= optimiser.ema < 1),
            ("optimiser.decay must be above 0 and at most 1", 0 < optimiser.decay <= 1),
            ("forcing.start and forcing.end must be from 0 to 1", 0 <= forcing.end <= 1 >= forcing.start >= 0),
        ):
            if not fine:
                raise ConfigError(message)
        try:
            check_ranges(self.simulation)
        except RangeError as error:
            raise ConfigError(f"simulation.{error}") from None
