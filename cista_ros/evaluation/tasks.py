"""Scores of what images are used for: corners of a calibration target, AprilTags, and tracked features.

Images are stretched between their 1st and 99th percentile and measured as 8-bit images, the camera's frames alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from ..calibration.targets import AprilGrid, Checkerboard, Target, parse_target
from .protocols import EvaluationError

TASKS = {"corners": ("corners_found", "corners_distance"), "tags": ("tags",), "tracks": ("track_length", "orb_inliers")}
NEED_FRAMES = ("corners_distance", "tags")  # have no value without camera frames
FEATURES, LEAST_DISTANCE = 150, 7  # tracked at a time, pixels between them
RETURN = 1.0  # pixels by which a feature may miss its origin when it is tracked back
ASTRAY = 3.0  # pixels by which its motion may differ from that in the camera's frames
TAG_SIDE, TAG_MATCH = 900, 0.25  # pixels to which images are enlarged for tags; distance of equal tags, in sides

Image = np.ndarray
Task = Callable[[Image, "Image | None"], dict[str, float]]  # of an image and its frame: key -> value, nan for none


def task_keys(tasks: Sequence[str], target: Target | None) -> list[str]:
    """Return the scores of tasks. EvaluationError for corners without a target."""
    if "corners" in tasks and target is None:
        raise EvaluationError("the task corners needs the target: --target checkerboard:9x6:0.03, for example")
    return [key for name, keys in TASKS.items() if name in tasks for key in keys]


def make_tasks(keys: Sequence[str], target: str | None) -> list[Task]:
    """Make what measures the scores of one sequence's images (uint8), in order.

    target: text for `parse_target`; needed for corners, and tells the family of the tags.
    """
    board = parse_target(target) if target else None
    make: dict[str, Callable[[], Task]] = {
        "corners": lambda: partial(corners, board),
        "tags": lambda: Tags(board.family if isinstance(board, AprilGrid) else "36h11"),
        "tracks": Tracks,
    }
    return [make[name]() for name, own in TASKS.items() if set(own) & set(keys)]


def corners(target: Target | None, image: Image, truth: Image | None) -> dict[str, float]:
    """Whether the target is found, 0 or 1, and the median distance in pixels of its corners to those in the frame."""
    assert target
    found, distance = target.detect(image), math.nan
    if len(found.ids) and truth is not None:
        known = target.detect(truth)
        where = dict(zip(known.ids.tolist(), known.corners, strict=True))
        orders = [found.ids]
        if isinstance(target, Checkerboard):  # looks the same upside down
            orders.append(len(target.points) - 1 - found.ids)
        for ids in orders:
            pairs = zip(ids.tolist(), found.corners, strict=True)
            distances = [np.linalg.norm(corner - where[i]) for i, corner in pairs if i in where]
            if distances:
                distance = float(np.nanmin((distance, np.median(distances))))
    return {"corners_found": float(len(found.ids) > 0), "corners_distance": distance}


class Tags:
    """Share of the AprilTags in the camera's frame that are also read in the image, at the same place."""

    def __init__(self, family: str) -> None:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_APRILTAG_{family}"))
        self._detectors = []
        for border in (1, 2):  # black bits around the code: of most printers, and of Kalibr
            parameters = cv2.aruco.DetectorParameters()
            parameters.markerBorderBits = border
            parameters.minMarkerPerimeterRate = 0.04
            parameters.adaptiveThreshWinSizeMax = 53
            self._detectors.append(cv2.aruco.ArucoDetector(dictionary, parameters))

    def __call__(self, image: Image, truth: Image | None) -> dict[str, float]:
        if truth is None or not (wanted := self._tags(truth)):
            return {"tags": math.nan}
        found = self._tags(image)
        same = 0
        for number, quad in wanted.items():
            side = np.linalg.norm(quad[0] - quad[2]) / math.sqrt(2)
            same += number in found and np.linalg.norm((found[number] - quad).mean(0)) < TAG_MATCH * side
        return {"tags": same / len(wanted)}

    def _tags(self, image: Image) -> dict[int, Image]:
        """Return number -> corners (4, 2)."""
        scale = max(1, math.ceil(TAG_SIDE / max(image.shape)))
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        best: dict[int, Image] = {}
        for detector in self._detectors:
            quads, numbers, _ = detector.detectMarkers(large)
            if numbers is not None and len(numbers) > len(best):
                best = {int(n): np.reshape(q, (4, 2)) / scale for n, q in zip(numbers.ravel(), quads, strict=True)}
        return best


class Tracks:
    """For how many frames features have been tracked (KLT), on average, and ORB inliers, from image to image.

    A feature is lost if it does not return to its origin when tracked back, or if it moves otherwise than the same
    point in the camera's frames, as fixed patterns do. Lost features are replaced by the strongest new ones. ORB
    matches are inliers if they fit one fundamental matrix (RANSAC).
    """

    def __init__(self) -> None:
        self._before: tuple[Image, Image | None] | None = None
        self._points, self._ages = np.zeros((0, 2), np.float32), np.zeros(0)
        self._orb = cv2.ORB.create(500, scaleFactor=1.2, edgeThreshold=15, patchSize=15, fastThreshold=8)
        self._described: tuple[Image, Image | None] = np.zeros((0, 2)), None

    def __call__(self, image: Image, truth: Image | None) -> dict[str, float]:
        before, self._before = self._before, (image, truth)
        described, self._described = self._described, self._describe(image)
        scores = {"track_length": math.nan, "orb_inliers": math.nan}
        if before is not None:
            self._follow(before, image, truth)
            scores["track_length"] = float(self._ages.sum()) / FEATURES
            scores["orb_inliers"] = float(_inliers(described, self._described))
        self._replace(image)
        return scores

    def _follow(self, before: tuple[Image, Image | None], image: Image, truth: Image | None) -> None:
        """Track all features into the next image; drop those that are lost."""
        if not len(self._points):
            return
        moved, good = _flow(before[0], image, self._points)
        if truth is not None and before[1] is not None:
            expected, known = _flow(before[1], truth, self._points)
            good &= ~known | (np.linalg.norm(moved - expected, axis=1) < ASTRAY)
        self._points, self._ages = moved[good], self._ages[good] + 1

    def _replace(self, image: Image) -> None:
        """Add new features away from the old ones, up to FEATURES."""
        missing = FEATURES - len(self._points)
        free = np.full(image.shape, 255, np.uint8)
        for x, y in self._points:
            cv2.circle(free, (round(float(x)), round(float(y))), LEAST_DISTANCE, (0,), -1)
        new = cv2.goodFeaturesToTrack(image, missing, 0.01, LEAST_DISTANCE, mask=free) if missing > 0 else None
        if new is not None:
            self._points = np.concatenate((self._points, new.reshape(-1, 2)))
            self._ages = np.concatenate((self._ages, np.zeros(len(new))))

    def _describe(self, image: Image) -> tuple[Image, Image | None]:
        keypoints, descriptors = self._orb.detectAndCompute(image, None)
        return np.array([keypoint.pt for keypoint in keypoints], np.float64).reshape(-1, 2), descriptors


def _flow(before: Image, after: Image, points: Image) -> tuple[Image, Image]:
    """Track points (N, 2) by pyramidal Lucas-Kanade; return where they are, and bool (N,): those that also return."""
    track = partial(cv2.calcOpticalFlowPyrLK, winSize=(15, 15), maxLevel=3)
    there, found, _ = track(before, after, points[:, None], np.zeros_like(points[:, None]))
    back, returned, _ = track(after, before, there, np.zeros_like(there))
    height, width = after.shape
    there = there[:, 0]
    inside = ((there >= 0) & (there <= (width - 1, height - 1))).all(1)
    error = np.linalg.norm(back[:, 0] - points, axis=1)
    return there, (found.ravel() > 0) & (returned.ravel() > 0) & inside & (error < RETURN)


def _inliers(before: tuple[Image, Image | None], after: tuple[Image, Image | None]) -> int:
    """Return how many ORB features match each other and fit one fundamental matrix."""
    if before[1] is None or after[1] is None:
        return 0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(before[1], after[1])
    if len(matches) < 8:
        return 0
    old, new = before[0][[m.queryIdx for m in matches]], after[0][[m.trainIdx for m in matches]]
    matrix, kept = cv2.findFundamentalMat(old, new, cv2.FM_RANSAC, 1.0, 0.99)
    return 0 if matrix is None or kept is None else int(kept.sum())
