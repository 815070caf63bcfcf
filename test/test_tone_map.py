from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import exposure

from cista_ros.tone_map import TONE_MAPS, RobustStretch, make_tone_map, to_mono8, to_mono16

rng = np.random.default_rng(0)
IMAGE = (0.3 + 0.4 * rng.random((60, 80))).astype(np.float32)


@pytest.mark.parametrize("name", TONE_MAPS)
@given(low=st.floats(-0.5, 0.5), span=st.floats(0, 2))
def test_displayed_images_are_float32_of_the_same_size_in_0_to_1(name, low, span):
    shown = make_tone_map(name)((low + span * IMAGE).astype(np.float32))
    assert shown.dtype == np.float32
    assert shown.shape == IMAGE.shape
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_none_shows_the_network_itself():
    np.testing.assert_array_equal(make_tone_map("none")(IMAGE), IMAGE)


def test_stretch_reaches_both_ends():
    shown = make_tone_map("stretch")(IMAGE)
    assert (shown.min(), shown.max()) == (0, pytest.approx(1))
    np.testing.assert_allclose(shown, (IMAGE - IMAGE.min()) / np.ptp(IMAGE), atol=1e-6)


@pytest.mark.parametrize("name", ["stretch", "robust"])
def test_an_image_of_one_value_becomes_mid_grey(name):
    assert (make_tone_map(name)(np.full((20, 20), 0.7, np.float32)) == 0.5).all()


def test_equalising_comes_near_to_skimages_equalisation_of_the_same_levels():
    levels = to_mono8(make_tone_map("stretch")(IMAGE**3))
    ours = make_tone_map("equalise")(IMAGE**3)
    np.testing.assert_allclose(ours, exposure.equalize_hist(levels, 256), atol=0.02)


def test_robust_stretch_ignores_a_few_outliers():
    image = IMAGE.copy()
    image[0, 0], image[0, 1] = 0, 1
    assert np.ptp(RobustStretch()(image)[5:]) > 0.95


def test_robust_stretch_does_not_flicker_and_forgets_on_reset():
    tone_map = RobustStretch(rate=0.2)
    before = tone_map(IMAGE)
    brighter = tone_map(IMAGE + 0.2)
    assert np.abs(brighter - before).mean() > 0.2, "a jump of the scene is to be seen, not stretched away at once"
    for _ in range(60):
        settled = tone_map(IMAGE + 0.2)
    np.testing.assert_allclose(settled, before, atol=1e-3)
    tone_map.reset()
    np.testing.assert_allclose(tone_map(IMAGE), before, atol=1e-6)


def test_natural_keeps_the_mean_amplifies_noise_by_1_4_at_most_and_saturates_no_flat_region():
    noise = (0.5 + 0.01 * rng.standard_normal((60, 80))).astype(np.float32)
    shown = make_tone_map("natural")(noise)
    assert shown.mean() == pytest.approx(noise.mean(), abs=1e-3)
    assert shown.std() == pytest.approx(1.4 * noise.std(), rel=1e-3)
    walls = np.where(np.arange(80) < 40, 0.55, 0.9).astype(np.float32) * np.ones((60, 1), np.float32)
    assert make_tone_map("natural")(walls).max() < 0.99
    assert make_tone_map("robust")(walls).max() == 1


def test_natural_fits_images_beyond_0_to_1():
    shown = make_tone_map("natural")(10 * IMAGE - 3)
    np.testing.assert_allclose(shown, RobustStretch()(IMAGE), atol=1e-5)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^tone map 'bright' is not one of none, natural, stretch, "):
        make_tone_map("bright")


def test_pixels_are_rounded_not_cut():
    assert to_mono8(np.array([0, 0.499, 0.5, 1], np.float32)).tolist() == [0, 127, 128, 255]
    assert to_mono16(np.array([0, 0.5, 1], np.float32)).tolist() == [0, 32768, 65535]
