"""The lens of a simulated camera, with distortion as in sensor_msgs/CameraInfo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..calibration.solve import MODELS
from ..errors import CistaError


class LensError(CistaError):
    """A lens that cannot be simulated, or does not see the whole sensor."""


@dataclass(frozen=True)
class Lens:
    """Pinhole with distortion, as in sensor_msgs/CameraInfo."""

    intrinsics: tuple[float, float, float, float]  # fx, fy, cx, cy in pixels; the centre of the first pixel is (0, 0)
    # plumb_bob (k1 k2 p1 p2 k3), rational_polynomial (and k4 k5 k6) or equidistant (k1 k2 k3 k4)
    model: str = "plumb_bob"
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise LensError(f"lens model {self.model!r} is not one of {', '.join(MODELS)}")
        if len(self.distortion) != (expected := len(MODELS[self.model])):
            raise LensError(f"{self.model} has {expected} distortion coefficients, not {len(self.distortion)}")
        if not min(self.intrinsics[:2]) > 0:
            raise LensError(f"focal lengths must be above 0, not {self.intrinsics[0]:g} and {self.intrinsics[1]:g}")

    @property
    def matrix(self) -> np.ndarray:
        """Camera matrix, float64 (3, 3)."""
        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project points (..., 3) in the camera frame, in front of the camera, to pixels (..., 2)."""
        if self.model == "equidistant":  # also of points beside the camera, which OpenCV's function mirrors
            radius = np.linalg.norm(points[..., :2], axis=-1)
            angle = np.arctan2(radius, points[..., 2])
            k1, k2, k3, k4 = self.distortion
            distorted = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
            ideal: np.ndarray = points[..., :2] * (distorted / np.maximum(radius, 1e-12))[..., None]
            return np.asarray(ideal * self.intrinsics[:2] + self.intrinsics[2:])
        flat = np.ascontiguousarray(points, np.float64).reshape(-1, 1, 3)
        pixels, _ = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), self.matrix, np.array(self.distortion))
        return pixels.reshape(*points.shape[:-1], 2)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Return unit vectors (..., 3) in the camera frame that are seen at pixels (..., 2).

        Newton's method on the angles to the optical axis. LensError for a pixel that the lens does not see: 90 degrees
        or more off the axis, or where distortion folds the image.
        """
        fx, fy, cx, cy = self.intrinsics
        ideal = (pixels - (cx, cy)) / (fx, fy)
        radius = np.linalg.norm(ideal, axis=-1, keepdims=True)
        angles = ideal * np.arctan(radius) / np.maximum(radius, 1e-12)
        for _ in range(20):
            error = self.project(_directions(angles)) - pixels
            if np.abs(error).max(initial=0) < 1e-7:
                break
            step = 1e-6
            a, c = np.moveaxis((self.project(_directions(angles + np.array([step, 0]))) - pixels - error) / step, -1, 0)
            b, d = np.moveaxis((self.project(_directions(angles + np.array([0, step]))) - pixels - error) / step, -1, 0)
            x, y = np.moveaxis(error, -1, 0)
            determinant = np.where(np.abs(a * d - b * c) < 1e-9, np.nan, a * d - b * c)
            angles = angles - np.stack((d * x - b * y, a * y - c * x), -1) / determinant[..., None]
            angles = np.where(np.linalg.norm(angles, axis=-1, keepdims=True) < 0.4999 * math.pi, angles, np.nan)
        else:
            error = self.project(_directions(angles)) - pixels
        unseen = ~(np.abs(error).max(-1) < 1e-3)
        if unseen.any():
            x, y = pixels[unseen][0]
            raise LensError(f"the lens does not see pixel ({x:g}, {y:g}): use a longer focal length, less distortion")
        return _directions(angles)


def _directions(angles: np.ndarray) -> np.ndarray:
    """Angles (..., 2) from the optical axis towards x and y, as an axis-angle vector -> unit vectors (..., 3)."""
    angle = np.linalg.norm(angles, axis=-1, keepdims=True)
    return np.concatenate((angles * np.sinc(angle / math.pi), np.cos(angle)), -1)


def pinhole(height: int, width: int) -> Lens:
    """Return a lens without distortion, its focal length as long as the image is wide (53 degrees)."""
    return Lens((float(width), float(width), (width - 1) / 2, (height - 1) / 2))
