"""Text, as a folder, a file and zipped: its chunks, its optional files, and everything that can be wrong with it."""

import gzip
import zipfile

import cv2
import numpy as np
import pytest
from makers import NS, T0, error_of, frames, random_events, text_of, write_text, write_zip

from cista_ros.events import concatenate
from cista_ros.recordings import open_recording, text
from cista_ros.wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage

EVENTS = random_events(3000)
CONVERTERS = pytest.mark.parametrize("layout", ["folder", "zip", "zip_below"])


@pytest.fixture
def folder(tmp_path):
    return write_text(tmp_path / "recording", EVENTS, frames(3))


def as_layout(folder, layout):
    if layout == "folder":
        return folder
    return write_zip(folder.with_suffix(".zip"), folder, below="slider_depth/" if layout == "zip_below" else "")


def messages_of(path, kind):
    with open_recording(path) as recording:
        return [r.message for r in recording.read() if isinstance(r.message, kind)]


def test_a_zip_is_not_unpacked(folder):
    path = as_layout(folder, "zip_below")
    before = sorted(folder.parent.rglob("*"))
    assert len(messages_of(path, ImageMessage)) == 3
    assert sorted(folder.parent.rglob("*")) == before


def test_chunks_last_a_thirtieth_of_a_second(folder):
    chunks = messages_of(folder, EventMessage)
    assert 30 <= len(chunks) <= 31
    assert max(int(m.events["t"][-1] - m.events["t"][0]) for m in chunks) < NS // 30
    assert all(m.stamp == m.events["t"][0] for m in chunks)


def test_a_chunk_does_not_grow_without_bound(tmp_path):
    events = np.repeat(random_events(1), 500_000)
    line = f"{events['t'][0] // NS}.{events['t'][0] % NS:09d} {events['x'][0]} {events['y'][0]} {int(events['p'][0])}\n"
    folder = write_text(tmp_path / "recording", events[:0])
    (folder / "events.txt").write_text(line * len(events))
    sizes = [len(m.events) for m in messages_of(folder, EventMessage)]
    assert sum(sizes) == 500_000 and 200_000 <= max(sizes) < 220_000


@CONVERTERS
def test_images_and_calibration_are_optional(tmp_path, layout):
    path = as_layout(write_text(tmp_path / "recording", EVENTS, calibration=None), layout)
    with open_recording(path) as recording:
        assert (recording.height, recording.width) == (180, 240)  # the dataset's camera
        assert recording.frames_topic is None and recording.camera_info_topic is None
        assert recording.duration == (None if layout != "folder" else pytest.approx(1, abs=0.01))
        assert {type(r.message) for r in recording.read()} == {EventMessage}


def test_without_images_the_calibration_comes_once_at_the_start(tmp_path):
    folder = write_text(tmp_path / "recording", EVENTS)
    assert [m.stamp for m in messages_of(folder, CameraInfoMessage)] == [EVENTS["t"][0]]


@pytest.mark.parametrize(
    ("image", "encoding"),
    [(np.full((18, 24), 7, np.uint8), "mono8"), (np.full((18, 24), 700, np.uint16), "mono16"),
     (np.full((18, 24, 3), (1, 2, 3), np.uint8), "bgr8"), (np.full((18, 24, 4), 9, np.uint8), "bgra8")],
)  # fmt: skip
def test_reads_images_of_any_encoding(folder, image, encoding):
    cv2.imwrite(str(folder / "images" / "frame_00000001.png"), image)
    message = messages_of(folder, ImageMessage)[1]
    assert message.encoding == encoding
    np.testing.assert_array_equal(message.image, image)


def test_images_are_not_decoded_unless_asked_for(folder):
    (folder / "images" / "frame_00000002.png").write_bytes(b"damaged")
    with open_recording(folder) as recording:
        assert len(recording.frame_stamps()) == 3
        assert concatenate([r.message.events for r in recording.read(frames=False, camera_info=False)]).size == 3000
        assert len(list(recording.read(0, 0.09))) > 3  # the damaged frame lies after it


def test_frame_times_are_exact(folder):
    (folder / "images.txt").write_text(f"{T0 // NS}.067416019 images/frame_00000000.png\n\n")
    with open_recording(folder) as recording:
        assert recording.frame_stamps().tolist() == [T0 // NS * NS + 67_416_019]


@CONVERTERS
def test_a_bad_line_is_named(folder, layout):
    lines = (folder / "events.txt").read_text().splitlines()
    lines[2000] = "1468939993.5 12 x 1"
    (folder / "events.txt").write_text("\n".join(lines))
    error = error_of(as_layout(folder, layout), read=True)
    assert error.startswith("events.txt, line 2001: '1468939993.5 12 x 1'; expected t x y p")


@CONVERTERS
def test_no_event(folder, layout):
    (folder / "events.txt").write_text("")
    assert error_of(as_layout(folder, layout)) == "events.txt has no events"


@CONVERTERS
@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "is missing"), *((c, "cannot be read as an image") for c in (b"", b"no image", "half"))],
)
def test_a_missing_or_corrupt_image(folder, layout, content, expected):
    file = folder / "images" / "frame_00000001.png"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:200] if content == "half" else content)
    error = error_of(as_layout(folder, layout), read=True)
    assert error.startswith(f"images/frame_00000001.png (images.txt, line 2) {expected}")


@CONVERTERS
@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.png", "images/../../secret.png"])
def test_rejects_an_image_outside_the_recording(folder, layout, name):
    cv2.imwrite(str(folder.parent / "secret.png"), np.zeros((18, 24), np.uint8))
    (folder / "images.txt").write_text(f"0.5 {name}\n")
    assert error_of(as_layout(folder, layout)) == f"images.txt, line 1: {name} is outside the recording"


@pytest.mark.parametrize(
    "line", ["0.5", *(f"{t} images/a.png" for t in ("x", "nan", "inf", "1e30", "1e999999999", "-1", "9300000000.0"))]
)
def test_a_bad_line_in_images_txt(folder, line):
    (folder / "images.txt").write_text(f"0.1 images/frame_00000000.png\n{line}\n")
    assert error_of(folder) == f"images.txt, line 2: {line!r}; expected 't name': seconds and a file"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *(("calib.txt", text, f"calib.txt: {text!r}; expected fx fy cx cy k1 k2 p1 p2 k3")
          for text in ("1 2 3", "a b c d e f g h i", "1 2 3 4 5 6 7 8 9 10")),
        ("size.txt", "240", "size.txt: '240'; expected 'width height' in pixels"),
        *(("size.txt", f"{n} 180", "size.txt states") for n in ("0", "-1", "1.5", "1e9", "nan")),
    ],
)  # fmt: skip
def test_bad_numbers_of_the_camera_are_named(folder, name, text, expected):
    (folder / name).write_text(text)
    assert error_of(folder).startswith(expected)


def test_text_that_is_not_utf_8(folder):
    (folder / "images.txt").write_bytes(b"0.5 \xff\xfe.png\n")
    assert error_of(folder).startswith("images.txt cannot be read: 'utf-8' codec")


def test_a_topic_that_is_named_but_missing(folder):
    there = "the recording has /dvs/events, /dvs/image_raw"
    assert error_of(folder, events_topic="/events") == f"no topic /events (--events-topic); {there}"
    assert error_of(folder, frames_topic="/frames") == f"no topic /frames (--frames-topic); {there}"
    open_recording(folder, events_topic="/dvs/events", frames_topic="/dvs/image_raw").close()


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_zip(folder, share):
    path = as_layout(folder, "zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "not a zip file" in error_of(path)
    path.write_bytes(b"no zip")
    assert "not a zip file" in error_of(path)


def test_a_corrupt_zip(folder):
    path = as_layout(folder, "zip")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("events.txt").header_offset + 5000
    raw = bytearray(path.read_bytes())
    raw[start : start + 100] = bytes(100)
    path.write_bytes(raw)
    assert error_of(path, read=True).startswith(("events.txt cannot be read: ", "events.txt, line "))


def test_rejects_a_zip_without_events(tmp_path):
    for names, found in (
        (["readme.txt", "notes.txt"], "no events.txt"),
        (["a.csv", "b.csv"], "no events.txt"),
        (["a/events.txt", "b/events.txt"], "2 times events.txt"),
    ):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "0.1 1 1 1\n")
        assert error_of(tmp_path / "a.zip").startswith(found)


def test_a_link_out_of_a_folder_is_not_followed(folder):
    cv2.imwrite(str(folder.parent / "secret.png"), np.zeros((18, 24), np.uint8))
    (folder / "images" / "frame_00000001.png").unlink()
    (folder / "images" / "frame_00000001.png").symlink_to(folder.parent / "secret.png")
    assert error_of(folder, read=True).endswith("frame_00000001.png (images.txt, line 2) is outside the recording")


@pytest.mark.parametrize("name", ["../../outside.png", "/outside.png", "images/frame_00000000.png"])
def test_an_archive_cannot_name_paths_outside_it(folder, name):
    """Entries that would be written elsewhere, and one that is a symbolic link: they are only ever bytes."""
    path = write_zip(folder.parent / "a.zip", folder)
    secret = folder.parent / "secret.png"
    cv2.imwrite(str(secret), np.zeros((18, 24), np.uint8))
    link = zipfile.ZipInfo("images/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, str(secret))
        archive.writestr("../../outside.png", secret.read_bytes())
        archive.writestr("/outside.png", secret.read_bytes())
    before = sorted(folder.parent.rglob("*"))
    with open_recording(path) as recording:
        assert len(list(recording.read())) > 3
    assert sorted(folder.parent.rglob("*")) == before
    (folder / "images.txt").write_text("0.5 images/link.png\n")
    linked = write_zip(folder.parent / "b.zip", folder)
    with zipfile.ZipFile(linked, "a") as archive:
        archive.writestr(link, str(secret))
    assert "images/link.png (images.txt, line 1) cannot be read as an image" in error_of(linked)


def bomb(path, name, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events.txt", text_of(EVENTS))
        archive.writestr(name, content)
    return path


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(text, "MAX_FRAMES", 1000)
    monkeypatch.setitem(text._LONGEST, "images.txt", 64_000)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("images.txt", bytes(1 << 20), "images.txt has more than 64000 bytes"),
        ("images.txt", b"1 a\n" * (1 << 18), "images.txt has more than 64000 bytes"),
        ("calib.txt", b" " * (1 << 20), "calib.txt has more than 4096 bytes"),
        ("size.txt", b"1" * (1 << 20), "size.txt has more than 4096 bytes"),
    ],
    ids=["zeros", "short lines", "blanks", "digits"],
)
@pytest.mark.usefixtures("small_limits")
def test_limits_the_unpacked_size_of_an_archive(tmp_path, name, content, expected):
    assert error_of(bomb(tmp_path / "a.zip", name, content)) == expected


@pytest.mark.usefixtures("small_limits")
def test_limits_the_number_of_images(tmp_path):
    path = bomb(tmp_path / "a.zip", "images.txt", b"1 a\n" * 1001)
    assert error_of(path) == "images.txt names more than 1000 images"


def test_stops_in_an_archive_of_blank_lines(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("events.txt", "w") as file:
        for _ in range(8):
            file.write(b"\n" * (1 << 18))
    assert "has no events" in error_of(path)


def test_a_bad_line_of_a_single_file_is_named_with_the_file_once(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(text_of(EVENTS) + "0.1 x 1 1\n" + text_of(EVENTS))
    assert error_of(path, read=True).startswith(f"line {len(EVENTS) + 1}: '0.1 x 1 1'; expected t x y p")


@pytest.mark.parametrize("name", ["slider.txt", "slider.csv", "slider.txt.gz", "deep.ZIP", "one.zip", "events.txt"])
def test_events_alone_in_a_file_of_any_name(name, tmp_path):
    """E2VID's text: the first line is "width height"."""
    content = ("240 180\n" + text_of(EVENTS)).encode()
    path = tmp_path / name
    if name.endswith("gz"):
        path.write_bytes(gzip.compress(content))
    elif name.lower().endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b/c/events.txt" if name == "deep.ZIP" else "slider_depth.txt", content)
    else:
        path.write_bytes(content)
    with open_recording(path) as recording:
        assert (recording.height, recording.width) == (180, 240) and not recording.notes
        np.testing.assert_array_equal(concatenate([r.message.events for r in recording.read()]), EVENTS)


def test_the_path_of_events_txt_is_that_of_its_folder(folder):
    with open_recording(folder / "events.txt") as recording:
        assert len(recording.frame_stamps()) == 3


def test_microseconds_are_not_read_as_seconds(tmp_path):
    path = tmp_path / "metavision.csv"
    rows = zip(*(EVENTS[name].tolist() for name in "xyp"), (EVENTS["t"] // 1000).tolist(), strict=True)
    path.write_text("".join(f"{x},{y},{int(p)},{t}\n" for x, y, p, t in rows))
    with open_recording(path) as recording:
        events = concatenate([r.message.events for r in recording.read()])
        assert "x y p t" in recording.notes[0] and "us" in recording.notes[0]
    np.testing.assert_array_equal(events["t"], EVENTS["t"] // 1000 * 1000)
    np.testing.assert_array_equal(events["x"], EVENTS["x"])
    with open_recording(path, time_unit="ns", columns="xypt") as recording:
        assert recording.first_event == EVENTS["t"][0] // 1000
        assert not any("is read as" in note for note in recording.notes)


def test_reads_truncated_text_up_to_its_last_whole_line(folder):
    raw = (folder / "events.txt").read_bytes()
    (folder / "events.txt").write_bytes(raw[:-4])
    with open_recording(folder) as recording:
        events = concatenate([r.message.events for r in recording.read(frames=False, camera_info=False)])
        assert "cut in line 3000" in recording.notes[0]
    np.testing.assert_array_equal(events, EVENTS[:-1])


def test_assumes_the_smallest_usual_sensor_that_the_events_fit_on(tmp_path):
    (tmp_path / "a.txt").write_text("0.1 300 200 1\n0.2 3 200 0\n")
    with open_recording(tmp_path / "a.txt") as recording:
        assert (recording.width, recording.height) == (304, 240) and "size" in recording.notes[0]
