"""Moving scenes: a background picture and pieces of others before it, each under a smooth random homography.

A scene is a function of one number, its path u in pixels: nothing in view moves much further than one pixel while u
grows by one. Other modules decide how fast u grows with time, so that scenes can be rendered as finely as events
require.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .pictures import Pictures

# The sensor whose number of objects the ranges below describe.
REFERENCE_PIXELS = 240 * 180


@dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from; pairs are (lowest, highest).

    Light is linear and relative to the mean light of the background. The target image is what a frame camera makes of
    it: ``clip(exposure * light, 0, 1) ** (1 / response)``, with the exposure chosen for a mean brightness, as an
    automatic exposure does, and not stretched to the full range.
    """

    texels: tuple[float, float] = (0.5, 1.2)  # picture pixels per sensor pixel; below 1 blurred, as by a lens
    objects: tuple[float, float] = (0.0, 30.0)  # in the foreground of a 240x180 sensor; scaled with the area for others
    radius: tuple[float, float] = (4.0, 40.0)  # mean radius of an object in sensor pixels
    object_speed: tuple[float, float] = (0.0, 1.2)  # relative to the background's fastest point
    # Exponent from a photo's pixel value to linear light. sRGB is close to 2.2; camera tone curves differ.
    encoding: tuple[float, float] = (1.6, 2.4)
    haze: tuple[float, float] = (0.0, 0.2)  # veiling light, as a share of the mean light; it lowers contrast
    # Dark current of the event pixels as a share of the photocurrent at mean light: they see log(dark + light). v2e (Hu
    # et al., 2021) and V2V (Lou et al., 2025) use comparable offsets.
    dark: tuple[float, float] = (0.01, 0.15)
    # Mean brightness of the target image. Frames of DAVIS cameras have .2 to .25 (Event Camera Dataset) and .45 to .55
    # (other recordings).
    mean: tuple[float, float] = (0.1, 0.55)
    # Exponent of the frame camera's response curve: 1 is a linear sensor such as the DAVIS, 2.2 a video camera.
    response: tuple[float, float] = (1.0, 2.2)


class Draw:
    """Random tensors on the generator's device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        """Draw uniformly between the limits."""
        low, high = limits
        return low + (high - low) * torch.rand(shape, device=self.generator.device, generator=self.generator)

    def log_uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        """Draw uniformly in the logarithm."""
        return self.uniform((math.log(limits[0]), math.log(limits[1])), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal distribution."""
        return torch.randn(shape, device=self.generator.device, generator=self.generator)

    def shares(self, *shape: int) -> Tensor:
        """Draw non-negative numbers that sum to one along the last dimension, some of them near zero."""
        parts = self.uniform((0.0, 1.0), *shape).square() + 1e-3
        return parts / parts.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Sway:
    """Degrees of freedom that swing: amplitude (sin(frequency u + phase) - sin(phase)), each field (..., D)."""

    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    @classmethod
    def draw(cls, draw: Draw, amplitude: Tensor, lever: Tensor, speed: Tensor) -> Sway:
        """Draw phases, and frequencies with which amplitude x lever moves at most `speed` pixels per unit of u."""
        return cls(amplitude, speed / (amplitude * lever), draw.uniform((0.0, 2 * math.pi), *amplitude.shape))

    def at(self, path: Tensor) -> Tensor:
        """Return the values (..., S, D) along a path (..., S)."""
        swing = torch.sin(self.frequency[..., None, :] * path[..., None] + self.phase[..., None, :])
        return self.amplitude[..., None, :] * (swing - self.phase.sin()[..., None, :])


class Scenes:
    """N scenes (`count`) on a sensor of height x width pixels, on the device of generator and pictures."""

    def __init__(
        self, pictures: Pictures, count: int, height: int, width: int, config: SceneConfig, generator: torch.Generator
    ) -> None:
        self.height, self.width, self.config = height, width, config
        draw = Draw(generator)
        device = generator.device
        self._reach = reach = math.hypot(height, width) / 2
        y = torch.arange(height, device=device) - (height - 1) / 2
        x = torch.arange(width, device=device) - (width - 1) / 2
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        self._pixels = torch.stack((xx.flatten(), yy.flatten(), torch.ones(height * width, device=device)))

        side = math.ceil(1.5 * max(height, width)) + 32
        self._encoding = draw.uniform(config.encoding, count, 1, 1)
        light = pictures.crops(count, side, generator) ** self._encoding
        self._mean = light.mean((1, 2), keepdim=True).clamp(min=1e-4)
        self._background = (light / self._mean)[:, None]
        self._texels = draw.uniform(config.texels, count)
        # Translation, rotation, log zoom, and the two slopes of perspective (per half diagonal).
        ones = torch.ones(count, 2, device=device)
        parts = [draw.log_uniform((8.0, 80.0), count, 2)]
        parts += [draw.uniform(limits, count, 1) for limits in ((0.05, 0.6), (0.03, 0.25))]
        amplitude = torch.cat((*parts, draw.uniform((0.02, 0.2), count, 2)), 1)
        lever = torch.cat((ones, reach * ones, reach * ones), 1)
        speed = draw.shares(count, 6) * torch.tensor([3.0, 3.0, 1.0, 1.0, 0.5, 0.5], device=device)
        self._motion = Sway.draw(draw, amplitude, lever, speed / speed.sum(-1, keepdim=True))
        shape = (count, 1, 1, 1)
        self._haze = draw.uniform(config.haze, *shape)
        self._dark = draw.log_uniform(config.dark, *shape)
        self._response = draw.uniform(config.response, *shape)
        # The exposure meter looks at the background where the camera does at first.
        margin = (side - max(height, width)) // 2
        metered = self._background[:, :, margin:-margin:5, margin:-margin:5] + self._haze
        self._exposure = exposure_for(metered, draw.uniform(config.mean, *shape), self._response)
        self._objects = self._draw_objects(pictures, count, draw)

    def render(self, path: Tensor) -> Tensor:
        """Return linear light (N, S, H, W), float32, at positions path (N, S); 1 is the background's mean."""
        image = self._sample(self._background, self._background_map(path), "reflection")[:, 0]
        for texture, centre, motion, present in self._objects:
            places = self._object_map(texture, centre, motion, path[present])
            value, alpha = self._sample(texture, places, "zeros").unbind(1)
            image[present] = image[present] * (1 - alpha) + value
        return image.view(*path.shape, self.height, self.width).clamp(min=0) + self._haze

    def log_intensity(self, light: Tensor) -> Tensor:
        """Return the logarithm of the photocurrent that event pixels measure for light (N, S, H, W)."""
        return torch.log(light + self._dark.to(light))

    def expose(self, light: Tensor) -> Tensor:
        """Return the images in [0, 1] that a frame camera takes of light (N, S, H, W)."""
        return (self._exposure.to(light) * light).clamp(0, 1) ** (1 / self._response.to(light))

    def _background_map(self, path: Tensor) -> Tensor:
        """Matrices (N, S, 3, 3): sensor pixel from the centre -> texture coordinates in [-1, 1]."""
        tx, ty, angle, zoom, gx, gy = self._motion.at(path).unbind(-1)
        scale = zoom.exp() * self._texels[:, None]
        cos, sin = scale * angle.cos(), scale * angle.sin()
        tx, ty = tx * self._texels[:, None], ty * self._texels[:, None]
        gx, gy = gx / self._reach, gy / self._reach
        half = self._background.shape[-1] / 2
        one = torch.ones_like(tx)
        rows = (
            ((cos + tx * gx) / half, (-sin + tx * gy) / half, tx / half),
            ((sin + ty * gx) / half, (cos + ty * gy) / half, ty / half),
            (gx, gy, one),
        )
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    @staticmethod
    def _object_map(texture: Tensor, centre: Tensor, motion: Sway, path: Tensor) -> Tensor:
        dx, dy, angle, zoom = motion.at(path).unbind(-1)
        half = texture.shape[-1] / 2
        scale = zoom.exp() / half
        cos, sin = scale * angle.cos(), scale * angle.sin()
        x, y = centre[:, :1] + dx, centre[:, 1:] + dy
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = ((cos, -sin, -cos * x + sin * y), (sin, cos, -sin * x - cos * y), (zero, zero, one))
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    def _sample(self, texture: Tensor, matrices: Tensor, padding: str) -> Tensor:
        """Textures (N, C, h, w) at the places that matrices (N, S, 3, 3) give each pixel -> (N, C, S, H W)."""
        places = matrices @ self._pixels
        places = places[:, :, :2] / places[:, :, 2:]
        return F.grid_sample(texture, places.transpose(2, 3), "bilinear", padding, align_corners=False)

    def _draw_objects(self, pictures: Pictures, count: int, draw: Draw) -> list[tuple[Tensor, Tensor, Sway, Tensor]]:
        """The objects by layer, from the back: texture (premultiplied value, alpha), centre, motion, whose they are."""
        config, generator = self.config, draw.generator
        expected = draw.uniform(config.objects, count) * (self.height * self.width / REFERENCE_PIXELS)
        number = (expected + draw.uniform((0.0, 1.0), count)).floor().long()
        extent = torch.tensor([self.width, self.height], device=generator.device)
        largest = min(config.radius[1], min(self.height, self.width) / 3)
        side = 2 * math.ceil(1.6 * largest)
        axis = torch.arange(side, device=generator.device) - (side - 1) / 2
        layers = []
        for layer in range(int(number.max())):
            present = (number > layer).nonzero()[:, 0]
            n = len(present)
            radius = draw.log_uniform((min(config.radius[0], largest), largest), n)
            alpha = _blob(axis, radius, draw)
            surface = pictures.crops(n, side, generator)
            # A third of the objects are of one colour, as painted shapes are.
            plain = draw.uniform((0.0, 1.0), n, 1, 1)
            surface = torch.where(draw.uniform((0.0, 1.0), n, 1, 1) < 1 / 3, plain, surface)
            surface = surface ** self._encoding[present] / self._mean[present]
            texture = torch.stack((surface * alpha, alpha), 1)
            centre = draw.uniform((-0.5, 0.5), n, 2) * extent
            parts = [draw.log_uniform((4.0, 0.6 * min(self.height, self.width)), n, 2)]
            parts += [draw.uniform(limits, n, 1) for limits in ((0.05, 1.0), (0.03, 0.25))]
            amplitude = torch.cat(parts, 1)
            lever = torch.cat((torch.ones(n, 2, device=generator.device), radius[:, None].expand(n, 2)), 1)
            speed = draw.shares(n, 4) * draw.uniform(config.object_speed, n, 1)
            layers.append((texture, centre, Sway.draw(draw, amplitude, lever, speed), present))
        return layers


def exposure_for(light: Tensor, mean: Tensor, response: Tensor) -> Tensor:
    """Return exposures (N, 1, 1, 1) with which images of light (N, 1, h, w) have the mean brightness (N, 1, 1, 1).

    If no exposure reaches the mean, it is the brightest one tried.
    """
    low, high = torch.full_like(mean, -7.0), torch.full_like(mean, 7.0)
    for _ in range(20):
        middle = (low + high) / 2
        image = (middle.exp() * light).clamp(0, 1) ** (1 / response)
        bright = image.mean((1, 2, 3), keepdim=True) > mean
        low, high = torch.where(bright, low, middle), torch.where(bright, middle, high)
    return low.exp()


def _blob(axis: Tensor, radius: Tensor, draw: Draw) -> Tensor:
    """Alpha (N, side, side) of round or star-like shapes with an edge one pixel wide."""
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle, distance = torch.atan2(y, x), torch.hypot(x, y)
    n = len(radius)
    edge = torch.ones(n, 1, 1, device=axis.device)
    for waves in (2, 3, 5):
        phase = draw.uniform((0.0, 2 * math.pi), n, 1, 1)
        edge = edge + draw.uniform((0.0, 0.45 / waves), n, 1, 1) * torch.cos(waves * angle + phase)
    return (radius[:, None, None] * edge - distance + 0.5).clamp(0, 1)
