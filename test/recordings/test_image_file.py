"""Images from files: two formats, and none larger than a camera's."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from cista_ros.errors import DecodeError
from cista_ros.recordings.image_file import decode_image

IMAGE = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)


def encoded(name, image=IMAGE, *options):
    return cv2.imencode(name, image, list(options))[1].tobytes()


def png_that_says(width, height):
    """A PNG whose header has these sizes and a right checksum, and as good as no data."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [head, b"IDAT" + zlib.compress(bytes(100)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


def test_png_and_jpeg_are_read():
    np.testing.assert_array_equal(decode_image(encoded(".png")), IMAGE)
    for option in (0, 1):
        jpeg = decode_image(encoded(".jpg", np.full_like(IMAGE, 77), cv2.IMWRITE_JPEG_PROGRESSIVE, option))
        assert jpeg.shape == IMAGE.shape and abs(int(jpeg.mean()) - 77) <= 1


@pytest.mark.parametrize("size", [(1 << 16, 1 << 16), (1 << 30, 1 << 30), (33_554_433, 1), (2**32 - 1, 2**32 - 1)])
def test_a_png_of_a_few_bytes_that_says_it_is_huge(size):
    with pytest.raises(DecodeError, match=f"{size[0]}x{size[1]} pixels; expected at most"):
        decode_image(png_that_says(*size))


def test_a_jpeg_of_a_few_bytes_that_says_it_is_huge():
    jpeg = bytearray(encoded(".jpg"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(DecodeError, match="65535x65535 pixels"):
        decode_image(bytes(jpeg))


@pytest.mark.parametrize("name", [".bmp", ".tiff", ".webp", ".pgm"])
def test_other_formats_are_refused(name):
    with pytest.raises(DecodeError, match="neither PNG nor JPEG"):
        decode_image(encoded(name))


@pytest.mark.parametrize("share", range(0, 100, 7))
@pytest.mark.parametrize("name", [".png", ".jpg"])
def test_a_cut_file_is_refused_or_read_whole(name, share):
    data = encoded(name)
    try:
        assert decode_image(data[: len(data) * share // 100]).shape == IMAGE.shape
    except DecodeError as error:
        assert "cannot be read as an image" in str(error)
