"""Calibration from corners that a known camera sees, with noise; and what is said about poor views."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cista_ros.calibration.report import summary_of
from cista_ros.calibration.solve import ViewsError, calibrate, missing, project
from cista_ros.calibration.targets import parse_target
from cista_ros.calibration.views import Schedule, Search, View, outline_of
from cista_ros.calibration.write import write_calibration
from cista_ros.events import NS

TARGET = parse_target("charuco:8x6:0.03:0.022")
WIDTH, HEIGHT = 346, 260
LENSES = {
    "plumb_bob": (280.0, [-0.3, 0.1, 0.001, -0.001, 0]),
    "rational_polynomial": (280.0, [-0.25, 0.06, 0.001, -0.001, -0.02, 0.05, 0.01, 0]),
    "equidistant": (190.0, [0.02, -0.005, 0.001, 0]),
}


def camera(model):
    """Return the camera matrix and the coefficients of a lens."""
    focal, coefficients = LENSES[model]
    return np.array([[focal, 0, 170], [0, focal + 1, 133], [0, 0, 1]]), np.array(coefficients)


def views(model="plumb_bob", count=25, tilt=0.6, noise=0.1, reach=0.45, seed=0):
    """Return views (count) from random directions, with Gaussian noise, in pixels, on each coordinate."""
    rng = np.random.default_rng(seed)
    matrix, distortion = camera(model)
    width, height = TARGET.size
    found = []
    while len(found) < count:
        turn = rng.uniform(-tilt, tilt, 3)
        away = rng.uniform(0.8, 1.6) * max(width / WIDTH, height / HEIGHT) * matrix[0, 0]
        centre = np.array([rng.uniform(-reach, reach) * width, rng.uniform(-reach, reach) * height, away])
        shift = centre - cv2.Rodrigues(turn)[0] @ [width / 2, height / 2, 0]
        pixels, _ = project(TARGET.points, np.concatenate((turn, shift)), matrix, distortion, model)
        ids = np.flatnonzero(((pixels > 2) & (pixels < [WIDTH - 3, HEIGHT - 3])).all(1))
        if len(ids) >= 12:
            corners = (pixels[ids] + rng.normal(0, noise, (len(ids), 2))).astype(np.float32)
            outline = outline_of(TARGET, ids, corners)
            found.append(View(len(found), ids, corners, outline, np.zeros((HEIGHT, WIDTH), np.uint8)))
    return found


@pytest.mark.parametrize("model", LENSES)
def test_recovers_the_camera(model):
    matrix, distortion = camera(model)
    result = calibrate(views(model, 40), TARGET, HEIGHT, WIDTH, model)
    off = np.abs(result.matrix - matrix)[[0, 1, 0, 1], [0, 1, 2, 2]]
    assert (off < 4 * result.sigma[:4]).all()
    assert (off[:2] < 0.005 * matrix[0, 0]).all()
    assert (off[2:] < 1.5).all()
    assert len(result.distortion) == len(distortion)
    assert result.rms == pytest.approx(0.1 * np.sqrt(2), rel=0.1)
    # Coefficients compensate each other; what counts is where they put points.
    pose = np.array([0.1, 0.2, 0, -0.08, -0.06, 0.25])
    expected, _ = project(TARGET.points, pose, matrix, distortion, model)
    found, _ = project(TARGET.points, pose, result.matrix, result.distortion, model)
    shift = found - expected
    assert np.linalg.norm(shift - shift.mean(0), axis=1).max() < 0.5


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial"])
def test_a_step_that_opencv_rejected_but_returns_is_not_the_result(model, monkeypatch):
    solve = cv2.calibrateCamera

    def with_a_bad_last_step(*arguments, criteria=(3, 30, 2e-16), **options):
        rms, matrix, distortion, turns, shifts = solve(*arguments, criteria=criteria, **options)
        return rms, matrix, distortion, turns, [shifts[0] * (1.1 if criteria[1] == 30 else 1), *shifts[1:]]

    monkeypatch.setattr(cv2, "calibrateCamera", with_a_bad_last_step)
    assert calibrate(views(model, 40), TARGET, HEIGHT, WIDTH, model).rms == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


def test_standard_deviations_match_the_spread_of_repeated_calibrations():
    results = [calibrate(views(seed=seed), TARGET, HEIGHT, WIDTH) for seed in range(12)]
    spread = np.std([[r.matrix[0, 0], r.matrix[0, 2]] for r in results], axis=0)
    claimed = np.mean([r.sigma[[0, 2]] for r in results], axis=0)
    assert (spread < 2 * claimed).all()
    assert (spread > 0.4 * claimed).all()


def test_rejects_wrong_views_and_corners():
    good = views(count=30)
    rng = np.random.default_rng(1)
    good[3] = View(
        3,
        good[3].ids,
        good[3].corners + rng.normal(0, 3, good[3].corners.shape).astype(np.float32),
        good[3].outline,
        good[3].image,
    )
    good[5].corners[4] += 8
    result = calibrate(good, TARGET, HEIGHT, WIDTH)
    assert result.rejected <= 2
    assert 3 not in [view.stamp for view in result.views]
    assert all(good[5].ids[4] not in view.ids for view in result.views if view.stamp == 5)
    assert result.rms < 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_corners_so_wrong_that_the_fisheye_solver_diverges_are_rejected(seed, monkeypatch):
    rng, given = np.random.default_rng(seed), views("equidistant", 40, seed=seed)
    for view in given[:12]:
        view.corners[:] += rng.normal(0, 20, view.corners.shape)
    result = calibrate(given, TARGET, HEIGHT, WIDTH, "equidistant")
    assert min(view.stamp for view in result.views) >= 12
    assert result.matrix[0, 0] == pytest.approx(190, rel=0.005) and result.rms < 0.2
    # What shows the wrong corners, a lens with two coefficients, is not a result.
    monkeypatch.setattr("cista_ros.calibration.solve._PASSES", 1)
    with pytest.raises(ViewsError, match="do not determine the equidistant lens"):
        calibrate(given, TARGET, HEIGHT, WIDTH, "equidistant")


def test_refuses_too_few_views():
    with pytest.raises(ViewsError, match="only 4 different views"):
        calibrate(views(count=4), TARGET, HEIGHT, WIDTH)
    with pytest.raises(ViewsError, match="only 1 different views"):
        calibrate(views(count=1) * 20, TARGET, HEIGHT, WIDTH)


def test_refuses_views_from_one_direction():
    with pytest.raises(ViewsError, match=r"too similar|do not determine"):
        calibrate(views(tilt=0.001), TARGET, HEIGHT, WIDTH)


def test_names_the_edges_without_corners():
    assert not any("edge" in text for text in missing(calibrate(views(count=40), TARGET, HEIGHT, WIDTH)))
    left = [view.only(view.corners[:, 0] < 0.75 * WIDTH) for view in views(count=60)]
    said = missing(calibrate([view for view in left if len(view.ids) >= 12], TARGET, HEIGHT, WIDTH))
    assert "no view of the target near the right edge" in said
    assert "no view of the target near the left edge" not in said
    said = missing(calibrate(views(count=40, tilt=0.25), TARGET, HEIGHT, WIDTH))
    assert any("tilt" in text for text in said)


def test_deletes_an_earlier_file_that_the_lens_does_not_have(tmp_path):
    result = calibrate(views("rational_polynomial", 15), TARGET, HEIGHT, WIDTH, "rational_polynomial")
    (tmp_path / "camchain.yaml").write_text("of a plumb_bob lens")
    summary = summary_of(result, Search(TARGET), "a.bag") | {"missing": []}
    notes = write_calibration(tmp_path, result, summary, "camera")
    assert notes == ["no camchain.yaml: Kalibr has no rational_polynomial lens"]
    assert {path.name for path in tmp_path.iterdir()} == {"camera_info.yaml", "report.html"}


def test_images_are_due_at_the_rate_once_the_network_has_settled():
    def due(stamps):
        return [stamp for stamp in stamps if is_due(stamp * NS // 1000)]

    is_due = Schedule(10.0)
    assert due(range(0, 700, 50)) == [250, 350, 450, 550, 650]
    assert due(range(0, 500, 50)) == [250, 350, 450], "a stamp that goes back begins a new stream"
    is_due = Schedule(10.0, settle_s=0)
    assert due(range(0, 300, 40)) == [0, 120, 240]


def test_an_image_like_the_last_is_not_searched():
    search, image = Search(TARGET), TARGET.image(1000)
    assert search.look(0, image)
    still = image.copy()
    still[0, :100] = 0
    assert search.look(1, still) is None and search.look(2, np.roll(image, 3, 1))
    assert (search.searched, search.found, [view.stamp for view in search.views]) == (2, 2, [0, 2])
