"""Calibration targets: checkerboard, AprilGrid and ChArUco. Their points, their image, and how to detect them.

A board has coordinates in metres: x to the right, y down, from the top left corner of its image, white margin
included. Pixel coordinates have integers at pixel centres, as in OpenCV.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from ..errors import CistaError
from .corners import NOTHING, Detection, complete, detector_parameters, find_tags, refine

SYNTAX = (
    "checkerboard:COLUMNSxROWS:SQUARE (inner corners), aprilgrid:COLUMNSxROWS:TAG:SPACING[:FAMILY], "
    "charuco:COLUMNSxROWS:SQUARE:MARKER[:DICTIONARY] (sizes in metres), or Kalibr's YAML file of a target"
)
LEAST_CORNERS = 8  # of a view: a homography takes 4; more average the noise
# Sides of the image in which corners are searched: tags and squares of few pixels are found only if enlarged.
_SIDES = (800, 1200)
_SIGMAS = (0.0, 1.0)  # of blur, in sensor pixels
_FAMILIES = {"36h11": 2, "25h9": 2, "16h5": 2}  # AprilTag family: black bits around the code, as Kalibr prints them


class TargetError(CistaError):
    """A target that is described wrongly, or not found."""


@dataclass(frozen=True)
class Target(ABC):
    """A flat board with columns x rows of something.

    Attributes:
        columns, rows: of inner corners (checkerboard), tags (AprilGrid) or squares (ChArUco).
        square: side of a square or tag in metres.
    """

    columns: int
    rows: int
    square: float

    def __post_init__(self) -> None:
        if not (2 <= self.columns <= 100 and 2 <= self.rows <= 100):
            raise TargetError(f"{self}: expected 2 to 100 columns and rows")
        if not 1e-4 <= self.square <= 100:
            raise TargetError(f"{self}: expected a size of 0.0001 to 100 m")

    @property
    @abstractmethod
    def points(self) -> np.ndarray:
        """The points (N, 3) in metres, z = 0, in the order of the ids."""

    @property
    def plane(self) -> npt.NDArray[np.float32]:
        """The points without z, float32 (N, 2)."""
        return self.points[:, :2].astype(np.float32)

    @property
    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height of the board's image in metres, with its white margin."""

    @property
    def _clear(self) -> float:
        """The distance around a corner that shows nothing else, as a share of the distance between corners."""
        return 0.4

    @abstractmethod
    def _paint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return where the board is black, (H, W), for coordinates x (W,) and y (H,) in metres."""

    @abstractmethod
    def _search(self, image: np.ndarray) -> Detection:
        """Find the points in an image uint8 (H, W), to about a pixel."""

    def image(self, pixels_per_metre: float, samples: int = 4) -> npt.NDArray[np.uint8]:
        """Return the board as an image uint8 (H, W), 0 black and 255 white, antialiased with samples x samples.

        The board's point (x, y) is at the pixel coordinates (x, y) * pixels_per_metre - 0.5.
        """
        width, height = (round(side * pixels_per_metre) for side in self.size)
        x, y = ((np.arange(n * samples) + 0.5) / (samples * pixels_per_metre) for n in (width, height))
        white = 255 * (1 - self._paint(x, y).astype(np.float32))
        return np.asarray(np.rint(white.reshape(height, samples, width, samples).mean((1, 3))), np.uint8)

    def detect(self, image: np.ndarray) -> Detection:
        """Find the target in an image uint8 (H, W), with sub-pixel corners; no corners if it is not there."""
        best, plane = NOTHING, self.plane
        for sigma, side in itertools.product(_SIGMAS, _SIDES):
            smooth = cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image
            scale = max(1, math.ceil(side / max(image.shape)))
            large = cv2.resize(smooth, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            found = self._search(large)
            if len(found.ids) < max(4, len(best.ids) + 1):
                continue
            found = refine(large, found, plane, self._clear, scale)
            if len(found.ids) > len(best.ids):
                best = Detection(found.ids, ((found.corners + 0.5) / scale - 0.5).astype(np.float32))
            if 3 * len(best.ids) >= 2 * len(plane):
                break
        return best if len(best.ids) >= LEAST_CORNERS else NOTHING


@dataclass(frozen=True)
class Checkerboard(Target):
    """A checkerboard: columns x rows are its inner corners, counted from the top left."""

    def __str__(self) -> str:
        return f"checkerboard:{self.columns}x{self.rows}:{self.square:g}"

    @property
    def points(self) -> np.ndarray:
        return _lattice(np.arange(self.columns) + 2.0, np.arange(self.rows) + 2.0) * self.square

    @property
    def size(self) -> tuple[float, float]:
        return (self.columns + 3) * self.square, (self.rows + 3) * self.square

    def _paint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        column, row = np.floor(x / self.square).astype(int) - 1, np.floor(y / self.square).astype(int)[:, None] - 1
        inside = (column >= 0) & (column <= self.columns) & (row >= 0) & (row <= self.rows)
        return np.asarray(inside & ((column + row) % 2 == 0))

    def _search(self, image: np.ndarray) -> Detection:
        # CALIB_CB_NORMALIZE_IMAGE equalises the histogram, which hides small boards on large flat walls.
        ok, corners = cv2.findChessboardCornersSB(image, (self.columns, self.rows), flags=cv2.CALIB_CB_EXHAUSTIVE)
        if not ok:
            return NOTHING
        lattice = corners.reshape(self.rows, self.columns, 2)
        right, down = lattice[0, -1] - lattice[0, 0], lattice[-1, 0] - lattice[0, 0]
        if right[0] * down[1] < right[1] * down[0]:  # mirrored: a board is not seen from behind
            lattice = lattice[:, ::-1]
        return Detection(np.arange(self.columns * self.rows), lattice.reshape(-1, 2).astype(np.float32))


@dataclass(frozen=True)
class AprilGrid(Target):
    """Kalibr's grid of AprilTags with black squares between them, so that each tag corner is a saddle point.

    Tags and points are counted from the bottom left, as Kalibr does.

    Attributes:
        spacing: space between tags as a share of the tag's side.
        family: of AprilTags.
    """

    spacing: float
    family: str = "36h11"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.spacing <= 1:
            raise TargetError(f"{self}: expected a spacing of up to 1, as a share of the tag's side")
        if self.family not in _FAMILIES:
            raise TargetError(f"{self}: tag family {self.family!r} is not one of {', '.join(_FAMILIES)}")
        if self.columns * self.rows > len(self._dictionary.bytesList):
            raise TargetError(f"{self}: family {self.family} has {len(self._dictionary.bytesList)} tags")

    def __str__(self) -> str:
        family = "" if self.family == "36h11" else f":{self.family}"
        return f"aprilgrid:{self.columns}x{self.rows}:{self.square:g}:{self.spacing:g}{family}"

    @property
    def _dictionary(self) -> cv2.aruco.Dictionary:
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_APRILTAG_{self.family}"))

    @property
    def _pitch(self) -> float:
        return self.square * (1 + self.spacing)

    @property
    def _margin(self) -> float:
        return 2 * self.square * self.spacing

    @property
    def size(self) -> tuple[float, float]:
        rest = 2 * self._margin - self.square * self.spacing
        return self.columns * self._pitch + rest, self.rows * self._pitch + rest

    @property
    def points(self) -> np.ndarray:
        x, y = (
            self._margin + (np.arange(n)[:, None] * self._pitch + np.array([0, self.square])).ravel()
            for n in (self.columns, self.rows)
        )
        return _lattice(x, y[::-1])

    def _paint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        gap, tag = self.square * self.spacing, self.square
        column, row = (np.floor((v - self._margin + gap) / self._pitch).astype(int) for v in (x, y))
        u, v = (w - self._margin + gap - n * self._pitch - gap for w, n in ((x, column), (y, row)))
        # From `gap` before a tag on: a black square where both are in the gap, also after the last tag.
        on_grid = ((column >= 0) & (column <= self.columns)) & ((row >= 0) & (row <= self.rows))[:, None]
        black = on_grid & (u < 0) & (v < 0)[:, None]
        border = _FAMILIES[self.family]
        bits = self._dictionary.markerSize + 2 * border
        for number in range(self.columns * self.rows):
            r, c = divmod(number, self.columns)
            rows = np.flatnonzero((row == self.rows - 1 - r) & (v >= 0))
            columns = np.flatnonzero((column == c) & (u >= 0))
            # Kalibr prints the code upside down with respect to OpenCV's dictionary.
            marker = self._dictionary.generateImageMarker(number, bits, borderBits=border)[::-1, ::-1] == 0
            i, j = (np.minimum((w / tag * bits).astype(int), bits - 1) for w in (v[rows], u[columns]))
            black[np.ix_(rows, columns)] = marker[np.ix_(i, j)]
        return black

    def tags(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tags in an image uint8 (H, W): corners (N, 4, 2) clockwise from OpenCV's first, and ids (N,)."""
        best = find_tags(self._dictionary, image, _FAMILIES[self.family])
        if len(best[1]) <= self.columns * self.rows // 4:
            # Other programs print AprilTags with one black bit around them.
            best = max(best, find_tags(self._dictionary, image, 1), key=lambda found: len(found[1]))
        return best

    def _search(self, image: np.ndarray) -> Detection:
        quads, numbers = self.tags(image)
        known = numbers < self.columns * self.rows
        if known.sum() < 2:
            return NOTHING
        row, column = np.divmod(numbers[known], self.columns)
        first = 4 * row * self.columns + 2 * column  # the tag's bottom left corner
        # OpenCV's order is clockwise from its top left, which is Kalibr's bottom right.
        offsets = np.array([1, 0, 2 * self.columns, 2 * self.columns + 1])
        ids, where = np.unique((first[:, None] + offsets).ravel(), return_index=True)
        found = Detection(ids, quads[known].reshape(-1, 2)[where])
        return complete(image, found, self.plane, 1.5 * self._pitch)


@dataclass(frozen=True)
class Charuco(Target):
    """OpenCV's ChArUco board: columns x rows squares, with ArUco markers in the white ones.

    Attributes:
        marker: side of a marker in metres.
        dictionary: of ArUco markers, such as 4x4_250.
    """

    marker: float
    dictionary: str = "4x4_250"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.marker < self.square:
            raise TargetError(f"{self}: expected markers smaller than the squares")
        if not hasattr(cv2.aruco, f"DICT_{self.dictionary.upper()}"):
            raise TargetError(f"{self}: OpenCV has no dictionary {self.dictionary!r}; expected one like 4x4_250")
        if self.columns * self.rows // 2 > (count := len(self._board().getDictionary().bytesList)):
            raise TargetError(f"{self}: dictionary {self.dictionary} has {count} markers, too few")

    def __str__(self) -> str:
        return f"charuco:{self.columns}x{self.rows}:{self.square:g}:{self.marker:g}:{self.dictionary}"

    @property
    def _clear(self) -> float:
        return min(0.4, max(0.15, (1 - self.marker / self.square) / 2))

    def _board(self) -> cv2.aruco.CharucoBoard:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{self.dictionary.upper()}"))
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, dictionary)

    @property
    def points(self) -> np.ndarray:
        return _lattice(np.arange(self.columns - 1) + 2.0, np.arange(self.rows - 1) + 2.0) * self.square

    @property
    def size(self) -> tuple[float, float]:
        return (self.columns + 2) * self.square, (self.rows + 2) * self.square

    def _paint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        board = self._board()
        column, row = np.floor(x / self.square).astype(int) - 1, np.floor(y / self.square).astype(int) - 1
        inside = ((row >= 0) & (row < self.rows))[:, None] & (column >= 0) & (column < self.columns)
        black = inside & ((row[:, None] + column) % 2 == 0)
        dictionary = board.getDictionary()
        bits = dictionary.markerSize + 2
        for quad, number in zip(board.getObjPoints(), np.ravel(board.getIds()), strict=True):
            left, top = np.asarray(quad)[0, :2] + self.square
            u, v = (x - left) / self.marker * bits, (y - top) / self.marker * bits
            columns, rows = np.flatnonzero((u >= 0) & (u < bits)), np.flatnonzero((v >= 0) & (v < bits))
            marker = dictionary.generateImageMarker(int(number), bits) == 0
            black[np.ix_(rows, columns)] = marker[np.ix_(v[rows].astype(int), u[columns].astype(int))]
        return np.asarray(black)

    def _search(self, image: np.ndarray) -> Detection:
        board, parameters = self._board(), cv2.aruco.CharucoParameters()
        parameters.minMarkers, parameters.tryRefineMarkers = 1, True
        for legacy in (False, True) if self.rows % 2 == 0 else (False,):  # boards printed by OpenCV before 4.6
            board.setLegacyPattern(legacy)
            detector = cv2.aruco.CharucoDetector(board, parameters, detector_parameters(image))
            corners, ids, _, _ = detector.detectBoard(image)
            if ids is not None and len(ids) >= 4:
                found = Detection(ids.ravel().astype(np.int64), corners.reshape(-1, 2).astype(np.float32))
                return complete(image, found, self.plane, 1.5 * self.square)
        return NOTHING

    def tags(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the markers in an image uint8 (H, W): corners (N, 4, 2) and ids (N,)."""
        return find_tags(self._board().getDictionary(), image, 1)


def _lattice(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the points (len(y) * len(x), 3) of a grid, row by row."""
    xx, yy = np.meshgrid(x, y)
    return np.stack((xx.ravel(), yy.ravel(), np.zeros(xx.size)), 1)


def parse_target(text: str) -> Target:
    """Return the target described by a text in SYNTAX, or by Kalibr's YAML file.

    Raises:
        TargetError: another text, a missing or invalid file, or impossible sizes.
    """
    kind, *words = text.split(":")
    makers: dict[str, tuple[type[Target], int, int]] = {
        "checkerboard": (Checkerboard, 2, 2),
        "aprilgrid": (AprilGrid, 3, 4),
        "charuco": (Charuco, 3, 4),
    }
    if kind not in makers:
        return _from_yaml(text)
    make, least, most = makers[kind]
    try:
        if not least <= len(words) <= most:
            raise ValueError
        columns, rows = (int(word) for word in words[0].lower().split("x"))
        numbers: list[Any] = [float(word) for word in words[1:least]]
    except ValueError:
        raise TargetError(f"target {text!r}: expected {SYNTAX}") from None
    return make(columns, rows, *numbers, *words[least:])


def _from_yaml(text: str) -> Target:
    """Read Kalibr's description of a target: https://github.com/ethz-asl/kalibr/wiki/calibration-targets."""
    path = Path(text)
    if not path.is_file():
        raise TargetError(f"target {text!r}: no such file; expected {SYNTAX}")
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TargetError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise TargetError(f"{path}: expected Kalibr's fields of a target, such as target_type")

    def number(name: str, kind: type = float) -> Any:
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            raise TargetError(f"{path}: {name} is {value!r}; expected a{' whole' * (kind is int)} number")
        return value

    match content.get("target_type"):
        case "checkerboard":
            square, other = number("rowSpacingMeters"), number("colSpacingMeters")
            if not math.isclose(square, other):
                raise TargetError(f"{path}: rowSpacingMeters {square:g} and colSpacingMeters {other:g} must be equal")
            return Checkerboard(number("targetCols", int), number("targetRows", int), square)
        case "aprilgrid":
            size = number("tagCols", int), number("tagRows", int), number("tagSize")
            return AprilGrid(*size, number("tagSpacing"))
        case other_type:
            raise TargetError(f"{path}: target_type is {other_type!r}; expected 'checkerboard' or 'aprilgrid'")
