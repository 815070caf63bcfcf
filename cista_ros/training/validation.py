"""Validation: held-out sequences, the same at every validation, their scores and a picture of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..metrics import ssim
from ..networks import Network, make_network
from ..simulation.pictures import Pictures
from ..simulation.sequences import Sequences, SimulationConfig, simulate
from ..tone_map import equalise
from ..voxel_grid import normalise
from .config import TrainingConfig
from .losses import Distance

SEED = 20_220_522


def held_out_sequences(
    pictures: Pictures,
    simulation: SimulationConfig,
    count: int,
    windows: int,
    size: tuple[int, int],
    bins: int,
    seed: int = SEED,
) -> Sequences:
    """Simulate `count` sequences one by one, to save memory; the same for the same pictures and seed."""
    device = pictures.bytes.device
    parts = [
        simulate(pictures, simulation, 1, windows, size, bins, torch.Generator(device).manual_seed(seed + i))
        for i in range(count)
    ]
    return Sequences(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))


def validation_sequences(pictures: Pictures, config: TrainingConfig) -> Sequences:
    """Simulate validation sequences: scenes and cameras as in training, from held-out pictures, without rests."""
    v, motion = config.validation, replace(config.simulation.motion, rests=0.0)
    simulation = replace(config.simulation, motion=motion)
    return held_out_sequences(pictures, simulation, v.sequences, v.windows, (v.size, v.size), config.network.bins)


@torch.inference_mode()
def reconstruct(network: Network, voxels: Tensor, batch: int = 8) -> tuple[Tensor, float | None]:
    """Reconstruct N sequences of T windows from their start, `batch` at once, without teacher forcing.

    Returns for voxel grids (T, N, B, H, W), not normalised, images float32 (T, N, 1, H, W) clipped to [0, 1], and the
    share of zeros in the sparse codes (None without).
    """
    images, zeros = [], []
    for part in voxels.split(batch, 1):
        state, of_part = None, []
        for voxel in part:
            image, state = network(normalise(voxel) if network.conventions.normalise else voxel, state)
            of_part.append(image.float().clamp(0, 1))
            if (codes := network.codes(state)) is not None:
                zeros.append((codes == 0).float().mean())
        images.append(torch.stack(of_part))
    return torch.cat(images, 1), float(torch.stack(zeros).mean()) if zeros else None


def score(images: Tensor, truth: Tensor, perceptual: Distance | None = None) -> dict[str, float]:
    """Return means over images (..., 1, H, W): MSE, PSNR, SSIM, the same after equalisation, and LPIPS."""
    images, truth = images.reshape(-1, 1, *images.shape[-2:]).cpu(), truth.reshape(-1, 1, *truth.shape[-2:]).cpu()
    scores = _three(images, truth)
    levelled = [torch.from_numpy(np.stack([equalise(i[0].numpy()) for i in x]))[:, None] for x in (images, truth)]
    scores |= {f"{name}_equalised": value for name, value in _three(*levelled).items()}
    if perceptual:
        with torch.inference_mode():
            parts = zip(images.split(64), truth.split(64), strict=True)
            scores["lpips_squeeze"] = float(torch.cat([perceptual(a, b) for a, b in parts]).mean())
    return scores


def _three(a: Tensor, b: Tensor) -> dict[str, float]:
    mse = (a - b).square().mean((1, 2, 3))
    similarity = torch.cat([ssim(*pair) for pair in zip(a.split(64), b.split(64), strict=True)])
    psnr = -10 * torch.log10(mse.clamp(min=1e-10))
    return {"mse": float(mse.mean()), "psnr": float(psnr.mean()), "ssim": float(similarity.mean())}


def image_grid(sequences: Sequences, images: Tensor, rows: int = 6, columns: int = 4) -> np.ndarray:
    """Draw a uint8 picture: for each sequence a row with events, reconstruction and truth at some of its windows."""
    windows, count = images.shape[:2]
    times = np.linspace(0, windows - 1, columns).round().astype(int)
    lines = []
    for n in range(min(rows, count)):
        tiles = []
        for t in times:
            events = (0.5 + 0.25 * sequences.voxels[t, n].sum(0)).clamp(0, 1)
            tiles += [events, images[t, n, 0], sequences.images[t + 1, n, 0]]
        lines.append(torch.cat([torch.nn.functional.pad(tile.cpu(), (1, 1, 1, 1), value=1.0) for tile in tiles], 1))
    return (torch.cat(lines) * 255).round().byte().numpy()


def averaged_network(network: Network, average: dict[str, Tensor], amp: bool) -> Network:
    """Return a copy of the network with its averaged weights, for evaluation.

    After training with mixed precision the convolution kernels are rounded to bfloat16, as in every training step: the
    network is then the same in bf16, and its images are closer to those in fp32.
    """
    copy = make_network(network.config)
    copy.load_state_dict(average)
    copy.conventions = network.conventions
    if amp:
        kernels = (p for p in copy.parameters() if p.dim() == 4)
        with torch.no_grad():
            for kernel in kernels:
                kernel.copy_(kernel.bfloat16())
    return copy.to(next(network.parameters()).device).eval().requires_grad_(False)
