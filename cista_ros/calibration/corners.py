"""What is found of a target in an image: tags, and corners refined to a fraction of a pixel."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt


class Detection(NamedTuple):
    """Points of the target in an image: their indices (N,) into Target.points, and where they are, float32 (N, 2)."""

    ids: npt.NDArray[np.int64]
    corners: npt.NDArray[np.float32]


NOTHING = Detection(np.zeros(0, np.int64), np.zeros((0, 2), np.float32))


def refine(image: np.ndarray, found: Detection, plane: np.ndarray, clear: float, scale: int) -> Detection:
    """Move each corner to the saddle point beside it; drop those without one, and those on the border.

    Args:
        image: uint8 (H, W), enlarged by `scale`.
        plane: the target's points (N, 2) in metres.
        clear: distance around a corner that shows nothing else, as a share of the distance between corners.
    """
    spacing = _spacing(found)
    half = int(np.clip(clear * spacing, 2 * scale, 5 * scale + 2))
    corners = found.corners.reshape(-1, 1, 2).astype(np.float32)
    height, width = image.shape
    inside = ((corners >= half + 1) & (corners < np.array([width, height]) - half - 1)).all((1, 2))
    if not inside.any():
        return NOTHING
    ids, corners = found.ids[inside], corners[inside]
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 60, 0.003)
    refined = cv2.cornerSubPix(image, corners.copy(), (half, half), (-1, -1), criteria)
    keep = np.linalg.norm(refined - corners, axis=2)[:, 0] <= max(2.0 * scale, 0.25 * spacing)
    refined = refined[:, 0][keep]
    return _consistent(Detection(ids[keep], refined), plane, spacing)


def complete(image: np.ndarray, found: Detection, plane: np.ndarray, reach: float) -> Detection:
    """Add the corners of tags that could not be read in an image (H, W), where the others put them.

    Args:
        plane: the target's points (N, 2) in metres.
        reach: distance in metres from a corner found within which others are added.
    """
    homography, _ = cv2.findHomography(plane[found.ids], found.corners, cv2.RANSAC, 6.0)
    if homography is None:
        return NOTHING
    corners = cv2.perspectiveTransform(plane[:, None], homography)[:, 0]
    # A lens bends the board: correct the prediction by the error at the nearest corner found.
    nearest = np.linalg.norm(plane[:, None] - plane[found.ids][None], axis=2).argmin(1)
    corners += (found.corners - corners[found.ids])[nearest]
    corners[found.ids] = found.corners
    near = np.linalg.norm(plane - plane[found.ids[nearest]], axis=1) <= reach
    height, width = image.shape
    inside = ((corners > 2) & (corners < np.array([width, height]) - 3)).all(1)
    ids = np.flatnonzero(near & inside)
    return Detection(ids, corners[ids].astype(np.float32))


def _consistent(found: Detection, plane: np.ndarray, spacing: float) -> Detection:
    """Drop corners that do not lie where their neighbours put them: lenses bend a board, but smoothly."""
    if len(found.ids) < 5:
        return NOTHING
    homography, kept = cv2.findHomography(plane[found.ids], found.corners, cv2.RANSAC, max(3.0, 0.3 * spacing))
    if homography is None or not kept.any():
        return NOTHING
    good = kept[:, 0].astype(bool)
    return Detection(found.ids[good], found.corners[good])


def _spacing(found: Detection) -> float:
    """Return the median distance in pixels from a found point to the nearest other one."""
    differences = found.corners[:, None] - found.corners[None]
    distances = np.hypot(differences[..., 0], differences[..., 1])
    return float(np.median(np.partition(distances, 1, axis=1)[:, 1])) if len(distances) > 1 else 8.0


def find_tags(dictionary: cv2.aruco.Dictionary, image: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (N, 4, 2) and ids (N,) of markers whose black border is `border` bits wide."""
    parameters = detector_parameters(image)
    parameters.markerBorderBits = border
    quads, numbers, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(image)
    found = [] if numbers is None else numbers
    return np.asarray(quads, np.float32).reshape(-1, 4, 2), np.asarray(found, np.int64).ravel()


def detector_parameters(image: np.ndarray) -> cv2.aruco.DetectorParameters:
    """Return OpenCV's parameters for small tags with squares beside them, in an image (H, W)."""
    parameters = cv2.aruco.DetectorParameters()
    # Windows wider than the gap between tags join a tag and the squares beside it.
    parameters.adaptiveThreshWinSizeMin, parameters.adaptiveThreshWinSizeMax = 5, 53
    parameters.adaptiveThreshWinSizeStep, parameters.adaptiveThreshConstant = 6, 10
    parameters.minMarkerPerimeterRate = 60 / max(image.shape)
    parameters.errorCorrectionRate = 0.8
    parameters.perspectiveRemovePixelPerCell = 6
    parameters.maxErroneousBitsInBorderRate = 0.4
    parameters.polygonalApproxAccuracyRate = 0.06
    return parameters
