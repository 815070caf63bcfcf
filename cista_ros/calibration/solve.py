"""Views of a target in, a calibrated camera out: OpenCV's solvers, outliers rejected, uncertainty, what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import CistaError
from .targets import LEAST_CORNERS, Target
from .views import View, select

INTRINSICS = ("fx", "fy", "cx", "cy")
MODELS = {  # distortion coefficients, in the order of sensor_msgs/CameraInfo
    "plumb_bob": ("k1", "k2", "p1", "p2", "k3"),
    "rational_polynomial": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "equidistant": ("k1", "k2", "k3", "k4"),
}
LEAST_VIEWS = 6
MOST_VIEWS = 150  # of a fisheye take 5 s to solve; the errors of 60 are half as large again
_MOST_UNSURE = 0.02  # relative standard deviation of the focal length that is called a failure
_PASSES = 5
_BOTH = cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER
_CRITERIA = _BOTH, 200, 1e-8  # of the fisheye solver
# Steps of the other solver; the best result counts, because OpenCV may return a step that it has rejected. With many
# more steps, coefficients of rational_polynomial that compensate each other grow without bound, and so do errors.
_STEPS = 29, 30, 31


class ViewsError(CistaError):
    """Views that do not suffice to calibrate a camera."""


@dataclass(frozen=True)
class Calibration:
    """A calibrated camera and the views it comes from.

    Attributes:
        model: one of MODELS.
        height, width: of the image in pixels.
        matrix: camera matrix (3, 3); the centre of the first pixel is (0, 0).
        distortion: coefficients (D,) in the order of MODELS.
        sigma: standard deviations of INTRINSICS and the coefficients (4 + D,), if corners err independently.
        views: the views used, with outlying corners removed.
        poses: rotation vector and translation in metres of the board, (N, 6).
        residuals: of each view (K, 2) in pixels, found minus projected.
        rejected: number of views left out as outliers.
    """

    model: str
    height: int
    width: int
    matrix: np.ndarray
    distortion: np.ndarray
    sigma: np.ndarray
    views: list[View]
    poses: np.ndarray
    residuals: list[np.ndarray]
    rejected: int

    @property
    def parameters(self) -> dict[str, tuple[float, float]]:
        """Value and standard deviation of the INTRINSICS and the coefficients of the model, by name."""
        names = INTRINSICS + MODELS[self.model]
        values = np.concatenate((self.matrix[[0, 1, 0, 1], [0, 1, 2, 2]], self.distortion))
        return dict(zip(names, zip(values.tolist(), self.sigma.tolist(), strict=True), strict=True))

    @property
    def rms(self) -> float:
        """Root mean square of the distances between corners and their projections, in pixels."""
        return float(np.sqrt((np.concatenate(self.residuals) ** 2).sum(1).mean()))

    @property
    def view_rms(self) -> np.ndarray:
        """The same for each view (N,)."""
        return np.array([np.sqrt((r**2).sum(1).mean()) for r in self.residuals])

    @property
    def tilts(self) -> np.ndarray:
        """Angles (N,) in degrees between the board's normal and the optical axis."""
        normals = np.array([cv2.Rodrigues(pose[:3])[0][:, 2] for pose in self.poses])
        return np.asarray(np.degrees(np.arccos(np.clip(np.abs(normals[:, 2]), 0, 1))))


def calibrate(views: list[View], target: Target, height: int, width: int, model: str = "plumb_bob") -> Calibration:
    """Calibrate a camera: select views that differ, solve, reject outliers, repeat.

    Args:
        views: of `target` in images of height x width pixels.
        model: one of MODELS. The sixth-order coefficient k3 of plumb_bob is 0, as in Kalibr's radtan.
    Raises:
        ViewsError: too few views, or all from about the same direction.
    """
    usable = [view for view in views if len(view.ids) >= LEAST_CORNERS]
    views = select(usable, height, width, MOST_VIEWS)
    if len(views) < LEAST_VIEWS:
        raise ViewsError(
            f"only {len(views)} different views of {target}, from {len(usable)} images with it; expected at least"
            f" {LEAST_VIEWS}: move the board through the image, closer and further, and tilt it"
        )
    given = len(views)
    for _ in range(_PASSES):
        result = _solve(views, target, height, width, model, given)
        kept = _without_outliers(result)
        if [len(view.ids) for view in kept] == [len(view.ids) for view in views]:
            break
        if len(kept) < LEAST_VIEWS:
            raise ViewsError(
                f"only {len(kept)} of {given} views of {target} fit a {model} lens: is the board flat, and its size"
                " right?"
            )
        views = kept
    if model == "equidistant" and not result.distortion[2:].any():
        raise ViewsError(f"the {len(views)} views do not determine the {model} lens: some corners are far wrong")
    unsure = result.sigma[:2].max() / result.matrix[0, 0]
    if not unsure <= _MOST_UNSURE:
        raise ViewsError(
            f"the {len(views)} views of {target} are too similar: the focal length is known only to"
            f" {100 * unsure:.1f} %; tilt the board by 20 to 45 degrees, to all sides, and fill the image with it"
        )
    return result


def missing(result: Calibration) -> list[str]:
    """Return in plain words what the views lack, such as `no corner near the right edge`."""
    corners = np.concatenate([view.corners for view in result.views])
    x, y = corners[:, 0] / result.width, corners[:, 1] / result.height
    edge = 0.15
    near = {"left": x < edge, "right": x > 1 - edge, "upper": y < edge, "lower": y > 1 - edge}
    enough = 0.01 * len(corners)
    said = [f"no view of the target near the {side} edge" for side, there in near.items() if there.sum() < enough]
    for vertical in ("upper", "lower"):
        for horizontal in ("left", "right"):
            both = near[vertical] & near[horizontal]
            if not both.any() and near[vertical].any() and near[horizontal].any():
                said.append(f"no view of the target in the {vertical} {horizontal} corner")
    if (result.tilts > 20).sum() < 4:
        said.append("few tilted views: tilt the target by 20 to 45 degrees to all sides")
    sizes = [np.sqrt(np.prod(np.ptp(view.outline, axis=0)) / (result.width * result.height)) for view in result.views]
    if max(sizes) < 0.5:
        said.append("the target is small in all views: bring it closer")
    if len(result.views) < 15:
        said.append(f"only {len(result.views)} views; 20 or more give a better average")
    if result.rms > 0.5:
        said.append(
            f"the residual of {result.rms:.2f} px is high: move slower, in better light; check the target's size"
        )
    return said


def _solve(views: list[View], target: Target, height: int, width: int, model: str, given: int) -> Calibration:
    points = [target.points[view.ids].astype(np.float32).reshape(-1, 1, 3) for view in views]
    corners = [view.corners.astype(np.float32).reshape(-1, 1, 2) for view in views]
    size = (width, height)
    try:
        if model == "equidistant":
            solutions = [_fisheye(points, corners, size)]
        else:
            flags = cv2.CALIB_FIX_K3 if model == "plumb_bob" else cv2.CALIB_RATIONAL_MODEL
            solutions = [
                cv2.calibrateCamera(points, corners, size, None, None, flags=flags, criteria=(_BOTH, steps, 2e-16))[1:]
                for steps in _STEPS
            ]
    except cv2.error as error:
        raise ViewsError(
            f"the {len(views)} views do not determine the {model} lens ({' '.join(str(error.err).split())})"
        ) from None
    results = []
    for matrix, distortion, turns, shifts in solutions:
        distortion = np.ravel(distortion)[: len(MODELS[model])]
        poses = np.array([np.concatenate((np.ravel(r), np.ravel(t))) for r, t in zip(turns, shifts, strict=True)])
        if np.isfinite(matrix).all() and np.isfinite(distortion).all():
            residuals, sigma = _residuals(points, corners, poses, matrix, distortion, model)
            rejected = given - len(views)
            results.append(
                Calibration(model, height, width, matrix, distortion, sigma, views, poses, residuals, rejected)
            )
    if not results:
        raise ViewsError(f"the {len(views)} views do not determine the {model} lens")
    return min(results, key=lambda result: result.rms)


def _fisheye(points: list[np.ndarray], corners: list[np.ndarray], size: tuple[int, int]) -> tuple:
    """Run OpenCV's solver from several focal lengths, as it finds only near optima; return the best.

    Wrong corners can make each diverge. A lens with two coefficients (the others are 0) then shows which they are.
    """
    best: tuple = (np.inf,)
    failed: cv2.error | None = None
    flags = cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC | cv2.fisheye.CALIB_FIX_SKEW | cv2.fisheye.CALIB_USE_INTRINSIC_GUESS
    objects, images = ([array.astype(np.float64) for array in arrays] for arrays in (points, corners))
    for fixed in (0, cv2.fisheye.CALIB_FIX_K3 | cv2.fisheye.CALIB_FIX_K4):
        for focal in (0.35 * size[0], 0.55 * size[0], 0.9 * size[0]):
            guess = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
            try:
                found = cv2.fisheye.calibrate(
                    objects, images, size, guess, np.zeros(4), flags=flags | fixed, criteria=_CRITERIA
                )
            except cv2.error as error:
                failed = error
                continue
            if found[0] < best[0]:
                best = found
        if len(best) > 1:
            return best[1:]
    assert failed is not None
    raise failed


def project(points: np.ndarray, pose: np.ndarray, matrix: np.ndarray, distortion: np.ndarray, model: str) -> tuple:
    """Project points (K, 3) -> pixels (K, 2), and their derivatives (2 K, ...) with respect to the parameters.

    The columns are fx, fy, cx, cy, the coefficients, and the six of the pose.
    """
    objects = np.asarray(points, np.float64).reshape(-1, 1, 3)
    if model == "equidistant":
        pixels, jacobian = cv2.fisheye.projectPoints(objects, pose[:3], pose[3:], matrix, distortion)
        return pixels.reshape(-1, 2), jacobian[:, :14]
    pixels, jacobian = cv2.projectPoints(objects, pose[:3], pose[3:], matrix, distortion)
    return pixels.reshape(-1, 2), np.hstack((jacobian[:, 6:], jacobian[:, :6]))


def _residuals(points: list, corners: list, poses: np.ndarray, matrix: np.ndarray, distortion: np.ndarray, model: str):
    """Return the residuals of each view, and standard deviations by the inverse of the normal matrix."""
    free = 4 + len(distortion)
    fixed = [8] if model == "plumb_bob" else []
    inner = [i for i in range(free) if i not in fixed]
    normal = np.zeros((len(inner), len(inner)))
    residuals = []
    for objects, image, pose in zip(points, corners, poses, strict=True):
        pixels, jacobian = project(objects, pose, matrix, distortion, model)
        residuals.append(image.reshape(-1, 2) - pixels)
        a, b = jacobian[:, inner], jacobian[:, free : free + 6]
        # The pose is eliminated (Schur complement).
        normal += a.T @ a - a.T @ b @ np.linalg.pinv(b.T @ b) @ b.T @ a
    count = 2 * sum(map(len, residuals)) - len(inner) - 6 * len(poses)
    variance = sum((r**2).sum() for r in residuals) / max(count, 1)
    sigma = np.zeros(free)
    sigma[inner] = np.sqrt(np.maximum(np.diag(np.linalg.pinv(normal, hermitian=True)), 0) * variance)
    return residuals, sigma


def _without_outliers(result: Calibration) -> list[View]:
    """Return the views without those, and without the corners, that err much more than the others."""
    lengths = [np.linalg.norm(residuals, axis=1) for residuals in result.residuals]
    far = max(2.5 * float(np.median(np.concatenate(lengths))), 0.2)
    medians = np.array([np.median(length) for length in lengths])  # one wrong corner does not spoil a view
    worst = max(1.5 * float(np.median(medians)), 0.1)
    kept = []
    for view, median, length in zip(result.views, medians, lengths, strict=True):
        good = length <= far
        if median <= worst and good.sum() >= max(LEAST_CORNERS, 0.5 * len(good)):
            kept.append(view.only(good))
    return kept
