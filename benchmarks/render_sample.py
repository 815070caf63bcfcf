"""Draw the pictures of the sample recording: a landscape with a house, balls, and words.

    python benchmarks/render_sample.py FOLDER

They are computed from formulas only, and are the same at every run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 440, 600
FONT = cv2.FONT_HERSHEY_DUPLEX


def landscape(rng: np.random.Generator) -> np.ndarray:
    """Sky, sun, hills, a brick house with windows, trees and a fence; float32 (H, W) in [0, 255]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    image = 235 - 0.25 * y
    image[np.hypot(x - 470, y - 80) < 38] = 255
    for base, height, grey in ((200, 60, 170), (250, 45, 130), (300, 25, 100)):
        waves = sum(rng.uniform(0.3, 1) / k * np.sin(k * x[0] / 60 + rng.uniform(0, 6)) for k in (1, 2, 3, 5))
        image = np.where(y > base - height * waves / 2, grey - 0.1 * (y - base), image)
    wall = (x > 190) & (x < 400) & (y > 190) & (y < 350)
    row = (y // 14).astype(int)
    mortar = (y % 14 < 2) | ((x + 14 * (row % 2)) % 28 < 2)
    image = np.where(wall, np.where(mortar, 190, 105 + 12 * (row % 3)), image)
    image = cv2.fillPoly(image, [np.array([[170, 194], [295, 105], [420, 194]])], 55, cv2.LINE_AA)
    for left in (215, 340):
        cv2.rectangle(image, (left, 225), (left + 38, 270), 20, -1)
        cv2.rectangle(image, (left, 225), (left + 38, 270), 240, 3)
        cv2.line(image, (left + 19, 225), (left + 19, 270), 240, 3)
        cv2.line(image, (left, 247), (left + 38, 247), 240, 3)
    cv2.rectangle(image, (280, 275), (320, 350), 35, -1)
    cv2.circle(image, (313, 315), 3, 230, -1, cv2.LINE_AA)
    for trunk, size in ((90, 1.0), (510, 0.8), (560, 1.2)):
        cv2.rectangle(image, (trunk - 6, 290), (trunk + 6, 360), 45, -1)
        for dx, dy, radius in ((0, -55, 38), (-26, -25, 30), (26, -25, 30), (0, -10, 34)):
            centre = (round(trunk + size * dx), round(290 + size * dy))
            cv2.circle(image, centre, round(size * radius), 70 + dy / 2, -1, cv2.LINE_AA)
    for post in range(10, WIDTH, 32):
        cv2.rectangle(image, (post, 365), (post + 8, 415), 215, -1)
    cv2.rectangle(image, (0, 378), (WIDTH, 386), 215, -1)
    cv2.putText(image, "CISTA", (236, 178), FONT, 1.1, 235, 3, cv2.LINE_AA)
    return image


def balls(rng: np.random.Generator) -> np.ndarray:
    """Shaded spheres on a checkered floor."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    image = np.where((x // 40 + y // 40) % 2 == 0, 60.0, 190.0).astype(np.float32)
    for _ in range(12):
        cx, cy, radius = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(35, 80)
        dx, dy = (x - cx) / radius, (y - cy) / radius
        depth = np.sqrt(np.clip(1 - dx**2 - dy**2, 0, None))
        shade = 30 + rng.uniform(120, 220) * np.clip(0.5 * depth - 0.5 * dx - 0.6 * dy, 0, 1)
        image = np.where(dx**2 + dy**2 < 1, shade, image)
    return image


def words(rng: np.random.Generator) -> np.ndarray:
    """Lines of large letters, light and dark."""
    image = np.full((HEIGHT, WIDTH), 120, np.float32)
    for line in range(60, HEIGHT + 60, 62):
        text = "".join(rng.choice(list("EVENTSTOIMAGES+#"), 18))
        cv2.putText(image, text, (-20, line), FONT, 2.2, float(rng.choice([15, 60, 225, 250])), 5, cv2.LINE_AA)
    return image


def main(folder: Path) -> None:
    """Write the pictures as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2022)
    for name, draw in (("landscape", landscape), ("balls", balls), ("words", words)):
        path = folder / f"{name}.png"
        if not cv2.imwrite(str(path), np.clip(draw(rng), 0, 255).round().astype(np.uint8)):
            raise OSError(f"{path} could not be written")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
