"""Images of a target: search them for it, and keep what is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from ..events import NS
from ..tone_map import RobustStretch, clahe, to_mono8
from ..util.drawing import write_png
from .sizes import fitting_size
from .targets import Checkerboard, Target, TargetError

SETTLE_S = 0.25  # of each stream: before, the network has not seen enough, and its images are not searched
STILL = 0.5  # mean grey levels between two images of a scene that does not move
MOST_VIEWS, KEPT_VIEWS = 400, 200  # with more views, only those that differ most are kept
_KEPT = 4  # images without the target that are kept, to show them


@dataclass
class Schedule:
    """Chooses the images of a stream that are searched: none while the network settles, then `rate` per second.

    Attributes:
        settle_s: seconds from the first image, and from one whose stamp goes back, which begins a new stream.
    """

    rate: float
    settle_s: float = SETTLE_S
    _latest: int | None = None
    _due: int = 0

    def __call__(self, stamp: int) -> bool:
        """Return whether the image with this stamp in nanoseconds is due."""
        if self._latest is None or stamp < self._latest:
            self._due = stamp + round(self.settle_s * NS)
        self._latest = stamp
        if stamp < self._due:
            return False
        self._due = stamp + round(0.99 * NS / self.rate)
        return True


@dataclass(frozen=True)
class View:
    """What was found of the target in one image.

    Attributes:
        stamp: of the image, in nanoseconds.
        ids, corners: as in Detection: (K,) and (K, 2).
        outline: the four corners of the whole board (4, 2) in pixels, by a homography.
        image: uint8 (H, W), as searched.
    """

    stamp: int
    ids: np.ndarray
    corners: np.ndarray
    outline: np.ndarray
    image: np.ndarray

    def only(self, kept: np.ndarray) -> View:
        """Return the view with only some of its points, by a mask (K,)."""
        return replace(self, ids=self.ids[kept], corners=self.corners[kept])


@dataclass
class Search:
    """Searches images for a target; keeps the views that differ most, and the sharpest images without the target.

    Attributes:
        searched, found: number of images searched, and of those with the target.
    """

    target: Target
    views: list[View] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)
    searched: int = 0
    found: int = 0
    without: list[tuple[float, np.ndarray]] = field(default_factory=list)
    _last: np.ndarray | None = None

    def look(self, stamp: int, image: np.ndarray) -> View | None:
        """Search an image uint8 (H, W), unless nothing has moved since the last; return what is found as a view.

        Raises:
            TargetError: the image has another size than those before.
        """
        if self._last is not None and image.shape != self.shape:
            (height, width), before = image.shape, f"{self.shape[1]}x{self.shape[0]}"
            raise TargetError(f"the size of the images changes from {before} to {width}x{height} pixels")
        if self._last is not None and cv2.absdiff(self._last, image).mean() < STILL:
            return None
        self._last, self.shape = image, (image.shape[0], image.shape[1])
        self.searched += 1
        for grey in renditions(image):
            detection = self.target.detect(grey)
            if len(detection.ids):
                outline = outline_of(self.target, *detection)
                self.views.append(view := View(stamp, *detection, outline, grey))
                self.found += 1
                if len(self.views) > MOST_VIEWS:
                    self.views = select(self.views, *self.shape, most=KEPT_VIEWS)
                return view
        contrast = float(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1), cv2.CV_32F).std())
        self.without = sorted([*self.without, (contrast, grey)], key=lambda pair: -pair[0])[:_KEPT]
        return None

    def require_views(self, sheet: Path) -> None:
        """Raise TargetError if no view was found, or tags show that the board has another size.

        Args:
            sheet: PNG file to write with the sharpest images if there is no view.
        """
        if self.views:
            some = self.views[:: -(-len(self.views) // 8)]
            if not isinstance(self.target, Checkerboard) and (
                found := fitting_size(self.target, [view.image for view in some])
            ):
                raise TargetError(f"the tags are not those of {self.target}: {found} fits")
            return
        if not self.searched:
            raise TargetError("no image to search: the recording is shorter than 0.3 s, or nothing moves in it")
        images = [image for _, image in self.without]
        found = fitting_size(self.target, images)
        hint = f"; {found} fits: is the size right?" if found else ""
        row = cv2.copyMakeBorder(np.hstack(images), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=255)
        write_png(sheet, row)
        raise TargetError(
            f"{self.target} is in none of the {self.searched} images searched, at two contrasts, two scales and two"
            f" blurs{hint}; the sharpest images are in {sheet}"
        )


def select(views: list[View], height: int, width: int, most: int) -> list[View]:
    """Return at most `most` views that differ in place, size, tilt and roll, the most different first.

    Views closer than 0.5 % of the image's diagonal to one already chosen are left out: they add no direction, and the
    same image twice does not average its errors.
    """
    if not views:
        return []
    scale = np.hypot(height, width)
    outlines = np.array([view.outline.ravel() for view in views]) / scale
    chosen = [int(np.argmax([len(view.ids) for view in views]))]
    nearest = np.full(len(views), np.inf)
    while len(chosen) < min(most, len(views)):
        # The largest distance between the same corners of two outlines covers place, size, tilt and roll.
        apart = np.linalg.norm((outlines - outlines[chosen[-1]]).reshape(len(views), -1, 2), axis=2).max(1)
        nearest = np.minimum(nearest, apart)
        if nearest.max() < 0.005:
            break
        chosen.append(int(nearest.argmax()))
    return [views[i] for i in chosen]


def renditions(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield ways to show an image uint8 (H, W): stretched between percentiles, and locally equalised."""
    stretched = RobustStretch()(image / np.float32(255))
    yield to_mono8(stretched)
    yield to_mono8(clahe(stretched))


def outline_of(target: Target, ids: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return where the four outermost points of a target are (4, 2), by a homography through those found."""
    plane = target.plane
    homography, _ = cv2.findHomography(plane[ids], corners.astype(np.float32))
    (left, top), (right, bottom) = plane.min(0), plane.max(0)
    outline = np.array([[(left, top), (right, top), (right, bottom), (left, bottom)]], np.float32)
    return np.asarray(cv2.perspectiveTransform(outline, homography)[0])
