"""Task scores (evaluation/tasks.py) of images whose scores are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cista_ros.calibration.targets import parse_target
from cista_ros.evaluation.protocols import EvaluationError
from cista_ros.evaluation.scores import ScoreChoice, Scorer, label_of
from cista_ros.evaluation.tasks import TASKS, task_keys

CHECKERS, GRID = "checkerboard:6x5:0.03", "aprilgrid:3x2:0.08:0.3"


def board(target, width=240, height=180, shift=(0.0, 0.0), turn=3.0):
    """Return an image, float32 (H, W), of the whole target, slightly turned, moved by `shift` pixels."""
    picture = parse_target(target).image(2000)
    h, w = picture.shape
    scale = min(0.85 * width / w, 0.85 * height / h)
    move = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), turn, scale)
    move[:, 2] += ((width - w) / 2 + shift[0], (height - h) / 2 + shift[1])
    image = cv2.warpAffine(cv2.GaussianBlur(picture, (0, 0), 0.5 / scale), move, (width, height), borderValue=128)
    return (0.2 + 0.5 * image / 255).astype(np.float32)


def texture(shift, seed=0):
    """Return a smooth random image, float32 (120, 160), moved by `shift` pixels to the right."""
    noise = np.random.default_rng(seed).random((60, 120)).astype(np.float32)
    large = cv2.resize(noise, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    return large[60:180, 100 - shift : 260 - shift].clip(0, 1)


def scorer_of(task, target=None):
    return Scorer(ScoreChoice(tasks=TASKS[task], target=target))


def flat(seed):
    return np.random.default_rng(seed).normal(0.5, 0.05, (180, 240)).astype(np.float32).clip(0, 1)


@pytest.mark.parametrize("target", [CHECKERS, GRID, "charuco:6x5:0.03:0.022"])
def test_corners_are_compared_with_those_of_the_camera_frame(target):
    scorer = scorer_of("corners", target)
    assert scorer.score(board(target), board(target)) == {"corners_found": 1, "corners_distance": 0}
    moved = scorer.score(board(target, shift=(3.0, -4.0)), board(target))
    assert moved["corners_found"] == 1 and moved["corners_distance"] == pytest.approx(5, abs=0.15)
    without_frame = scorer.score(board(target), None)
    assert without_frame["corners_found"] == 1 and np.isnan(without_frame["corners_distance"])
    nothing = scorer.score(flat(0), board(target))
    assert nothing["corners_found"] == 0 and np.isnan(nothing["corners_distance"])


def test_a_checkerboard_upside_down_is_no_error():
    scores = scorer_of("corners", CHECKERS).score(board(CHECKERS, turn=180.0), board(CHECKERS, turn=0.0))
    assert scores["corners_distance"] < 0.15


def test_tags_count_where_the_frame_has_them_and_at_their_place():
    scorer = scorer_of("tags", GRID)
    frame = board(GRID, 320, 240)
    assert scorer.score(frame, frame) == {"tags": 1}
    half = frame.copy()
    half[:, :160] = 0.5
    assert 0.3 < scorer.score(half, frame)["tags"] < 0.7
    assert scorer.score(board(GRID, 320, 240, shift=(30.0, 0.0)), frame)["tags"] == 0
    assert scorer.score(flat(0), board(GRID))["tags"] == 0
    assert np.isnan(scorer.score(frame[:180, :240], flat(0))["tags"])
    assert np.isnan(scorer.score(frame, None)["tags"])


def track(images, frames=None):
    scorer = scorer_of("tracks")
    frames = frames or [None] * len(images)
    return [scorer.score(image, frame) for image, frame in zip(images, frames, strict=True)]


def test_tracks_grow_with_each_image_that_shows_the_same_things():
    moving = track([texture(3 * i) for i in range(6)])
    assert np.isnan([*moving[0].values()]).all()
    lengths = [scores["track_length"] for scores in moving[1:]]
    assert 0.8 < lengths[0] <= 1 and np.diff(lengths).min() > 0.4 and lengths[-1] <= 5
    assert all(scores["orb_inliers"] > 50 for scores in moving[1:])
    changing = track([texture(0, seed) for seed in range(4)])
    assert all(scores["track_length"] < 0.4 and scores["orb_inliers"] < 30 for scores in changing[1:])
    empty = track([np.full((120, 160), 0.5, np.float32)] * 3)
    assert all(scores == {"track_length": 0, "orb_inliers": 0} for scores in empty[1:])


def test_a_pattern_that_does_not_move_with_the_scene_is_not_tracked():
    frames = [texture(5 * i) for i in range(4)]
    assert track([texture(0)] * 4, frames)[-1]["track_length"] < 0.3
    assert track(frames, frames)[-1]["track_length"] > 1.5


def test_task_scores_are_beside_the_others_and_cut_to_the_mask():
    keys = task_keys(["tracks", "corners"], parse_target(CHECKERS))
    assert keys == ["corners_found", "corners_distance", "track_length", "orb_inliers"]
    mask = np.zeros((180, 300), bool)
    mask[:, 60:] = True
    image = np.hstack((flat(0)[:, :60], board(CHECKERS)))
    scores = Scorer(ScoreChoice(("mse:raw",), tasks=tuple(keys), target=CHECKERS), mask).score(image, image)
    assert scores["mse:raw"] == 0 and scores["corners_found"] == 1 and set(scores) == {"mse:raw", *keys}
    assert label_of("corners_distance") == "corners, px ↓"
    with pytest.raises(EvaluationError, match="needs the target"):
        task_keys(["corners"], None)
