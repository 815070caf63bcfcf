"""Folders of pictures, good and bad."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from cista_ros.simulation.pictures import PictureError, Pictures, load_pictures, split_held_out


def write(path, height=40, width=50, value=100):
    assert cv2.imwrite(str(path), np.full((height, width), value, np.uint8))


def test_pictures_of_several_sizes_are_read_in_order_of_their_names(tmp_path):
    write(tmp_path / "b.png", 40, 50, 1)
    write(tmp_path / "a.png", 60, 33, 2)
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = load_pictures(tmp_path)
    assert [(name, p.shape) for name, p in pictures.items()] == [("a.png", (60, 33)), ("b.png", (40, 50))]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: f.rmdir(), "no such folder"),
        (lambda f: None, "no pictures"),
        (lambda f: (f / "x.jpg").write_bytes(b"no jpeg"), "x.jpg: not a picture"),
        (lambda f: (f / "x.pgm").write_bytes(b"P5 60000 60000 255\n"), "x.pgm: not a picture"),
        (lambda f: write(f / "x.png", 31, 400), "x.png: 400x31 is too small, at least 32x32"),
    ],
)
def test_bad_folders_are_named(tmp_path, prepare, message):
    folder = tmp_path / "pictures"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(PictureError, match=message):
        load_pictures(folder)


def test_crops_are_pieces_of_the_pictures():
    ramp = np.add.outer(np.arange(50), 3 * np.arange(40)).astype(np.uint8)
    crops = Pictures([ramp]).crops(20, 32, torch.Generator().manual_seed(0)) * 255
    steps = crops.diff(dim=2)
    assert torch.allclose(crops.diff(dim=1), torch.ones(1), atol=1e-3)
    assert ((steps - 3).abs() < 1e-3).all((1, 2)).any() and ((steps + 3).abs() < 1e-3).all((1, 2)).any()


def test_crops_larger_than_the_picture_are_continued_by_reflection():
    picture = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
    crop = Pictures([picture]).crops(1, 100, torch.Generator().manual_seed(0))[0] * 255
    expected = np.pad(picture, ((0, 68), (0, 68)), mode="reflect")
    assert np.array_equal(crop.numpy(), expected) or np.array_equal(crop.numpy(), expected[:, ::-1])


def test_held_out_pictures_are_chosen_by_name():
    pictures = {f"{i}.png": np.full((32, 32), i, np.uint8) for i in range(100)}
    training, held_out = split_held_out(pictures, 0.1)
    assert (len(training), len(held_out)) == (90, 10)
    shuffled = dict(sorted(pictures.items(), reverse=True))
    assert [p[0, 0] for p in split_held_out(shuffled, 0.1)[1]] == [p[0, 0] for p in held_out]
    with pytest.raises(PictureError, match="at least two"):
        split_held_out({"a": pictures["0.png"]}, 0.1)
