from __future__ import annotations

import math
import sys
import types

import cv2
import independent
import numpy as np
import pytest

from cista_ros import metrics
from cista_ros.errors import CistaError, MissingPackageError
from cista_ros.evaluation.protocols import EVREAL
from cista_ros.evaluation.scores import (
    VIEWS,
    ScoreChoice,
    Scorer,
    TemporalConsistency,
    choose_scores,
    label_of,
)
from cista_ros.training.perceptual import Lpips

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    truth = cv2.GaussianBlur(rng.random((40, 50)), (0, 0), 2)
    return np.float32(truth + 0.05 * rng.standard_normal((40, 50))), np.float32(truth)


def test_values_equal_plain_numpy(pair):
    image, truth = (a.astype(np.float64) for a in pair)
    for gaussian in (False, True):
        expected = independent.scores(image, truth, gaussian)
        assert metrics.mse(*pair) == pytest.approx(expected["mse"], rel=1e-9)
        assert metrics.psnr(*pair) == pytest.approx(expected["psnr"], rel=1e-9)
        assert metrics.image_ssim(*pair, gaussian=gaussian) == pytest.approx(expected["ssim"], abs=1e-9)


def test_an_image_without_error_has_the_best_scores(pair):
    assert metrics.mse(pair[1], pair[1]) == 0
    assert metrics.psnr(pair[1], pair[1]) == 100
    assert metrics.image_ssim(pair[1], pair[1]) == pytest.approx(1)


def test_temporal_consistency_follows_the_motion():
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.random((64, 120)).astype(np.float32), (0, 0), 3)
    wide = (wide - wide.min()) / (wide.max() - wide.min())
    moving = [wide[:, i * 3 : i * 3 + 80] for i in range(3)]

    def score(images):
        consistency = TemporalConsistency()
        return [consistency(image, truth) for image, truth in zip(images, moving, strict=True)]

    same = score(moving)
    assert math.isnan(same[0]) and max(same[1:]) < 0.01
    flickering = score([moving[0], np.clip(moving[1] + 0.2, 0, 1), moving[2]])
    assert min(flickering[1:]) > 0.1
    frozen = score([moving[0]] * 3)
    assert min(frozen[1:]) > 2 * max(same[1:])


def test_lpips_that_cannot_be_had_says_why_and_gives_no_number(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lpips", None)
    choice = choose_scores(("mse:raw", "lpips_alex:raw"), None)
    assert choice.missing[0][0] == "lpips_alex:raw" and "cannot import package lpips" in choice.missing[0][1]
    assert choice.keys == ("mse:raw",)
    assert Scorer(choice).score(np.zeros((20, 20)), np.ones((20, 20))) == {"mse:raw": 1}

    (tmp_path / "lpips.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "lpips")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"lpips .operator torchvision::nms does not exist"):
        Lpips("vgg")

    def no_backbone(**_):
        raise OSError("Name or service not known")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=no_backbone))
    with pytest.raises(MissingPackageError, match="the vgg backbone of LPIPS: Name or service not known"):
        Lpips("vgg")


def test_lpips_squeeze_has_its_own_name_and_grows_with_the_difference(shared_file):
    pytest.importorskip("h5py")
    files = shared_file("weights/squeezenet1.1-notop-keras.h5"), shared_file("weights/lpips-v0.1-squeeze-heads.pth")
    choice = choose_scores(("lpips_squeeze_keras:raw",), files)
    assert label_of(choice.keys[0]) == "LPIPS-squeeze (Keras weights), raw ↓"
    truth = cv2.imread(str(shared_file("recordings/slider_depth_start/images/frame_00000000.png")), 0)[:96, :96] / 255
    scorer = Scorer(choice)
    values = [scorer.score(cv2.GaussianBlur(truth, (0, 0), s), truth)[choice.keys[0]] for s in (0.01, 1, 3)]
    assert values[0] == pytest.approx(0, abs=1e-6) and values == sorted(values) and values[2] > 0.2


def test_files_that_are_no_backbone_are_named(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(CistaError, match=r"a.h5: not a SqueezeNet 1.1 backbone"):
        choose_scores(("lpips_squeeze_keras:raw",), (tmp_path / "a.h5", tmp_path / "heads.pth"))


def test_what_is_computed_can_be_sent_to_another_process():
    import pickle

    choice = ScoreChoice(("mse:raw",), None, (("lpips_vgg:raw", "no"),))
    assert pickle.loads(pickle.dumps(choice)) == choice


def test_ssim_equals_scikit_image_whatever_window_and_range(pair):
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    a, b = (x.astype(np.float64) for x in pair)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for data_range in (1.0, 2.0):
        expected = structural_similarity(b, a, data_range=data_range, **gaussian)
        assert metrics.image_ssim(*pair, data_range=data_range) == pytest.approx(expected, abs=1e-9)
    assert metrics.image_ssim(*pair, gaussian=False) == pytest.approx(
        structural_similarity(b, a, data_range=1), abs=1e-9
    )


def test_the_ssim_of_evreals_two_versions_differ_by_their_data_range(pair):
    scores = Scorer(choose_scores(EVREAL.metrics)).score(*pair)
    v1, v2 = scores["ssim_evreal_v1:raw"], scores["ssim_evreal_v2:raw"]
    clipped = [np.clip(x, 0, 1) for x in pair]
    assert v1 == pytest.approx(metrics.image_ssim(*clipped, data_range=2)) and v1 > v2 + 0.01
    assert v2 == pytest.approx(independent.ssim(*(x.astype(np.float64) for x in clipped), gaussian=True), abs=1e-9)


def test_the_affine_fit_takes_brightness_and_contrast_out_and_nothing_else(pair):
    image, truth = (np.clip(x, 0, 1) for x in pair)
    fitted = metrics.fit_brightness(image, truth)
    design = np.stack([image.ravel(), np.ones(image.size)], 1).astype(np.float64)
    expected = design @ np.linalg.lstsq(design, truth.ravel().astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(fitted.ravel(), expected, atol=1e-6)
    for other in (0.4 * image + 0.3, -image):
        np.testing.assert_allclose(metrics.fit_brightness(other, truth), fitted, atol=1e-5)
    flat = metrics.fit_brightness(np.full_like(image, 0.2), truth)
    np.testing.assert_allclose(flat, truth.mean(), atol=1e-6)


def test_masked_pixels_change_no_score_and_a_masked_border_is_as_if_cut_off(pair):
    image, truth = (np.clip(x, 0, 1) for x in pair)
    choice = ScoreChoice(tuple(f"{m}:{v}" for m in ("mse", "psnr", "ssim", "ssim_7x7") for v in ("raw", "affine")))
    hole = np.ones_like(image, bool)
    hole[10:13, 20:24] = False
    spoiled = np.where(hole, image, 1 - image)
    assert Scorer(choice, hole).score(spoiled, truth) == Scorer(choice, hole).score(image, truth)
    assert Scorer(choice).score(spoiled, truth) != Scorer(choice).score(image, truth)
    border = np.broadcast_to(np.arange(image.shape[1]) >= 9, image.shape)
    everything = ScoreChoice(tuple(f"{m}:{v}" for m in ("mse", "ssim", "temporal") for v in VIEWS))
    masked, cut = Scorer(everything, border), Scorer(everything)
    for a, b in ((image, truth), (image[::-1], truth[::-1])):
        np.testing.assert_equal(masked.score(a, b), cut.score(a[:, 9:], b[:, 9:]))


def test_correlation_is_pearsons(pair):
    expected = np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]
    assert metrics.correlation(*pair) == pytest.approx(expected, abs=1e-6)
    assert math.isnan(metrics.correlation(pair[0], np.ones_like(pair[0])))
