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
    """A batch."""

    size: int = 128  # side of the square images in pixels
    batch: int = 8  # sequences in a batch, on each device
    windows: int = 15  # windows of a sequence (L in the paper)
    # Curriculum: sequences grow from windows_at_start to windows during the first windows_grow iterations.
    windows_at_start: int = 15
    windows_grow: int = 0
    held_out: float = 0.03  # share of the pictures that only validation uses
    # Whether the network is given normalised voxel grids (E2VID, FireNet, CISTA) or event counts (most networks since
    # 2020); one of the conventions that the weights keep.
    normalise: bool = True


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts of the loss (paper, equation 5), and the images it is taken on."""

    # `last` is the paper's many-to-one scheme; `all` takes the images of all windows from `first_window` on.
    images: Literal["last", "all"] = "all"
    first_window: int = 2
    l1: float = 1.0  # weight of the mean absolute difference
    ssim: float = 1.0  # weight of 1 - SSIM
    perceptual: float = 0.0  # weight of the perceptual distance; zero needs no backbone
    perceptual_every: int = 1  # take the perceptual distance on every n-th of the images
    # Weight of the mean absolute difference after histogram equalisation of both images, as in the paper's evaluation.
    # Unlike l1 it is sensitive to small errors in the order of greys.
    equalised: float = 0.0
    # Weight of the mean absolute difference between the change from image to image and the true change, and the share
    # of the sequence, counted from its end, on which it is taken. V2V (Lou et al., 2025) takes the second half, which
    # stops flicker without leaving trails.
    temporal: float = 0.0
    temporal_last: float = 1.0
    sparsity: float = 0.0  # weight of the mean absolute value of the sparse codes (lambda_1 of equation 1)
    # While the scene rests, compare the images with the network's last image before the rest instead of the true one
    # (except in `temporal`): the events carry no information, so the image should not change.
    hold: bool = False
    # Share of the loss taken against the images of another network, the teacher, instead of the true ones
    # (`cista train --teacher WEIGHTS`).
    distillation: float = 0.0


@dataclass(frozen=True)
class ForcingConfig:
    """Teacher forcing: the probability that a window's last image is the true one. It changes linearly to `end`.

    It applies to networks that take their last image as an input (CISTA, CISTA-LSTC, PIE-Net, SPADE-E2VID).
    """

    start: float = 0.0
    end: float = 0.0
    iterations: int = 1


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its learning rate."""

    method: Literal["adam", "muon"] = "adam"  # see muon.py; the learning rates of both have the same scale
    learning_rate: float = 1e-3
    # `paper` multiplies by 0.9 every tenth of a half (10 of 20 epochs); `cosine` falls to zero; `trapezoid` is constant
    # and falls to zero over the last `decay` of the iterations; `constant`.
    schedule: Literal["paper", "cosine", "trapezoid", "constant"] = "cosine"
    warm_up: int = 100  # iterations during which the learning rate rises from zero
    decay: float = 0.3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.999  # decay of the moving average of the weights, which is validated and saved
    tbptt: int = 0  # windows between steps, after which the graph is cut; 0 for whole sequences
    forget_bias: float = 1.0  # initial bias of the ConvLSTM's forget gate; above zero it remembers for longer
    theta: Literal["free", "nonnegative"] = "free"  # `nonnegative` keeps the thresholds >= 0, so that codes are sparse


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out sequences: number, windows, size in pixels, and iterations between two validations."""

    every: int = 500
    sequences: int = 8
    windows: int = 20
    size: int = 128


_MINIMA = {
    **dict.fromkeys(("optimiser.tbptt", "optimiser.warm_up", "data.windows_grow", "loss.first_window"), 0),
    **dict.fromkeys(("iterations", "log_every", "data.batch", "data.windows", "loss.perceptual_every"), 1),
    "forcing.iterations": 1,
    **dict.fromkeys(("validation.every", "validation.sequences", "validation.windows"), 1),
    **dict.fromkeys(("data.size", "validation.size"), 16),
}


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about a training except where its files are."""

    name: str = "cista-tc"  # of the resulting weights
    model: str = "cista-tc"  # the network, a key of MODELS; `network` is its architecture
    pictures_note: str = ""  # source of the pictures, for the model card
    seed: int = 1
    iterations: int = 80_000  # number of batches of sequences
    network: NetworkConfig = field(default_factory=CistaConfig)
    data: DataConfig = field(default_factory=DataConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    forcing: ForcingConfig = field(default_factory=ForcingConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    amp: bool = False  # automatic mixed precision in bfloat16
    channels_last: bool = True  # memory layout of the convolutions
    compile: bool = False  # torch.compile the network; on a CPU only its element-wise parts (start.py)
    save_minutes: float = 5.0  # between two saved states
    log_every: int = 50  # iterations between two log lines

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
            ("optimiser.betas must be at least 0 and below 1", all(0 <= beta < 1 for beta in optimiser.betas)),
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
