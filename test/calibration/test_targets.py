"""Calibration targets: description, points, image, and detection in the image of a known camera."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cista_ros.calibration.sizes import fitting_size
from cista_ros.calibration.targets import TargetError, parse_target

BOARDS = ["checkerboard:7x5:0.03", "aprilgrid:4x3:0.05:0.3", "charuco:6x4:0.04:0.03", "charuco:7x5:0.04:0.03:5x5_100"]
PER_METRE = 3000


def view(board, homography, size=(320, 240)):
    """Return the board's image uint8 (H, W) under a homography from metres to pixels."""
    enlarge = np.array([[4, 0, 1.5], [0, 4, 1.5], [0, 0, 1]])
    metres = np.array([[1 / PER_METRE, 0, 0.5 / PER_METRE], [0, 1 / PER_METRE, 0.5 / PER_METRE], [0, 0, 1]])
    large = cv2.warpPerspective(
        board.image(PER_METRE), enlarge @ homography @ metres, (4 * size[0], 4 * size[1]), borderValue=255
    )
    return cv2.resize(large, size, interpolation=cv2.INTER_AREA)


def tilted(board, angle=0.0):
    """Return a homography that shows the whole board, turned by an angle in the image and tilted."""
    width, height = board.size
    scale = 190 / np.hypot(width, height)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    homography = np.eye(3)
    homography[:2, :2] = turn
    homography[:2, 2] = (160, 120) - turn @ np.array([width, height]) / 2
    homography[2, 0] = 0.15 / width
    return homography


@pytest.mark.parametrize("text", BOARDS)
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_finds_corners_where_the_camera_projects_them(text, angle):
    board = parse_target(text)
    homography = tilted(board, angle)
    found = board.detect(view(board, homography))
    expected = cv2.perspectiveTransform(board.points[None, :, :2], homography)[0]
    assert len(found.ids) >= 0.65 * len(board.points)
    assert found.corners.dtype == np.float32
    order = expected[found.ids]
    if text.startswith("checkerboard"):  # it looks the same upside down
        order = min(order, order[::-1], key=lambda points: np.abs(found.corners - points).max())
    distance = np.linalg.norm(found.corners - order, axis=1)
    assert np.median(distance) < 0.2
    assert distance.max() < 0.5


@pytest.mark.parametrize("text", BOARDS)
def test_finds_nothing_where_there_is_no_board(text):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), np.uint8)
    assert len(parse_target(text).detect(noise).ids) == 0


def test_finds_the_part_of_an_aprilgrid_that_is_in_view():
    board = parse_target("aprilgrid:6x6:0.03:0.3")
    width, _ = board.size
    scale = 900 / width
    homography = np.array([[scale, 0, -200], [0, scale, -250], [0, 0, 1]])
    found = board.detect(view(board, homography, (640, 480)))
    assert 24 <= len(found.ids) < len(board.points)
    expected = cv2.perspectiveTransform(board.points[None, :, :2], homography)[0][found.ids]
    assert np.linalg.norm(found.corners - expected, axis=1).max() < 0.3


def test_prints_an_aprilgrid_as_kalibr_does():
    """Tag 0 of 36h11 is 0xd5d628584; Kalibr prints it at the bottom left, its last bit at the bottom right."""
    board = parse_target("aprilgrid:2x2:0.1:0.3")
    other = parse_target("aprilgrid:2x2:0.1:0.3:25h9")
    assert parse_target(str(other)) == other != board
    pixels_per_module = 4
    image = board.image(pixels_per_module * 100)  # a tag of 0.1 m has 10 modules
    x, y = np.rint(board.points[0, :2] * pixels_per_module * 100).astype(int)
    assert np.allclose(board.points[0, :2], [0.06, 0.06 + 0.13 + 0.1])
    modules = image[y - 40 : y, x : x + 40][2::4, 2::4] > 127
    bits = [(0xD5D628584 >> k) & 1 for k in reversed(range(36))]
    assert modules[2:8, 2:8].ravel().astype(int).tolist() == bits
    assert not modules[[0, 1, 8, 9]].any()
    assert not image[y + 2 : y + 10, x - 10 : x - 2].any()  # the square beside the corner


def test_reads_kalibrs_files(tmp_path):
    path = tmp_path / "target.yaml"
    path.write_text("target_type: 'aprilgrid'\ntagCols: 6\ntagRows: 5\ntagSize: 0.088\ntagSpacing: 0.3\n")
    assert parse_target(str(path)) == parse_target("aprilgrid:6x5:0.088:0.3")
    path.write_text(
        "target_type: checkerboard\ntargetCols: 6\ntargetRows: 7\nrowSpacingMeters: 0.06\ncolSpacingMeters: 0.06\n"
    )
    assert parse_target(str(path)) == parse_target("checkerboard:6x7:0.06")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("target_type: circlegrid\n", "'circlegrid'"),
        ("target_type: aprilgrid\ntagCols: six\n", "tagCols is 'six'"),
        ("target_type: aprilgrid\ntagCols: 6\ntagRows: 6\ntagSize: 0.1\n", "tagSpacing is None"),
        ("a: [", "not YAML"),
        ("- 1\n", "target_type"),
    ],
)
def test_names_what_is_wrong_in_a_file(tmp_path, content, said):
    path = tmp_path / "target.yaml"
    path.write_text(content)
    with pytest.raises(TargetError, match=said) as error:
        parse_target(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "checkerboard:9x6",
        "checkerboard:9:0.1",
        "checkerboard:1x6:0.1",
        "checkerboard:9x6:-1",
        "aprilgrid:6x6:0.1:2",
        "aprilgrid:40x40:0.1:0.3",
        "charuco:8x6:0.03:0.04",
        "charuco:8x6:0.03:0.02:none",
        "missing.yaml",
    ],
)
def test_refuses_other_texts(text):
    with pytest.raises(TargetError, match=r"expected|has"):
        parse_target(text)


@pytest.mark.parametrize(
    ("printed", "given"),
    [
        ("checkerboard:7x5:0.03", "checkerboard:8x6:0.03"),
        ("aprilgrid:4x3:0.05:0.3", "aprilgrid:6x6:0.05:0.3"),
        ("charuco:6x5:0.04:0.03:4x4_250", "charuco:8x6:0.04:0.03:4x4_250"),
        ("charuco:5x4:0.04:0.03:4x4_250", "charuco:8x6:0.04:0.03:4x4_250"),
    ],
)
def test_suggests_the_size_of_another_board(printed, given):
    board = parse_target(printed)
    image = view(board, tilted(board, 0.2))
    assert fitting_size(parse_target(given), [image]) == printed
    assert fitting_size(board, [image]) is None
