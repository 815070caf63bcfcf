from __future__ import annotations

import numpy as np

from cista_ros.events import make_events, no_events
from cista_ros.util.drawing import BRIGHTER, DARKER, contact_sheet, draw_activity, draw_events


def test_pixels_have_the_colour_of_their_majority():
    image = draw_events(make_events([1, 1, 2, 3, 3], [0, 0, 0, 1, 1], range(5), [1, 1, 0, 1, 0]), 2, 4)
    assert tuple(image[0, 1]) == BRIGHTER
    assert tuple(image[0, 2]) == DARKER
    assert image[1, 3].tolist() == [255] * 3, "one brighter and one darker: nothing"
    assert (draw_events(no_events(), 2, 4) == 255).all()


def test_activity_is_shown_on_a_scale_of_its_own():
    activity = np.arange(200, dtype=np.float32).reshape(10, 20)
    shown = draw_activity(activity)
    assert (shown.dtype, shown.shape, shown[0, 0]) == (np.uint8, (10, 20), 0)
    assert (shown.ravel()[activity.ravel() >= np.percentile(activity, 99)] == 255).all() and shown[5, 5] == 136
    assert np.array_equal(shown, draw_activity(1000 * activity))
    assert not draw_activity(np.zeros((3, 4), np.float32)).any()
    few = np.zeros((20, 20), np.float32)
    few[3, 5] = 0.1
    assert (draw_activity(few) == 255).sum() == 1


def test_a_sheet_shows_every_image_in_a_grid():
    images = [np.full((20, 30), value, np.uint8) for value in range(10, 60, 10)]
    sheet = contact_sheet([[image, image] for image in images], [f"{i}" for i in range(5)], columns=2)
    panel_height, panel_width = 20 + 6 + 22, 2 * (30 + 6)
    assert sheet.shape == (3 * panel_height, 2 * panel_width, 3)
    for value in range(10, 60, 10):
        assert (sheet == value).all(2).sum() >= 2 * 20 * 30
