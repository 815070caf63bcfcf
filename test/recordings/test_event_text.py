"""Lines "t x y p": exact times, and errors that name the line."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import NS, random_events, text_of

from cista_ros.errors import DecodeError
from cista_ros.events import EVENT_DTYPE, concatenate, make_events
from cista_ros.recordings.event_text import format_events, parse, read_blocks

EXPECTED = "expected 't x y p': seconds with a decimal point, column, row, and 0 or 1"

lines = st.lists(
    st.tuples(st.integers(0, 9_223_372_034), st.text("0123456789", min_size=1, max_size=12),
              st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 1)),
    max_size=20,
)  # fmt: skip


def by_hand(rows):
    """The same by Python's integers, a line at a time."""
    t = [seconds * NS + int(decimals[:9].ljust(9, "0")) for seconds, decimals, *_ in rows]
    return make_events([r[2] for r in rows], [r[3] for r in rows], np.array(t, np.int64), [r[4] for r in rows])


@given(lines)
@settings(max_examples=200, deadline=None)
def test_parses_what_python_integers_parse(rows):
    text = "".join(f"{s}.{decimals} {x} {y} {p}\n" for s, decimals, x, y, p in rows).encode()
    np.testing.assert_array_equal(parse(text), by_hand(rows))


@given(lines, st.integers(1, 64), st.booleans())
@settings(max_examples=200, deadline=None)
def test_blocks_of_any_size_give_the_same(rows, size, ends_with_newline):
    text = "".join(f"{s}.{decimals} {x} {y} {p}\n" for s, decimals, x, y, p in rows).encode()
    text = text if ends_with_newline else text[:-1]
    blocks = list(read_blocks(io.BytesIO(text), size=size))
    np.testing.assert_array_equal(concatenate(blocks).astype(EVENT_DTYPE), by_hand(rows))


def test_the_stamp_of_a_real_recording_is_exact():
    events = parse(b"1468939993.067416019 33 39 1\n")
    assert events["t"][0] == 1_468_939_993_067_416_019
    assert events.tolist() == [(1_468_939_993_067_416_019, 33, 39, True)]


def test_many_events_survive():
    events = random_events(20_000)
    np.testing.assert_array_equal(concatenate(list(read_blocks(io.BytesIO(text_of(events).encode())))), events)


@pytest.mark.parametrize(
    "text", [b"0.5 1 2 1\r\n0.6 3 4 0\r\n", b"0.5\t1\t2\t1\n0.6 3  4 0 \n", b"\n0.5 1 2 1\n\n0.6 3 4 0\n\n"]
)
def test_other_white_space_is_read_too(text):
    assert parse(text).tolist() == [(500_000_000, 1, 2, True), (600_000_000, 3, 4, False)]


@pytest.mark.parametrize(
    "line",
    ["1.5 3 4", "1.5 3 4 1 7", "5 3 4 1", "1.5 3 4 2", "1.5 3 4 -1", "-1.5 3 4 1", "1.5 3.0 4 1", "1.5e0 3 4 1",
     "1.5 65536 4 1", "1.5 3 70000 1", "9223372036.9 3 4 1", "nan 3 4 1", "240 180", "# t x y p", "1. 3 4 1",
     ".5 3 4 1", "1,5 3 4 1", "\u00b2.5 3 4 1"],
)  # fmt: skip
@pytest.mark.parametrize("size", [16, 1 << 18])
def test_a_line_that_is_no_event_is_named(line, size):
    text = f"0.1 1 1 1\n0.2 1 1 1\n{line}\n0.3 1 1 1\n".encode()
    with pytest.raises(DecodeError) as caught:
        list(read_blocks(io.BytesIO(text), size=size))
    assert str(caught.value) == f"line 3: {line!r}; {EXPECTED}"


def test_a_file_cut_in_the_middle_of_a_line_is_refused():
    with pytest.raises(DecodeError, match=r"line 2: '0\.2 1'"):
        list(read_blocks(io.BytesIO(b"0.1 1 1 1\n0.2 1")))


def test_a_file_without_lines_is_refused_and_not_gathered():
    """Binary data is refused after a few blocks, not read to its end in search of a line."""
    file = io.BytesIO(b"\x01" * 10_000)
    with pytest.raises(DecodeError, match="line 1: "):
        list(read_blocks(file, size=100))
    assert file.tell() <= 5000


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_events_or_an_error(noise):
    try:
        events = parse(b"0.1 2 3 1\n" + noise)
    except DecodeError:
        return
    assert events.dtype == EVENT_DTYPE


@given(
    st.lists(
        st.tuples(st.integers(0, 2**62), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), st.booleans()),
        max_size=20,
    )
)
def test_what_is_formatted_is_parsed(rows):
    rows = [(t % (9 * 10**9 * NS), x, y, p) for t, x, y, p in rows]
    t, x, y, p = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    events = make_events(x, y, t, p)
    text = b"".join(format_events(events))
    assert text == b"".join(b"%d.%09d %d %d %d\n" % (t // NS, t % NS, x, y, p) for t, x, y, p in rows)
    np.testing.assert_array_equal(concatenate(list(read_blocks(io.BytesIO(text)))), events)


def test_times_before_0_are_not_formatted():
    with pytest.raises(ValueError, match="before 0"):
        list(format_events(make_events([1], [1], [-1], [True])))
