"""The loss against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from cista_ros.metrics import ssim
from cista_ros.training.config import LossConfig
from cista_ros.training.losses import SequenceLoss, equalised, fitted, last_informed

T, N, SIDE = 5, 2, 24


def images(seed: int, count: int = T) -> torch.Tensor:
    return torch.rand(count, N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def test_a_fitted_image_has_the_least_squares_scale_and_offset():
    truth = images(0) * 0.5 + 0.2
    assert torch.allclose(fitted((truth - 0.1) / 2, truth), truth, atol=1e-6)
    flat = fitted(torch.full_like(truth, 0.9), truth)
    assert torch.allclose(flat, truth.mean((-3, -2, -1), keepdim=True).expand_as(flat), atol=1e-6)
    upside_down = fitted(1 - truth, truth)
    assert torch.allclose(upside_down, flat, atol=1e-5), "a teacher that is wrong throughout gives no contrast"


def test_ssim_is_that_of_scikit_image():
    a, b = images(0)[:, 0], 0.7 * images(0)[:, 0] + 0.3 * images(1)[:, 0]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = []
    for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True):
        _, full = structural_similarity(x[0], y[0], full=True, **options)
        expected.append(full[5:-5, 5:-5].mean())
    assert np.allclose(ssim(a, b).numpy(), expected, atol=2e-5)


def test_loss_of_the_true_images_is_zero():
    truth = images(0, T + 1)
    config = LossConfig(temporal=1.0)
    parts = SequenceLoss(config)(truth[1:], truth, torch.tensor(0.0), 0, T)
    assert set(parts) == {"l1", "ssim", "temporal", "total"}
    assert parts["total"].abs() < 1e-6


def test_each_part_has_its_weight():
    truth, made = images(0, T + 1), images(1)
    config = LossConfig(
        l1=2.0, ssim=0.0, temporal=3.0, sparsity=0.5, perceptual=4.0, perceptual_every=2, first_window=1
    )
    seen = []

    def perceptual(a, b):
        seen.append((a, b))
        return torch.full((len(a),), 0.25)

    parts = SequenceLoss(config, perceptual)(made, truth, torch.tensor(7.0), 0, T)
    l1 = (made[1:] - truth[2:]).abs().mean()
    temporal = ((made[2:] - made[1:-1]) - (truth[3:] - truth[2:-1])).abs().mean()
    assert torch.allclose(parts["total"], 2 * l1 + 3 * temporal + 0.5 * 7 + 4 * 0.25)
    # Of the windows 1 to 4 every second, counted back from the last: 2 and 4.
    assert torch.equal(seen[0][0], made[[2, 4]].flatten(0, 1)) and torch.equal(seen[0][1], truth[[3, 5]].flatten(0, 1))


def test_many_to_one_looks_at_the_last_image_only():
    loss = SequenceLoss(LossConfig(images="last", ssim=0.0))
    truth, made = images(0, T + 1), images(1)
    assert loss(made, truth, torch.tensor(0.0), 0, windows=T + 1) == {}
    parts = loss(made, truth, torch.tensor(0.0), 0, windows=T)
    assert torch.allclose(parts["total"], (made[-1] - truth[-1]).abs().mean())


def test_the_first_windows_do_not_count():
    loss = SequenceLoss(LossConfig(first_window=7, ssim=0.0))
    truth, made = images(0, T + 1), images(1)
    assert loss(made, truth, torch.tensor(0.0), first=0, windows=T + 1) == {}
    parts = loss(made, truth, torch.tensor(0.0), first=4, windows=4 + T)
    assert torch.allclose(parts["l1"], (made[3:] - truth[4:]).abs().mean())


def test_a_perceptual_weight_needs_a_distance():
    with pytest.raises(ValueError, match="perceptual"):
        SequenceLoss(LossConfig(perceptual=1.0))


def test_equalised_images_are_level_and_keep_their_order():
    torch.manual_seed(0)
    image = 0.3 + 0.1 * torch.rand(2, 1, 40, 50) ** 1.5
    level = equalised(image)
    for before, after in zip(image.flatten(1), level.flatten(1), strict=True):
        order = before.argsort()
        assert (after[order].diff() >= -1e-6).all()
    fine = equalised(image, levels=4096)
    counts = torch.histc(fine, bins=10, min=0, max=1)
    assert (counts / counts.mean() - 1).abs().max() < 0.05


def test_the_gradient_of_equalised_is_the_density():
    image = torch.tensor([0.1, 0.11, 0.12, 0.9], dtype=torch.float64).view(1, 1, 2, 2).requires_grad_()
    equalised(image, levels=4).sum().backward()
    # Three of four pixels lie in the first quarter: density 3/4 over a width of 1/4.
    assert torch.allclose(image.grad.flatten(), torch.tensor([3.0, 3, 3, 1], dtype=torch.float64))


def test_in_windows_without_events_what_was_shown_before_them_is_held() -> None:
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(5, 2, 1, 16, 16, generator=generator)
    truth = torch.rand(6, 2, 1, 16, 16, generator=generator)
    still = torch.zeros(5, 2, dtype=torch.bool)
    still[1:3, 0] = True

    told = last_informed(images, still, None)
    wanted = truth[1:].clone()
    wanted[1:3, 0] = images[0, 0]
    parts = SequenceLoss(LossConfig(first_window=0))(images, truth, torch.tensor(0.0), 0, T, (still, told))
    assert torch.isclose(parts["l1"], (images - wanted).abs().mean())

    # In pieces it is the same.
    first = last_informed(images[:2], still[:2], None)
    assert torch.equal(told, torch.cat((first, last_informed(images[2:], still[2:], first[-1]))))


def test_the_temporal_term_can_be_taken_on_the_end_of_a_sequence_only():
    truth, made = torch.zeros(T + 1, N, 1, SIDE, SIDE), torch.zeros(T, N, 1, SIDE, SIDE)
    made[1] = 1.0  # flickers up and down again: changes of 1 at the windows 1 and 2
    changes = {1.0: (1 + 1 + 0 + 0) / 4, 0.6: (1 + 0 + 0) / 3, 0.4: 0.0}
    for last, expected in changes.items():
        loss = SequenceLoss(LossConfig(first_window=0, temporal=1.0, temporal_last=last, ssim=0.0))
        assert float(loss(made, truth, torch.tensor(0.0), 0, T)["temporal"]) == pytest.approx(expected)
    # In pieces, as truncated back-propagation takes them: windows 0 and 1 of 5 are not of the last 60 %.
    loss = SequenceLoss(LossConfig(first_window=0, temporal=1.0, temporal_last=0.6, ssim=0.0))
    assert "temporal" not in loss(made[:2], truth[:3], torch.tensor(0.0), 0, T)
    assert float(loss(made[2:], truth[2:], torch.tensor(0.0), 2, T)["temporal"]) == 0
