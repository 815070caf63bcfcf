from __future__ import annotations

import numpy as np
import pytest
import torch

from cista_ros.errors import DeviceError, EventError
from cista_ros.events import make_events
from cista_ros.networks import make_network
from cista_ros.reconstructor import Reconstructor, choose_device
from cista_ros.voxel_grid import clip_hot_pixels, normalise, voxel_grid

H, W = 20, 24


def random_events(n, seed=0):
    rng = np.random.default_rng(seed)
    return make_events(
        rng.integers(0, W, n), rng.integers(0, H, n), np.sort(rng.integers(0, 10**7, n)), rng.integers(0, 2, n)
    )


def by_hand(network, windows, hot_pixels=False):
    state, images = None, []
    with torch.inference_mode():
        for events in windows:
            grid = torch.from_numpy(voxel_grid(events, H, W))
            image, state = network(normalise(clip_hot_pixels(grid) if hot_pixels else grid)[None], state)
            images.append(image[0, 0].numpy())
    return images


def test_windows_are_voxelised_normalised_and_put_through_the_network_in_turn(small_network):
    windows = [random_events(50, seed) for seed in range(3)]
    reconstructor = Reconstructor(small_network, H, W, "cpu", runtime="eager")
    results = [reconstructor.reconstruct(events) for events in windows]
    for result, expected in zip(results, by_hand(small_network, windows), strict=True):
        np.testing.assert_array_equal(result.image, expected)
        assert (result.image.dtype, result.image.shape, result.steps) == (np.float32, (H, W), 1)


def test_a_window_of_too_many_events_takes_several_steps_and_shows_the_last(small_network):
    events = random_events(100)
    result = Reconstructor(small_network, H, W, "cpu", runtime="eager", max_events=40).reconstruct(events)
    assert result.steps == 2
    np.testing.assert_array_equal(result.image, by_hand(small_network, [events[:50], events[50:]])[-1])


def test_the_default_limit_is_the_papers_scaled_with_the_area(small_network):
    limit = 15_000 * H * W / (240 * 180)  # 167 events
    result = Reconstructor(small_network, H, W, "cpu", runtime="eager").reconstruct(random_events(round(3 * limit)))
    assert result.steps == 3


def test_without_splitting_one_step_must_do(small_network):
    events = random_events(100)
    result = Reconstructor(small_network, H, W, "cpu", runtime="eager", max_events=40).reconstruct(events, split=False)
    assert result.steps == 1
    np.testing.assert_array_equal(result.image, by_hand(small_network, [events])[0])


def test_reset_begins_a_new_sequence(small_network):
    reconstructor, events = Reconstructor(small_network, H, W, "cpu", runtime="eager"), random_events(50)
    first = reconstructor.reconstruct(events).image
    assert not np.array_equal(reconstructor.reconstruct(events).image, first)
    reconstructor.reset()
    np.testing.assert_array_equal(reconstructor.reconstruct(events).image, first)


def test_hot_pixels_are_limited_only_if_asked(small_network):
    hot = random_events(300)
    hot["x"][::2], hot["y"][::2], hot["p"][::2] = 3, 3, True
    hot = [hot]
    plain, limited = (
        Reconstructor(small_network, H, W, "cpu", runtime="eager", max_events=1000, clip_hot_pixels=clip)
        .reconstruct(hot[0])
        .image
        for clip in (False, True)
    )
    np.testing.assert_array_equal(plain, by_hand(small_network, hot)[0])
    np.testing.assert_array_equal(limited, by_hand(small_network, hot, hot_pixels=True)[0])
    assert not np.array_equal(plain, limited)


def test_auto_takes_the_gpu_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_where_there_is_none_is_refused(name):
    with pytest.raises(DeviceError, match=rf"^device '{name}': .* no CUDA GPU"):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cpu:", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:\u0660", "meta"])
def test_unknown_devices_are_refused_with_the_known_ones(name):
    with pytest.raises(DeviceError, match="is not one of auto, cpu, cuda, cuda:N"):
        choose_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_gives_the_images_of_the_cpu(small_network):
    windows = [random_events(200, seed) for seed in range(5)]
    expected = by_hand(small_network, windows)
    reconstructor = Reconstructor(small_network, H, W, "cuda", runtime="eager")
    for events, image in zip(windows, expected, strict=True):
        np.testing.assert_allclose(reconstructor.reconstruct(events).image, image, atol=1e-4)


@pytest.mark.parametrize("runtime", ["fused", "winograd"])
def test_another_runtime_shows_the_same_and_forgets_at_a_reset(runtime, small_network):
    windows = [random_events(50, seed) for seed in range(3)]
    reconstructor = Reconstructor(small_network, H, W, "cpu", runtime=runtime)
    for _ in range(2):
        for events, image in zip(windows, by_hand(small_network, windows), strict=True):
            np.testing.assert_allclose(reconstructor.reconstruct(events).image, image, atol=1e-5)
        reconstructor.reset()
    assert reconstructor.runtime_note == f"runtime {runtime} fp32"


def test_downscale_reconstructs_the_events_of_each_square_as_those_of_one_pixel(small_network):
    height, width = 2 * H + 1, 3 * W
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 10**7, 400))
    x, y, p = rng.integers(0, width, 400), rng.integers(0, height, 400), rng.integers(0, 2, 400)
    small = Reconstructor(small_network, height // 2, width // 2, "cpu", runtime="eager", max_events=10**6)
    # The odd row joins the last one, as image_geometry expects of the size.
    expected = small.reconstruct(make_events(x // 2, np.minimum(y // 2, height // 2 - 1), t, p)).image
    coarse = Reconstructor(small_network, height, width, "cpu", runtime="eager", max_events=10**6, downscale=2)
    image = coarse.reconstruct(make_events(x, y, t, p)).image
    np.testing.assert_array_equal(image, expected)
    assert image.shape == (coarse.image_height, coarse.image_width) == (H, 36)


@pytest.mark.parametrize("factor", [0, -1, 2])
def test_a_downscale_that_leaves_too_little_is_refused(factor, small_network):
    with pytest.raises(EventError, match=f"downscale {factor} is not possible on a 24x20 sensor"):
        Reconstructor(small_network, H, W, "cpu", downscale=factor)


def test_a_sensor_that_is_too_small_for_a_network_is_refused():
    network = make_network("pie-net").eval()
    with pytest.raises(EventError, match=r"18x19 sensor: .* this network at least 20x20 pixels"):
        Reconstructor(network, 19, 18, "cpu")
