"""Pictures for scenes: a folder is read once, kept as bytes on the device, and cropped in batches."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import CistaError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
MIN_SIDE = 32


class PictureError(CistaError):
    """A picture, folder of pictures or clip that cannot be used."""


class Pictures:
    """Grey pictures of any sizes, uint8 (h, w), both at least 32, in one flat byte tensor; crops are on its device."""

    def __init__(self, pictures: Sequence[np.ndarray], device: str | torch.device = "cpu") -> None:
        if not pictures:
            raise PictureError("no pictures")
        self.sizes = torch.tensor([p.shape for p in pictures], device=device)
        areas = self.sizes.prod(1)
        self.offsets = areas.cumsum(0) - areas
        self.bytes = torch.from_numpy(np.concatenate([p.ravel() for p in pictures])).to(device)

    def __len__(self) -> int:
        return len(self.offsets)

    def crops(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Return random square crops (count, side, side), float32 in [0, 1], half of them mirrored.

        Pictures smaller than the crop are continued by reflection.
        """
        device = self.bytes.device
        which = torch.randint(len(self), (count,), device=device, generator=generator)
        size = self.sizes[which]
        room = (size - side).clamp(min=0)
        corner = (torch.rand(count, 2, device=device, generator=generator) * (room + 1)).long()
        steps = torch.arange(side, device=device)
        mirrored = torch.rand(count, 1, device=device, generator=generator) < 0.5
        rows = _reflect(corner[:, :1] + steps, size[:, :1])
        columns = _reflect(corner[:, 1:] + torch.where(mirrored, side - 1 - steps, steps), size[:, 1:])
        index = (self.offsets[which, None] + rows * size[:, 1:])[:, :, None] + columns[:, None, :]
        return self.bytes[index].float() / 255


def load_pictures(folder: str | Path) -> dict[str, np.ndarray]:
    """Read every picture in a folder as grey: file name -> uint8 (h, w), in order of the names.

    PictureError if the folder has no picture, or one cannot be read or is smaller than 32x32.
    """
    folder = Path(folder)
    if folder.is_file():
        raise PictureError(f"{folder}: a file, not a folder of pictures")
    if not folder.is_dir():
        raise PictureError(f"{folder}: no such folder of pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise PictureError(f"{folder}: no pictures ({', '.join(sorted(SUFFIXES))})")
    pictures = {}
    for path in paths:
        try:
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        except cv2.error:  # of more pixels than OpenCV reads
            picture = None
        if picture is None:
            raise PictureError(f"{path}: not a picture that OpenCV can read")
        if min(picture.shape) < MIN_SIDE:
            height, width = picture.shape
            raise PictureError(f"{path}: {width}x{height} is too small, at least {MIN_SIDE}x{MIN_SIDE} is needed")
        pictures[path.name] = picture
    return pictures


def split_held_out(pictures: dict[str, np.ndarray], share: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (training, held out): about `share` of the pictures, chosen by name, and at least one, are held out.

    PictureError for fewer than two pictures.
    """
    if len(pictures) < 2:
        raise PictureError("training needs at least two pictures, one of them held out")
    names = sorted(pictures, key=lambda name: (zlib.crc32(name.encode()), name))
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return [pictures[n] for n in names[count:]], [pictures[n] for n in names[:count]]


def _reflect(index: Tensor, size: Tensor) -> Tensor:
    """Map any indices into [0, size) by reflection about the first and last element."""
    period = 2 * (size - 1)
    index = index % period
    return torch.minimum(index, period - index)
