"""Moving scenes: smooth, never faster than promised, and background and objects where they should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from cista_ros.simulation.pictures import Pictures
from cista_ros.simulation.scene import SceneConfig, Scenes, exposure_for

HEIGHT, WIDTH = 60, 80


def scenes(config: SceneConfig, count: int = 6, seed: int = 0) -> Scenes:
    y, x = np.mgrid[:200, :260]
    waves = [128 + 100 * np.sin(x / a) * np.cos(y / b) for a, b in ((9, 13), (14, 8), (11, 11))]
    pictures = Pictures([wave.astype(np.uint8) for wave in waves])
    return Scenes(pictures, count, HEIGHT, WIDTH, config, torch.Generator().manual_seed(seed))


def places(scene: Scenes, path: torch.Tensor) -> torch.Tensor:
    """Where on the background, in sensor pixels, each pixel looks: (N, S, HW, 2)."""
    mapped = scene._background_map(path) @ scene._pixels
    texture = mapped[:, :, :2] / mapped[:, :, 2:]
    half = scene._background.shape[-1] / 2
    return (texture * half / scene._texels.view(-1, 1, 1, 1)).transpose(2, 3)


def test_nothing_moves_much_more_than_a_pixel_per_unit_of_path():
    scene = scenes(SceneConfig(), count=20)
    path = torch.linspace(0, 100, 31)
    here, there = (places(scene, (path + step).expand(20, 31)) for step in (0.0, 0.5))
    speed = (there - here).norm(dim=-1) / 0.5
    # Levers are those of the first pose; zooming in and tilting lengthen them a little.
    assert speed.max() < 2
    assert 0.1 < speed.mean() < 1


def test_the_image_depends_only_on_the_path():
    scene = scenes(SceneConfig())
    path = torch.tensor([[0.0, 3.0, 0.0]]).expand(6, 3)
    images = scene.render(path)
    assert torch.equal(images[:, 0], images[:, 2])
    assert not torch.equal(images[:, 0], images[:, 1])


def test_small_steps_make_small_changes():
    scene = scenes(SceneConfig(objects=(0, 0)))
    near = scene.render(torch.tensor([[5.0, 5.01, 15.0]]).expand(6, 3))
    assert (near[:, 1] - near[:, 0]).abs().max() < 0.05 < (near[:, 2] - near[:, 0]).abs().max()


def test_objects_hide_parts_of_the_background_and_move_before_it():
    many = SceneConfig(objects=(60, 60))
    with_objects = scenes(many)
    without = scenes(replace(many, objects=(0, 0)))  # the same background: objects are drawn after it
    path = torch.zeros(6, 1)
    differs = (with_objects.render(path) - without.render(path)).abs() > 0.02
    assert 0.05 < differs.float().mean() < 0.98
    assert len(with_objects._objects) >= 6 and not without._objects


def test_the_number_of_objects_goes_with_the_area():
    small = Scenes(
        Pictures([np.zeros((64, 64), np.uint8)]), 50, 32, 32, SceneConfig(), torch.Generator().manual_seed(0)
    )
    assert len(small._objects) <= 2
    number = sum(len(present) for *_, present in scenes(SceneConfig(objects=(18, 18)), count=4)._objects)
    assert number in range(4 * 2, 4 * 2 + 5)  # 18 x 4800 / 43200 = 2 each


def test_pixels_see_light_and_the_dark_current():
    scene = scenes(SceneConfig(dark=(0.02, 0.02)), count=1)
    seen = scene.log_intensity(torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)).flatten().exp()
    assert torch.allclose(seen, torch.tensor([0.02, 1.02]))


def test_haze_is_light_everywhere():
    clear, hazy = (scenes(SceneConfig(haze=(haze, haze)), count=2) for haze in (0.0, 0.25))
    path = torch.zeros(2, 1)
    assert torch.allclose(hazy.render(path), clear.render(path) + 0.25, atol=1e-5)


def test_images_are_exposed_for_a_mean_and_clipped():
    for mean, response in ((0.12, 1.0), (0.3, 2.2), (0.55, 1.0)):
        scene = scenes(SceneConfig(mean=(mean, mean), response=(response, response), objects=(0, 0)), count=20)
        images = scene.expose(scene.render(torch.zeros(20, 1)))
        assert images.min() >= 0 and images.max() <= 1
        # The meter looks at a little more than the image shows.
        assert abs(float(images.mean()) - mean) < 0.04


def test_a_response_of_one_is_linear_in_light():
    scene = scenes(SceneConfig(mean=(0.1, 0.1), response=(1.0, 1.0)), count=1)
    image = scene.expose(torch.tensor([0.5, 1.0, 1e9]).view(1, 3, 1, 1)).flatten()
    assert torch.allclose(image[1], 2 * image[0]) and image[2] == 1


def test_an_exposure_out_of_reach_is_the_brightest():
    light = torch.zeros(1, 1, 8, 8)
    light[..., 0, 0] = 1.0
    mean, response = (torch.full((1, 1, 1, 1), value) for value in (0.5, 1.0))
    assert exposure_for(light, mean, response).isfinite().all()
