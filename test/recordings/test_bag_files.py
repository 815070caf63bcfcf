"""Bags that were made to do harm: memory, time and paths. Each is a valid bag but for one thing."""

import re
import sqlite3
import time

import pytest
import yaml
from backports import zstd
from makers import event_messages, random_events, with_topics, write_bag

from cista_ros.errors import RecordingError
from cista_ros.recordings import open_recording
from cista_ros.recordings.bag_files import BagPath

ROWS = with_topics(event_messages(random_events(300)))


def error_of(path):
    began = time.monotonic()
    with pytest.raises(RecordingError) as caught, open_recording(path) as recording:
        list(recording.read())
    assert time.monotonic() - began < 20
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def sqlite_bag(tmp_path, *statements):
    path = write_bag(tmp_path / "a", ROWS, "sqlite3")
    database = sqlite3.connect(path / "a.db3")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    return path


def change_metadata(path, **values):
    content = yaml.safe_load((path / "metadata.yaml").read_text())
    content["rosbag2_bagfile_information"] |= values
    (path / "metadata.yaml").write_text(yaml.safe_dump(content))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS schema_version FROM n WHERE i > 1"


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (("DROP TABLE schema", f"CREATE VIEW schema AS {ENDLESS}"), "a.db3 holds 'schema' (CREATE VIEW"),
        (("ALTER TABLE topics ADD COLUMN x AS (zeroblob(1000000000))",), "table 'topics' has computed columns"),
        (("CREATE TRIGGER t AFTER INSERT ON topics BEGIN SELECT 1; END",), "a.db3 holds 't' (CREATE TRIGGER"),
        (("DROP TABLE schema", "CREATE VIRTUAL TABLE schema USING fts4(schema_version)"), "a.db3 holds 'schema'"),
    ],
)
def test_a_database_that_computes_its_rows_is_not_read(tmp_path, statements, expected):
    assert expected in error_of(sqlite_bag(tmp_path, *statements))


@pytest.mark.parametrize("value", ["'text'", "5", "1.5"])
def test_messages_that_are_no_bytes(tmp_path, value):
    assert "is not bytes" in error_of(sqlite_bag(tmp_path, f"UPDATE messages SET data = {value}"))


def test_times_that_are_no_numbers(tmp_path):
    assert "cannot be read as a bag" in error_of(sqlite_bag(tmp_path, "UPDATE messages SET timestamp = 'now'"))


@pytest.mark.parametrize("column", ["name", "type"])
def test_topics_that_are_no_text(tmp_path, column):
    path = sqlite_bag(tmp_path, f"UPDATE topics SET {column} = x'00ff'")
    assert "is not text" in error_of(path / "a.db3")


@pytest.mark.parametrize("name", ["../secret/secret.db3", "{tmp}/secret/secret.db3", "..", "/etc/passwd", "."])
def test_files_elsewhere_that_metadata_names_are_not_opened(tmp_path, name):
    """rosbags takes the last part of the name; so nothing outside of the folder is found."""
    write_bag(tmp_path / "secret", ROWS, "sqlite3")
    path = sqlite_bag(tmp_path)
    change_metadata(path, relative_file_paths=[name.format(tmp=tmp_path)])
    assert re.search("missing|is no file|is a link out", error_of(path))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "other").mkdir()
    elsewhere = sqlite_bag(tmp_path / "other") / "a.db3"
    path = sqlite_bag(tmp_path)
    (path / "a.db3").unlink()
    (path / "a.db3").symlink_to(elsewhere)
    assert error_of(path).startswith("a.db3 is a link out of the recording, to ")


def test_a_folder_that_is_itself_a_link_is_read(tmp_path):
    (tmp_path / "link").symlink_to(sqlite_bag(tmp_path))
    with open_recording(tmp_path / "link") as recording:
        assert list(recording.read())


def test_a_path_that_sqlite_would_take_for_another(tmp_path):
    folder = tmp_path / "50%#1?x"
    folder.mkdir()
    assert "cannot be read" in error_of(sqlite_bag(folder))


def test_aliases_of_aliases_in_metadata(tmp_path):
    path = sqlite_bag(tmp_path)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(
        "\n".join([*lines, text.replace("compression_format: ''", "compression_format: *a29")])
    )
    assert error_of(path) == "metadata.yaml, line 2: an alias (*); bags have none"


@pytest.mark.parametrize("key", ["duration", "starting_time", "topics_with_message_count", "storage_identifier"])
@pytest.mark.parametrize("value", [[[[1]]], "x", None, {"nanoseconds": "x", "nanoseconds_since_epoch": []}])
def test_metadata_of_other_kinds(tmp_path, key, value):
    path = write_bag(tmp_path / "a", ROWS, "mcap")
    change_metadata(path, **{key: value})
    assert error_of(path)


def test_files_compressed_as_a_whole_are_looked_at_too(tmp_path):
    """What is hidden below the compression is a database with a view."""
    path = sqlite_bag(tmp_path, "DROP TABLE schema", f"CREATE VIEW schema AS {ENDLESS}")
    (path / "a.db3.zstd").write_bytes(zstd.compress((path / "a.db3").read_bytes()))
    change_metadata(path, relative_file_paths=["a.db3.zstd"], compression_mode="FILE", compression_format="zstd")
    assert "a.db3 holds 'schema'" in error_of(path)


def test_a_database_of_any_name_is_looked_at(tmp_path):
    path = sqlite_bag(tmp_path, "DROP TABLE schema", f"CREATE VIEW schema AS {ENDLESS}")
    (path / "a.db3").rename(path / "a.txt")
    change_metadata(path, relative_file_paths=["a.txt"])
    assert "a.txt holds 'schema'" in error_of(path)


def test_a_declared_length_allocates_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"12345" * 20_000)
    with BagPath(tmp_path / "a").open("rb") as file:
        assert file.read(5) == b"12345"
        assert len(file.read(1 << 62)) == 99_995
        assert file.read(1 << 62) == b"" and file.seek(0) == 0 and len(file.read()) == 100_000
