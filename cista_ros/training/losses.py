"""The loss: L1 + (1 - SSIM) + perceptual distance (paper, equation 5), and temporal consistency."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..evaluation.metrics import ssim
from .config import LossConfig

Distance = Callable[[Tensor, Tensor], Tensor]


def equalised(images: Tensor, levels: int = 32) -> Tensor:
    """Global histogram equalisation of images (M, 1, H, W) in [0, 1], with a gradient.

    The distribution function is linear between so many levels, and taken as given: a grey's gradient is its density.
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


def last_told(images: Tensor, still: Tensor, before: Tensor | None) -> Tensor:
    """For each of the images (T, N, 1, H, W) the last one up to it whose window had an event, without gradient.

    Args:
        still: bool (T, N), windows without any event.
        before: the last of what this function returned for the windows before; None at the start of the sequences.
    """
    told = []
    for image, rests in zip(images.detach(), still, strict=True):
        before = image if before is None else torch.where(rests[:, None, None, None], before, image)
        told.append(before)
    return torch.stack(told)


class SequenceLoss:
    """The weighted loss of a run of consecutive images.

    Args:
        config: weights, and which images count.
        perceptual: distance of images (M, 1, H, W) in [0, 1] -> (M,); needed if its weight is not zero.
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
        """Parts of the loss by name, and `total`; an empty dictionary if none of these images counts.

        Args:
            images: reconstructions (T, N, 1, H, W) of windows first, first + 1, …
            truth: the true images (T + 1, N, 1, H, W); truth[t + 1] belongs to images[t].
            code_l1: mean absolute value of the sparse codes.
            first: index of images[0] in its sequence.
            windows: number of windows of the whole sequence.
            hold: for LossConfig.hold windows without any event, bool (T, N), and what `last_told` returns.
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
            still, told = (value[skip:] for value in hold)
            true = torch.where(still[:, :, None, None, None], told, true)
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
