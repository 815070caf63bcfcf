"""A perceptual distance after LPIPS (Zhang et al. 2018) on a backbone that can be had as a plain file.

LPIPS's own backbones come with torchvision alone. This one is SqueezeNet 1.1 with Keras weights (a given .h5 file)
under the heads that LPIPS published for torchvision's SqueezeNet. The backbones were trained apart, so the distances
differ: the numbers are called "LPIPS-squeeze (Keras weights)", never LPIPS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CheckpointError

MEANS = (104.0, 117.0, 123.0)  # B, G, R in 0…255, subtracted from the input
FIRES = range(2, 10)
POOL_BEFORE = (2, 4, 6)  # fire modules that a 3x3 max pooling of stride 2 precedes
# Features are compared after the first convolution and after these fire modules, as LPIPS does.
COMPARED = (3, 5, 6, 7, 8, 9)


class SqueezeDistance:
    """Distance of images (M, 1, H, W) in [0, 1] -> (M,); at least 32x32 pixels.

    Args:
        backbone: SqueezeNet 1.1 without top, as Keras wrote it (HDF5); needs h5py.
        heads: LPIPS v0.1's linear weights for SqueezeNet (a torch file).
    Raises:
        CheckpointError: files that are not these.
    """

    def __init__(self, backbone: str | Path, heads: str | Path, device: str | torch.device = "cpu") -> None:
        self._weights = {name: [w.to(device) for w in pair] for name, pair in _read_backbone(Path(backbone)).items()}
        self._heads = [head.to(device) for head in _read_heads(Path(heads))]
        self._means = torch.tensor(MEANS, device=device).view(1, 3, 1, 1)

    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        total = torch.zeros(len(image), device=image.device)
        pairs = zip(self._features(image), self._features(truth), strict=True)
        for head, (a, b) in zip(self._heads, pairs, strict=True):
            difference = (_unit(a) - _unit(b)).square()
            total = total + F.conv2d(difference, head).mean((1, 2, 3))
        return total

    def _features(self, image: Tensor) -> list[Tensor]:
        x = torch.relu(F.conv2d(image * 255 - self._means, *self._weights["conv1"], stride=2))
        features = [x]
        for fire in FIRES:
            if fire in POOL_BEFORE:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = torch.relu(F.conv2d(x, *self._weights[f"fire{fire}/squeeze1x1"]))
            wide = F.conv2d(x, *self._weights[f"fire{fire}/expand3x3"], padding=1)
            x = torch.relu(torch.cat((F.conv2d(x, *self._weights[f"fire{fire}/expand1x1"]), wide), 1))
            if fire in COMPARED:
                features.append(x)
        return features


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _read_backbone(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    try:
        import h5py
    except ImportError:
        raise CheckpointError(f"{path}: reading it needs the package h5py") from None
    parts = [f"fire{fire}/{part}" for fire in FIRES for part in ("squeeze1x1", "expand1x1", "expand3x3")]
    weights = {}
    try:
        with h5py.File(path) as file:
            for name in ("conv1", *parts):
                arrays: list[np.ndarray] = []
                file[name].visititems(
                    lambda _, item, to=arrays: to.append(item[()]) if hasattr(item, "shape") else None
                )
                kernel = next(a for a in arrays if a.ndim == 4)
                bias = next(a for a in arrays if a.ndim == 1)
                # Keras keeps kernels as (height, width, in, out).
                weights[name] = (torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous(), torch.from_numpy(bias))
    except (OSError, KeyError, StopIteration) as error:
        raise CheckpointError(f"{path}: not the Keras weights of SqueezeNet 1.1 ({error})") from None
    return weights


def _arrays(group: Any) -> list[np.ndarray]:
    """All arrays below an HDF5 group."""
    return [a for item in group.values() for a in ([item[()]] if hasattr(item, "shape") else _arrays(item))]


def _read_heads(path: Path) -> list[Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        heads = [content[f"lin{i}.model.1.weight"] for i in range(len(COMPARED) + 1)]
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError on foreign bytes
        raise CheckpointError(f"{path}: not LPIPS's heads for SqueezeNet ({type(error).__name__}: {error})") from None
    return heads
