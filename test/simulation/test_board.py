"""Calibration boards before a lens (simulation/board.py): lens, motion, picture and truth fit together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from cista_ros.calibration.targets import parse_target
from cista_ros.simulation.board import BoardScene
from cista_ros.simulation.lens import Lens, LensError
from cista_ros.simulation.recording import Drive
from cista_ros.simulation.scene import SceneConfig

SIZE = (120, 160)
PLAIN = Lens((150.0, 152.0, 82.0, 58.0))
BARREL = Lens((140.0, 141.0, 82.0, 58.0), "plumb_bob", (-0.25, 0.08, 0.001, -0.002, 0.0))
RATIONAL = Lens((150.0, 150.0, 78.0, 61.0), "rational_polynomial", (0.2, -0.1, 0.001, 0.0, 0.05, 0.3, 0.02, 0.01))
WIDE = Lens((75.0, 75.5, 78.0, 61.0), "equidistant", (0.02, -0.01, 0.003, -0.001))
LENSES = pytest.mark.parametrize("lens", [PLAIN, BARREL, RATIONAL, WIDE], ids=lambda lens: lens.model)


def scene(target, lens, seed=0, speed=12.0, pause=None):
    generator = torch.Generator().manual_seed(seed)
    return BoardScene(parse_target(target), lens, SIZE, Drive(speed, pause), generator)


def opencv_project(lens, points, rotation=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0)):
    function = cv2.fisheye.projectPoints if lens.model == "equidistant" else cv2.projectPoints
    pose = np.array(rotation), np.array(translation)
    return function(points.reshape(-1, 1, 3), *pose, lens.matrix, np.array(lens.distortion))[0].reshape(-1, 2)


@LENSES
def test_rays_are_what_opencv_projects_to_their_pixels(lens):
    height, width = SIZE
    pixels = np.random.default_rng(0).uniform(-0.5, (width - 0.5, height - 0.5), (500, 2))
    rays = lens.rays(pixels)
    assert np.allclose(np.linalg.norm(rays, axis=1), 1)
    assert np.abs(opencv_project(lens, rays) - pixels).max() < 1e-5


def test_pixels_that_a_lens_does_not_see_are_an_error():
    with pytest.raises(LensError, match="does not see pixel"):  # 90 degrees off the axis
        Lens((40.0, 40.0, 80.0, 60.0), "equidistant", (0.0,) * 4).rays(np.array([[159.0, 60.0]]))
    with pytest.raises(LensError, match="does not see pixel"):  # the image folds back before its corner
        scene("checkerboard:7x5:0.03", Lens((150.0, 150.0, 80.0, 60.0), "plumb_bob", (-1.5, 0.0, 0.0, 0.0, 0.0)))


@LENSES
@pytest.mark.parametrize("target", ["checkerboard:7x5:0.03", "aprilgrid:3x2:0.05:0.3", "charuco:6x5:0.03:0.016"])
def test_corners_found_in_frames_are_those_of_the_truth(target, lens):
    made = scene(target, lens)
    errors, found = [], 0
    for step in made.steps(SceneConfig(mean=(0.3, 0.5)), seconds=4, fps=1):
        image = (step.images[-1].numpy() * 255).round().astype(np.uint8)
        view, detection = made.view(int(step.stamps[-1])), made.target.detect(image)
        if not len(detection.ids):
            continue
        found += 1
        pixels = dict(zip(view.ids.tolist(), view.pixels, strict=True))
        pairs = [(i, xy) for i, xy in zip(detection.ids.tolist(), detection.corners, strict=True) if i in pixels]
        turned = target.startswith("checker") and np.linalg.norm(pairs[0][1] - pixels[pairs[0][0]]) > 20
        last = len(made.target.points) - 1  # a checkerboard looks the same upside down
        errors += [xy - pixels[last - i if turned else i] for i, xy in pairs]
    distances = np.linalg.norm(errors, axis=1)
    assert found >= 3
    assert np.median(distances) < 0.15 and np.abs(np.median(errors, axis=0)).max() < 0.05


def test_a_calibration_from_the_true_corners_gives_the_lens():
    made = scene("checkerboard:7x5:0.03", BARREL, speed=60.0)
    views = [made.view(i * 10**9) for i in range(30)]
    points = made.target.points.astype(np.float32)
    rms, matrix, distortion, *_ = cv2.calibrateCamera(
        [points[v.ids] for v in views], [v.pixels.astype(np.float32) for v in views], SIZE[::-1], None, None
    )
    assert rms < 1e-3 and np.allclose(matrix, BARREL.matrix, atol=0.02)
    assert np.allclose(distortion[0, :4], BARREL.distortion[:4], atol=1e-3)
    for view in views:
        pose = cv2.Rodrigues(view.rotation)[0], view.translation
        assert np.allclose(opencv_project(BARREL, made.target.points[view.ids], *pose), view.pixels)


def test_motion_is_smooth_as_fast_as_wanted_and_covers_image_distance_and_tilt():
    made = scene("aprilgrid:4x3:0.05:0.3", PLAIN, speed=100.0)
    times = np.arange(0, 40, 0.01)
    rotation, translation = made.poses(times)
    corners = PLAIN.project(made.target.points[[0, -1]] @ rotation.transpose(0, 2, 1) + translation[:, None])
    speeds = np.linalg.norm(np.diff(corners, axis=0), axis=2) / 0.01
    assert 50 < speeds.max() < 105 and np.abs(np.diff(speeds, axis=0)).max() < 5
    seen = np.concatenate([made.view(int(t * 1e9)).pixels for t in times[::25]])
    cells = np.histogram2d(*seen.T, bins=(np.linspace(-0.5, 159.5, 9), np.linspace(-0.5, 119.5, 7)))[0]
    assert (cells > 0).all()
    tilts = np.degrees(np.arccos(rotation[:, 2, 2]))
    assert tilts.max() > 30 and tilts.min() < 10 and np.ptp(translation[:, 2]) > 0.5 * translation[:, 2].min()


def test_a_board_that_pauses_stands_still():
    made = scene("checkerboard:7x5:0.03", PLAIN, speed=100.0, pause=1.0)
    _, translation = made.poses(np.arange(0, 3, 0.01))
    still = (np.diff(translation, axis=0) == 0).all(1)
    assert 0.1 < still.mean() < 0.5


def test_only_the_board_changes():
    made = scene("checkerboard:7x5:0.03", WIDE, seed=3, speed=100.0)
    steps = list(made.steps(SceneConfig(), seconds=0.2, fps=10))
    light = torch.cat([step.log_intensity for step in steps])
    moves = light.std(0) > 1e-6
    assert 0.1 < moves.float().mean() < 0.95
    assert steps[-1].stamps[-1] == 200_000_000 and all(len(step.stamps) > 3 for step in steps[1:])
