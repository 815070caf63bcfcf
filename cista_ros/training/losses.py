"""The loss: L1 + (1 - SSIM) + perceptual distance (paper, equation 5), and temporal consistency."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..metrics import ssim
from .config import LossConfig

Distance = Callable[[Tensor, Tensor], Tensor]


def equalised(images: Tensor, levels: int = 32) -> Tensor:
    """Equalise the histograms of images (M, 1, H, W) in [0, 1], with a gradient.

    The distribution function is piecewise linear between the levels and treated as a constant: the gradient of a grey
    is its density.
    """
    place = images.flatten(1).clamp(0, 1) * levels
    level = place.detach().floor().clamp(max=levels - 1)
    index = level.long()
    density = torch.zeros(len(images), levels, device=images.device, dtype=images.dtype)
    density.scatter_add_(1, index, torch.full_like(place.detach(), 1 / place.shape[1]))
    below = density.cumsum(1) - density
    return (below.gather(1, index) + density.gather(1, index) * (place - level)).view_as(images)


def fitted(images: Tensor, truth: Tensor) -> Tensor:
    """Scale and shift each of the images (..., 1, H, W) to the true one by least squares; clipped to [0, 1]."""
    dims = (-3, -2, -1)
    mean, mean_true = images.mean(dims, keepdim=True), truth.mean(dims, keepdim=True)
    centred = images - mean
    scale = (centred * (truth - mean_true)).mean(dims, keepdim=True) / centred.square().mean(dims, keepdim=True).clamp(
        min=1e-6
    )
    return (scale.clamp(min=0) * centred + mean_true).clamp(0, 1)


def last_informed(images: Tensor, rests: Tensor, before: Tensor | None) -> Tensor:
    """Return for each of the images (T, N, 1, H, W) the last one up to it that is not of a rest, without gradient.

    rests: bool (T, N), windows in which the scene is at rest. before: the last image returned for the windows before;
    None at the start of the sequences.
    """
    informed = []
    for image, resting in zip(images.detach(), rests, strict=True):
        before = image if before is None else torch.where(resting[:, None, None, None], before, image)
        informed.append(before)
    return torch.stack(informed)


class SequenceLoss:
    """The weighted loss of consecutive images.

    perceptual: distance of images (M, 1, H, W) in [0, 1] -> (M,); required if its weight is not zero.
    """

    def __init__(self, config: LossConfig, perceptual: Distance | None = None) -> None:
        if config.perceptual > 0 and perceptual is None:
            raise ValueError("a perceptual weight needs a perceptual distance")
        self.config = config
        self.perceptual = perceptual

    def __call__(
        self,
        images: Tensor,
        truth: Tensor,
        code_l1: Tensor,
        first: int,
        windows: int,
        hold: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the parts of the loss by name, and `total`; an empty dictionary if none of these images counts.

        Args:
            images: reconstructions (T, N, 1, H, W) of the windows first, first + 1, … of a sequence of `windows`.
            truth: the true images (T + 1, N, 1, H, W); truth[t + 1] belongs to images[t].
            code_l1: mean absolute value of the sparse codes.
            hold: for LossConfig.hold the windows at rest, bool (T, N), and the images of `last_informed`.
        """
        config = self.config
        if config.images == "last":
            if first + len(images) < windows:
                return {}
            skip = len(images) - 1
        else:
            skip = min(max(0, config.first_window - first), len(images))
        if skip == len(images):
            return {}
        wanted, true = images[skip:], truth[skip + 1 :]
        change = true - truth[skip:-1]
        if hold is not None:
            rests, informed = (value[skip:] for value in hold)
            true = torch.where(rests[:, :, None, None, None], informed, true)
        flat, flat_true = wanted.flatten(0, 1), true.flatten(0, 1)
        parts = {"l1": (flat - flat_true).abs().mean()}
        if config.ssim:
            parts["ssim"] = 1 - ssim(flat, flat_true).mean()
        if config.equalised:
            parts["equalised"] = (equalised(flat) - equalised(flat_true)).abs().mean()
        if config.perceptual and self.perceptual:
            some = slice((len(wanted) - 1) % config.perceptual_every, None, config.perceptual_every)
            parts["perceptual"] = self.perceptual(wanted[some].flatten(0, 1), true[some].flatten(0, 1)).mean()
        # Changes from the image before, of the windows from `begin` on.
        begin = max(1, round((1 - config.temporal_last) * windows) - first - skip)
        if config.temporal and len(wanted) > begin:
            parts["temporal"] = (wanted.diff(dim=0) - change[1:])[begin - 1 :].abs().mean()
        if config.sparsity:
            parts["sparsity"] = code_l1
        parts["total"] = torch.stack([getattr(config, name) * value for name, value in parts.items()]).sum()
        return parts
