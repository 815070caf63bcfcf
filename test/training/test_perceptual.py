"""The perceptual distance on SqueezeNet features."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from cista_ros.training.perceptual import load_distance
from cista_ros.training.state import TrainingError

FIRES = [(64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128), (256, 48, 192), (384, 48, 192), (384, 64, 256)]
FIRES += [(512, 64, 256)]


def write_random_files(folder):
    """Write a SqueezeNet 1.1 with random weights as Keras stores it, and heads with positive random weights."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    layers = {"conv1": (3, 3, 3, 64)}
    for i, (inputs, squeezed, expanded) in enumerate(FIRES, 2):
        layers[f"fire{i}/squeeze1x1"] = (1, 1, inputs, squeezed)
        layers[f"fire{i}/expand1x1"] = (1, 1, squeezed, expanded)
        layers[f"fire{i}/expand3x3"] = (3, 3, squeezed, expanded)
    with h5py.File(folder / "backbone.h5", "w") as file:
        for name, shape in layers.items():
            kernel = rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
            file[f"{name}/kernel"] = kernel.astype(np.float32)
            file[f"{name}/bias"] = np.zeros(shape[3], np.float32)
    sizes = [64, 128, 256, 384, 384, 512, 512]
    heads = {f"lin{i}.model.1.weight": torch.rand(1, size, 1, 1) for i, size in enumerate(sizes)}
    torch.save(heads, folder / "heads.pth")
    return folder / "backbone.h5", folder / "heads.pth"


@pytest.fixture(params=["random", "published"])
def files(request, shared_file, tmp_path):
    if request.param == "random":
        return write_random_files(tmp_path)
    pytest.importorskip("h5py")
    return shared_file("weights/squeezenet1.1-notop-keras.h5"), shared_file("weights/lpips-v0.1-squeeze-heads.pth")


def test_it_grows_with_the_difference_and_has_gradients(files):
    distance = load_distance(*files)
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 72, 72, generator=generator), 9, 1)
    noise = torch.randn(image.shape, generator=generator)
    values = [float(distance(image, image + strength * noise)) for strength in (0, 0.01, 0.05, 0.2)]
    assert values[0] == 0 and values == sorted(values) and values[-1] > 0.1
    changed = (image + 0.1 * noise).requires_grad_()
    distance(changed, image).sum().backward()
    assert changed.grad.abs().sum() > 0


def test_features_have_the_sizes_of_squeezenet(files):
    features = load_distance(*files)._features(torch.rand(1, 1, 64, 64))
    assert [f.shape[1] for f in features] == [64, 128, 256, 384, 384, 512, 512]
    assert [f.shape[2] for f in features] == [31, 15, 7, 3, 3, 3, 3]


def test_files_that_do_not_fit_are_named(tmp_path):
    pytest.importorskip("h5py")
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=r"wrong.h5: not a SqueezeNet"):
        load_distance(wrong, wrong)
    backbone, heads = write_random_files(tmp_path)
    for content, message in (("text", "not a file of"), (torch.zeros(3), "belong to another backbone")):
        torch.save({f"lin{i}.model.1.weight": content for i in range(7)}, heads)
        with pytest.raises(TrainingError, match=f"heads.pth: .*{message}"):
            load_distance(backbone, heads)
    with pytest.raises(TrainingError, match="need each other"):
        load_distance(wrong, None)


def test_without_files_and_without_lpips_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(TrainingError, match="needs --backbone and --heads"):
        load_distance(None, None)
