"""A perceptual distance (Zhang et al., CVPR 2018) on SqueezeNet 1.1, from local weights files.

It is called "LPIPS-squeeze (Keras weights)", because the linear heads were fitted to another training of the same
backbone. The package `lpips`, where it can load its own backbone, computes the standard LPIPS.
"""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MissingPackageError, reason_of
from ..networks.torch_files import plain_tensors, read_torch_file
from .state import TrainingError

# Fire modules by their names in the Keras file; there is a pooling layer before each of _POOLED.
_FIRES = [f"fire{i}" for i in range(2, 10)]
_POOLED = {"fire2", "fire4", "fire6"}
# Layers whose outputs are compared, beside the first convolution (the feature slices of torchvision).
_TAPS = {"fire3", "fire5", "fire6", "fire7", "fire8", "fire9"}
_MEAN_BGR = (104.0, 117.0, 123.0)


class SqueezeDistance(nn.Module):
    """LPIPS on features of SqueezeNet 1.1: grey images (M, 1, H, W) in [0, 1], at least 32x32 -> distances (M,).

    Args:
        backbone: Keras `.h5` file of SqueezeNet 1.1 without its top (needs the package h5py).
        heads: torch file of the seven linear heads.

    Raises TrainingError for a missing file or one with other contents.
    """

    mean: Tensor

    def __init__(self, backbone: Path, heads: Path) -> None:
        super().__init__()
        for name, value in _read_backbone(backbone).items():
            self.register_buffer(name, value, persistent=False)
        for i, head in enumerate(_read_heads(heads)):
            self.register_buffer(f"head{i}", head, persistent=False)
        self.register_buffer("mean", torch.tensor(_MEAN_BGR).view(1, 3, 1, 1), persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        distance = a.new_zeros(len(a))
        for i, features in enumerate(self._features(torch.cat((a, b)))):
            first, second = F.normalize(features, dim=1, eps=1e-10).chunk(2)
            distance = distance + F.conv2d((first - second).square(), getattr(self, f"head{i}")).mean((1, 2, 3))
        return distance

    def _features(self, image: Tensor) -> list[Tensor]:
        x = torch.relu(self._convolve(255 * image - self.mean, "conv1", stride=2))
        found = [x]
        for fire in _FIRES:
            if fire in _POOLED:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            squeezed = torch.relu(self._convolve(x, f"{fire}_squeeze1x1"))
            wide = self._convolve(squeezed, f"{fire}_expand3x3", padding=1)
            x = torch.relu(torch.cat((self._convolve(squeezed, f"{fire}_expand1x1"), wide), 1))
            if fire in _TAPS:
                found.append(x)
        return found

    def _convolve(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"), stride, padding)


class Lpips(nn.Module):
    """LPIPS by its authors' package: grey images (M, 1, H, W) in [0, 1] -> distances (M,).

    Args:
        backbone: alex, vgg or squeeze. Raises MissingPackageError if it, or the package, is not available.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        try:
            import lpips
        except Exception as error:  # a torchvision built for another torch raises RuntimeError
            raise MissingPackageError(f"cannot import package lpips ({error}); see docs/howto/evaluate.md") from None
        try:
            # It prints, and torchvision downloads the backbone, with any kind of network error.
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                self.network = lpips.LPIPS(net=backbone, verbose=False).eval().requires_grad_(False)
        except Exception as error:
            raise MissingPackageError(f"cannot load the {backbone} backbone of LPIPS: {reason_of(error)}") from None

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        distance: Tensor = self.network(*(x.expand(-1, 3, -1, -1) for x in (a, b)), normalize=True)
        return distance.flatten()


def load_distance(backbone: Path | None, heads: Path | None, device: str | torch.device = "cpu") -> nn.Module:
    """Load the distance from files, or without them from the package `lpips`; TrainingError if that is impossible."""
    if bool(backbone) != bool(heads):
        raise TrainingError("--backbone and --heads need each other")
    try:
        distance = SqueezeDistance(backbone, heads) if backbone and heads else Lpips("squeeze")
    except MissingPackageError as error:
        raise TrainingError(f"loss.perceptual needs --backbone and --heads, or the package lpips ({error})") from None
    return distance.eval().to(device)


def _read_backbone(path: Path) -> dict[str, Tensor]:
    """Return tensors by `layer_weight` and `layer_bias`, in torch's order of dimensions."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    try:
        import h5py
    except ImportError:
        raise TrainingError(f"{path}: a Keras backbone needs the package h5py: pip install h5py") from None
    found = {}
    names = ["conv1", *(f"{fire}/{part}" for fire in _FIRES for part in ("squeeze1x1", "expand1x1", "expand3x3"))]
    try:
        with h5py.File(path) as file:
            for name in names:
                arrays: list[np.ndarray] = []
                file[name].visititems(lambda _, item, a=arrays: a.append(item[()]) if hasattr(item, "shape") else None)
                (kernel,) = (a for a in arrays if a.ndim == 4)
                (bias,) = (a for a in arrays if a.ndim == 1)
                key = name.replace("/", "_")
                found[f"{key}_weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
                found[f"{key}_bias"] = torch.from_numpy(bias)
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a SqueezeNet 1.1 backbone stored by Keras ({reason_of(error)})") from None
    return found


def _read_heads(path: Path) -> list[Tensor]:
    try:
        content = read_torch_file(path)
    except ValueError as error:
        raise TrainingError(f"{path}: not a file of LPIPS-squeeze heads ({error})") from None
    names = [f"lin{i}.model.1.weight" for i in range(7)]
    if not plain_tensors(content) or not set(names) <= content.keys():
        raise TrainingError(f"{path}: not a file of LPIPS-squeeze heads")
    if [tuple(content[name].shape) for name in names] != [(1, n, 1, 1) for n in (64, 128, 256, 384, 384, 512, 512)]:
        raise TrainingError(f"{path}: the heads belong to another backbone than SqueezeNet 1.1")
    return [content[name] for name in names]
