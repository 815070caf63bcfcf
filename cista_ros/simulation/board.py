"""A calibration board that moves before a camera with a real lens, rendered for event pixels, and its true geometry.

The camera is at rest, so that only the board makes events. Poses are smooth functions of time: the place in the image,
the size, two tilts and the roll of the board each follow a sine, with periods that do not repeat together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..calibration.targets import Target
from ..events import NS
from ..util.atomic import write_text
from .lens import Lens
from .pictures import Pictures
from .recording import SRGB, START_NS, Drive, Step
from .scene import Draw, SceneConfig, exposure_for

SIZES = 0.55, 0.95  # of the board, as a share of the image that it spans in width or height
TILT, ROLL = math.radians(35), math.radians(25)
REACH = 0.5  # of the place: 0.5 brings the board's edge to that of the image, more takes it beyond
RATES = np.array([1.0, 0.618, 0.447, 0.83, 0.71, 0.35])  # of x, y, size, tilts and roll; relative to x
CLOSEST = 0.75  # distance, in diagonals of the board
BLACK, WHITE = 0.04, 0.9  # reflectance of print and paper
SAMPLES = 2  # per pixel and direction


class View(NamedTuple):
    """The truth of one frame: time in ns, pose (board to camera), ids and pixels (K, 2) of visible points."""

    stamp: int
    rotation: np.ndarray
    translation: np.ndarray
    ids: np.ndarray
    pixels: np.ndarray


@dataclass
class BoardScene:
    """A board in motion before a lens. LensError if that does not see the whole sensor."""

    target: Target
    lens: Lens
    size: tuple[int, int]  # height and width of the sensor
    drive: Drive  # speed of the fastest corner of the board in pixels per second, and pauses
    generator: torch.Generator  # the only source of chance; its device renders
    pictures: Pictures | None = None  # one of them is behind the board; None for a plain wall

    def __post_init__(self) -> None:
        draw = Draw(self.generator)
        self._phases = draw.uniform((0.0, 2 * math.pi), 7).cpu().double().numpy()
        height, width = self.size
        paper, points = np.array([(0.0, 0.0), self.target.size]), self.target.points[:, :2]
        (left, top), (right, bottom) = (paper + np.array([points.min(0), points.max(0)])) / 2
        self._outline = np.array([(left, top, 0), (right, top, 0), (right, bottom, 0), (left, bottom, 0)])
        self._texels_per_metre = SAMPLES * SIZES[1] * max(width / self.target.size[0], height / self.target.size[1])
        step = 1 / SAMPLES
        y, x = np.mgrid[0 : height * SAMPLES, 0 : width * SAMPLES] * step + (step - 1) / 2
        pixels = np.stack((x, y), -1)
        self.lens.rays(pixels[[0, 0, -1, -1], [0, -1, 0, -1]])  # what a lens does not see is most often a corner
        self._rays = torch.from_numpy(self.lens.rays(pixels.reshape(-1, 2)).T).float().to(self.generator.device)
        travel = np.arange(0, 20 * math.pi, 0.01)
        self._rate = self.drive.speed / (self._moves(*self._at(travel)).max() / 0.01)

    def poses(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rotations (N, 3, 3) and translations (N, 3), board to camera, at times (N,) in seconds."""
        travel = seconds
        if self.drive.pause_s is not None:
            fine = np.arange(0, seconds.max(initial=0) + 1e-2, 1e-3)
            pace = np.clip(0.6 + np.sin(2 * math.pi * (fine - 5e-4) / self.drive.pause_s + self._phases[6]), 0, 1)
            travel = np.interp(seconds, fine, np.cumsum(pace) * 1e-3)
        return self._at(self._rate * travel)

    def _at(self, travel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        swing = np.sin(travel[:, None] * RATES + self._phases[:6])
        image, board = np.array(self.size[::-1], float), np.ptp(self._outline[:, :2], axis=0)
        middle = (image - 1) / 2
        size = SIZES[0] + (SIZES[1] - SIZES[0]) * (swing[:, 2:3] + 1) / 2
        extent = size * board * (image / board).min()
        # The distance at which the board, before the centre of the image, is as wide as wanted.
        left, right = (self.lens.rays(middle + sign * extent / 2 * (1, 0)) for sign in (-1, 1))
        distance = board[0] / np.linalg.norm(right - left, axis=1) * np.linalg.norm(right + left, axis=1) / 2
        distance = np.maximum(distance, CLOSEST * np.linalg.norm(board))
        towards = self.lens.rays(middle + REACH * swing[:, :2] * (image - extent))
        tilt_x, tilt_y, roll = TILT * swing[:, 3], TILT * swing[:, 4], ROLL * swing[:, 5]
        rotation = _facing(towards) @ _turn(2, roll) @ _turn(0, tilt_x) @ _turn(1, tilt_y)
        return rotation, distance[:, None] * towards - rotation @ self._outline.mean(0)

    def _moves(self, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """Return how far (N - 1,), in pixels, the fastest corner of the outline moves between poses."""
        corners = self.lens.project(self._outline @ rotation.transpose(0, 2, 1) + translation[:, None])
        return np.asarray(np.linalg.norm(np.diff(corners, axis=0), axis=-1).max(-1))

    def steps(self, config: SceneConfig, seconds: float, fps: float) -> Iterator[Step]:
        """Render so finely that no corner moves by more than about half a pixel between two images.

        haze, dark, mean and response are drawn from `config`.
        """
        draw, shape = Draw(self.generator), (1, 1, 1, 1)
        haze, dark = draw.uniform(config.haze, *shape), draw.log_uniform(config.dark, *shape)
        response, mean = draw.uniform(config.response, *shape), draw.uniform(config.mean, *shape)
        levels = self._levels()
        background = self._background(draw)
        rotation, translation = self.poses(np.zeros(1))
        light = self._render(rotation[0], translation[0], levels, background)
        unit = light.mean()
        exposure = exposure_for(light[None, None] / unit + haze, mean, response)
        for frame in range(math.floor(seconds * fps) + 1):
            times = np.zeros(1)
            if frame:
                around = self._moves(*self.poses((frame - 1 + np.linspace(0, 1, 9)) / fps)).sum()
                renders = max(1, math.ceil(2 * around))
                times = (frame - 1 + np.arange(1, renders + 1) / renders) / fps
            poses = zip(*self.poses(times), strict=True)
            light = torch.stack([self._render(*pose, levels, background) for pose in poses])[None] / unit + haze
            images = (exposure * light).clamp(0, 1) ** (1 / response)
            yield Step(torch.from_numpy(np.rint(times * NS).astype(np.int64)), images[0], torch.log(light + dark)[0])

    def view(self, stamp: int) -> View:
        """Return the true geometry at a time in ns; a point is visible if its pixel is on the sensor."""
        rotation, translation = (pose[0] for pose in self.poses(np.array([stamp / NS])))
        points = self.target.points @ rotation.T + translation
        pixels = self.lens.project(points)
        seen = (points[:, 2] > 0) & ((pixels >= -0.5) & (pixels < np.array(self.size[::-1]) - 0.5)).all(1)
        # Strong distortion also maps points from outside the field of view into the image.
        directions = self.lens.rays(pixels[seen])
        away = np.linalg.norm(np.cross(directions, points[seen]), axis=1)
        seen[seen] = away < 1e-3 * np.linalg.norm(points[seen], axis=1)
        return View(stamp, rotation, translation, np.flatnonzero(seen), pixels[seen])

    def write_truth(self, path: Path, stamps: Iterable[int]) -> None:
        """Write the camera, the target and the view of each frame, given by its time in ns, as YAML.

        Stamps in the file begin at START_NS, as in the recording.
        """
        height, width = self.size
        camera = {"image_width": width, "image_height": height, "intrinsics": self.lens.intrinsics}
        camera |= {"distortion_model": self.lens.model, "distortion_coefficients": self.lens.distortion}
        lines = [f"camera: {json.dumps(camera)}", f"target: {json.dumps(str(self.target))}"]
        lines += ["# rotation and translation (m): target to camera; corners: [id, x, y] in pixels", "views:"]
        for stamp in stamps:
            view = self.view(stamp)
            corners = [[int(i), *np.round(xy, 4).tolist()] for i, xy in zip(view.ids, view.pixels, strict=True)]
            pose = {"rotation": view.rotation.tolist(), "translation": view.translation.tolist()}
            lines.append(f"- {json.dumps({'stamp_ns': START_NS + stamp, **pose, 'corners': corners})}")
        write_text(path, "\n".join(lines) + "\n")

    def _background(self, draw: Draw) -> Tensor:
        """Return the light (H, W) behind the board: a picture, or a plain wall, somewhat unevenly lit."""
        height, width = self.size
        if self.pictures:
            crop = self.pictures.crops(1, max(self.size), self.generator)[0, :height, :width]
            return BLACK + (WHITE - BLACK) * crop**SRGB
        corners = draw.uniform((0.2, 0.5), 1, 1, 2, 2)
        return F.interpolate(corners, self.size, mode="bilinear", align_corners=True)[0, 0]

    def _levels(self) -> list[Tensor]:
        """Return the picture as (light, alpha) (1, 2, h, w), and at half, a quarter … of its resolution."""
        white = self.target.image(self._texels_per_metre).astype(np.float32) / 255
        picture: np.ndarray = BLACK + (WHITE - BLACK) * white
        levels = []
        while min(picture.shape) >= 16:
            levels.append(torch.from_numpy(np.stack((picture, np.ones_like(picture))))[None].to(self.generator.device))
            height, width = picture.shape
            picture = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return levels

    def _render(self, rotation: np.ndarray, translation: np.ndarray, levels: list[Tensor], behind: Tensor) -> Tensor:
        """Return the light (H, W) at one pose: the mean over each pixel of SAMPLES x SAMPLES rays to the board."""
        height, width = levels[0].shape[2:]
        scale = 2 * self._texels_per_metre
        to_grid = np.array([[scale / width, 0, -1], [0, scale / height, -1], [0, 0, 1]])
        matrix = to_grid @ np.linalg.inv(np.column_stack((rotation[:, :2], translation)))
        x, y, w = torch.from_numpy(matrix).to(self._rays) @ self._rays
        ahead = w > 0
        grid = torch.stack((torch.where(ahead, x / w, 9.0), torch.where(ahead, y / w, 9.0)), -1)
        rows, columns = (SAMPLES * side for side in self.size)
        grid = grid.clamp(-9, 9).view(1, rows, columns, 2)
        corners = self.lens.project(self._outline @ rotation.T + translation)
        density = self._texels_per_metre * math.sqrt(_area(self._outline[:, :2]) / max(_area(corners), 1)) / SAMPLES
        level = min(max(math.log2(density), 0), len(levels) - 1)
        low, share = int(level), level % 1
        light, alpha = F.grid_sample(levels[low], grid, align_corners=False)[0]
        if share:
            coarse = F.grid_sample(levels[low + 1], grid, align_corners=False)[0]
            light, alpha = light + share * (coarse[0] - light), alpha + share * (coarse[1] - alpha)
        light, alpha = F.avg_pool2d(torch.stack((light, alpha))[None], SAMPLES)[0]
        seen: Tensor = light + (1 - alpha) * behind
        return seen


def _facing(directions: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) that turn the z axis into unit vectors (N, 3) by the shortest way."""
    x, y, z = directions.T
    share = 1 / (1 + z)
    rows = ((1 - x * x * share, -x * y * share, x), (-x * y * share, 1 - y * y * share, y), (-x, -y, z))
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _turn(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) about an axis."""
    matrices = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrices[:, axis, axis] = 1
    matrices[:, i, i] = matrices[:, j, j] = np.cos(angle)
    matrices[:, j, i], matrices[:, i, j] = np.sin(angle), -np.sin(angle)
    return matrices


def _area(corners: np.ndarray) -> float:
    """Area of a polygon (N, 2)."""
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
