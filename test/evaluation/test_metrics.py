from __future__ import annotations

import math
import sys
import types

import cv2
import independent
import numpy as np
import pytest

from cista_ros.errors import CistaError
from cista_ros.evaluation import metrics
from cista_ros.evaluation.metrics import METRICS, MetricChoice, Scorer, TemporalConsistency, find_metrics, load_lpips
from cista_ros.evaluation.protocols import EvaluationError

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
        assert metrics.ssim(*pair, gaussian=gaussian) == pytest.approx(expected["ssim"], abs=1e-9)


def test_an_image_without_error_has_the_best_scores(pair):
    assert metrics.mse(pair[1], pair[1]) == 0
    assert metrics.psnr(pair[1], pair[1]) == 100
    assert metrics.ssim(pair[1], pair[1], gaussian=True) == pytest.approx(1)


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
    choice = find_metrics(("alex",), None)
    assert choice.missing[0][0] == "lpips_alex" and "lpips cannot be imported" in choice.missing[0][1]
    assert "lpips_alex" not in choice.keys
    assert "lpips_alex" not in Scorer(choice).score(np.zeros((20, 20)), np.ones((20, 20)))

    (tmp_path / "lpips.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "lpips")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EvaluationError, match=r"cannot be imported .operator torchvision::nms does not exist"):
        load_lpips("vgg")

    def no_backbone(**_):
        raise OSError("Name or service not known")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=no_backbone))
    with pytest.raises(EvaluationError, match="the vgg backbone cannot be had: Name or service not known"):
        load_lpips("vgg")


def test_lpips_squeeze_bears_its_own_name_and_grows_with_the_difference(shared_file):
    pytest.importorskip("h5py")
    files = shared_file("weights/squeezenet1.1-notop-keras.h5"), shared_file("weights/lpips-v0.1-squeeze-heads.pth")
    choice = find_metrics((), files)
    assert choice.keys[-2:] == ["lpips_squeeze_keras", "temporal"]
    assert METRICS["lpips_squeeze_keras"].label == "LPIPS-squeeze (Keras weights)"
    truth = cv2.imread(str(shared_file("recordings/slider_depth_start/images/frame_00000000.png")), 0)[:96, :96] / 255
    scorer = Scorer(choice)
    values = [scorer.score(cv2.GaussianBlur(truth, (0, 0), s), truth)["lpips_squeeze_keras"] for s in (0.01, 1, 3)]
    assert values[0] == pytest.approx(0, abs=1e-6) and values == sorted(values) and values[2] > 0.2


def test_files_that_are_no_backbone_are_named(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(CistaError, match=r"a.h5: not the SqueezeNet 1.1 backbone as Keras stores it"):
        find_metrics((), (tmp_path / "a.h5", tmp_path / "heads.pth"))


def test_what_is_computed_can_be_sent_to_another_process():
    import pickle

    choice = MetricChoice((), None, (("lpips_vgg", "no"),))
    assert pickle.loads(pickle.dumps(choice)) == choice
