"""The folder of images on a disk that becomes full: told by name, with no half picture and no half array left."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers import files_of_at_most

from cista_ros.commands.frame_folder import FrameFolder
from cista_ros.events import no_events
from cista_ros.reconstructor import Frame

SIZE = 40, 60


def picture(i):
    image = np.random.default_rng(i).random(SIZE, np.float32)
    return Frame(image, image, i, no_events(), 1)


def test_a_picture_that_does_not_fit_is_named_and_none_is_left_half(tmp_path):
    with (
        pytest.raises(OSError, match=r"00000000\.png"),
        FrameFolder(tmp_path, *SIZE) as folder,
        files_of_at_most(500),
    ):
        folder.write(picture(0), 1.0)
    assert not list((tmp_path / "frames").iterdir())


@pytest.mark.parametrize("pictures", [10, 400])
def test_an_array_that_does_not_fit_is_told_and_not_left(tmp_path, pictures):
    # 9.6 kB each: the first does not fit when the array is put together, or already while it waits.
    limit = int(9600 * min(pictures, 20) * 1.001)
    with (
        files_of_at_most(limit),
        pytest.raises(OSError, match=str(tmp_path)),
        FrameFolder(tmp_path, *SIZE, npz=True) as folder,
    ):
        for i in range(pictures):
            folder.write(picture(i), 1.0)
    assert not list(tmp_path.glob("frames.npz*"))
    written = list((tmp_path / "frames").iterdir())
    assert written and all(cv2.imread(str(path)) is not None for path in written)
