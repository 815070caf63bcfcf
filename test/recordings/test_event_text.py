"""Lines "t x y p": exact times, and errors that name the line."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import NS, random_events, text_of

from cista_ros.errors import DecodeError
from cista_ros.events import EVENT_DTYPE, concatenate, make_events
from cista_ros.recordings.event_text import Layout, detect_layout, parse, read_blocks
from cista_ros.recordings.write import format_events

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
    np.testing.assert_array_equal(parse(text.replace(b" ", b"  ")), by_hand(rows))  # not by the fast path


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
    ["1.5 3 4", "1.5 3 4 2", "-1.5 3 4 1", "1.5 3.5 4 1", "1.5 -3 4 1", "1.5 65536 4 1", "1.5 3 70000 1",
     "9223372036.9 3 4 1", "1e11 3 4 1", "nan 3 4 1", "1e999 3 4 1", "240 180", "t x y p", ".5 3 4 1", "1,5 3 4 1",
     "1.5.5 3 4 1", "1-5 3 4 1", "99999999999999999999999 3 4 1", "\u00b2.5 3 4 1"],
)  # fmt: skip
@pytest.mark.parametrize("size", [16, 1 << 18])
def test_names_a_line_that_is_not_an_event(line, size):
    text = f"0.1 1 1 1\n# comment\n{line}\n0.3 1 1 1\n".encode()
    with pytest.raises(DecodeError) as caught:
        list(read_blocks(io.BytesIO(text), size=size))
    assert str(caught.value).startswith(f"line 3: {line!r}; expected t x y p")


@pytest.mark.parametrize(
    ("text", "layout", "expected"),
    [
        ("1,2,1,14\n3,4,-1,15\n", Layout("xypt", "us"), [(14_000, 1, 2, True), (15_000, 3, 4, False)]),
        ("0.5;1;2;1\n0.6;3;4;0\n", Layout(), [(500_000_000, 1, 2, True), (600_000_000, 3, 4, False)]),
        ("9 1 2 0 1.25\n", Layout("-xypt", "ms"), [(1_250_000, 1, 2, False)]),
        ("7 1 2 1 1\n", Layout("txyp", "ns"), [(7, 1, 2, True)]),
        ("0.0 1 2 1\n9.001e-06 3 4 0 1\n", Layout(), [(0, 1, 2, True), (9001, 3, 4, False)]),
        ("1.4e-05 6.0e+01 9.000 1.0\n", Layout(), [(14_000, 60, 9, True)]),
        ("#!text\n# t x y p\n0.5 1 2 1\n", Layout(), [(500_000_000, 1, 2, True)]),
        ("1468939993067416019 1 2 1\n", Layout("txyp", "ns"), [(1_468_939_993_067_416_019, 1, 2, True)]),
    ],
)
def test_layouts_of_the_field_are_parsed(text, layout, expected):
    assert parse(text.encode(), layout=layout).tolist() == expected


T_US = 1_468_939_993_067_416


def sample(columns, times, separator=" ", head=""):
    """Lines of 500 events of a 240x180 camera with these times, as text."""
    rng = np.random.default_rng(0)
    fields = {"t": times, "x": rng.integers(0, 240, 500), "y": rng.integers(0, 180, 500), "p": rng.integers(0, 2, 500)}
    rows = zip(*(fields[name] for name in columns), strict=True)
    return (head + "".join(separator.join(map(str, row)) + "\n" for row in rows)).encode()


US = np.sort(np.random.default_rng(1).integers(0, 20_000, 500))  # 25 000 events a second
SECONDS = [f"{us / 1e6:.6f}" for us in US]


@pytest.mark.parametrize("separator", [" ", ",", ";", "\t", ", "])
@pytest.mark.parametrize("columns", ["txyp", "xypt", "xytp", "ptxy"])
@pytest.mark.parametrize(
    ("times", "unit"),
    [(SECONDS, "s"), (US, "us"), (US * 1000, "ns"), (US * 1000 + 7, "ns"), (US + T_US, "us"),
     ((US + T_US) * 1000, "ns"), ((US + T_US) * 1000 + 7, "ns"), (US / 1.0, "us")],
)  # fmt: skip
def test_columns_and_unit_are_detected(times, unit, columns, separator):
    layout = detect_layout(sample(columns, times, separator))
    assert (layout.columns, layout.unit) == (columns, unit)
    assert ("time in" in layout.guessed) == (unit != "s") and ("columns" in layout.guessed) == (columns != "txyp")


def test_decimal_times_cannot_be_in_nanoseconds():
    with pytest.raises(DecodeError, match=r"times such as [\d.]+ are not in ns; expected another time unit"):
        detect_layout(sample("txyp", SECONDS, " "), unit="ns")
    assert detect_layout(sample("txyp", US * 1000 / 1.0, " "), unit="ns").unit == "ns"


@pytest.mark.parametrize(
    ("head", "columns", "unit", "lines"),
    [
        ("t x y p\n", "txyp", "us", 1),
        ("x,y,p,t\n", "xypt", "us", 1),
        ("x,y,polarity,timestamp_ns\n", "xypt", "ns", 1),
        ("timestamp (s),y,x,polarity\n", "tyxp", "s", 1),
        ("# made by a simulator\nid x y pol ts[us]\n", "-xypt", "us", 2),
    ],
)
def test_a_header_names_the_columns_and_the_unit(head, columns, unit, lines):
    layout = detect_layout(sample(columns.replace("-", "p"), US, head=head))
    assert (layout.columns, layout.unit, layout.header_lines) == (columns, unit, lines)


def test_a_size_in_the_file_is_used():
    assert detect_layout(sample("txyp", SECONDS, head="240 180\n")).size == (180, 240)
    assert detect_layout(sample("xypt", US, ",", "%geometry:1280,720\n")).size == (720, 1280)


def test_does_not_guess_what_is_stated():
    layout = detect_layout(sample("xypt", US), "xypt", "ms")
    assert (layout.columns, layout.unit, layout.guessed) == ("xypt", "ms", "")


def test_an_unclear_order_of_columns_is_an_error_that_names_the_option():
    with pytest.raises(DecodeError, match="--columns"):
        detect_layout(b"1 5 4 3\n0 3 2 9\n0 7 1 2\n")


def test_a_file_cut_in_the_middle_of_a_line_is_refused():
    with pytest.raises(DecodeError, match=r"line 2: '0\.2 1'"):
        list(read_blocks(io.BytesIO(b"0.1 1 1 1\n0.2 1")))
    cut = []
    assert len(concatenate(list(read_blocks(io.BytesIO(b"0.1 1 1 1\n0.2 1"), on_cut=cut.append)))) == 1 and cut == [2]


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
def test_parses_what_it_formats(rows):
    rows = [(t % (9 * 10**9 * NS), x, y, p) for t, x, y, p in rows]
    t, x, y, p = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    events = make_events(x, y, t, p)
    text = b"".join(format_events(events))
    assert text == b"".join(b"%d.%09d %d %d %d\n" % (t // NS, t % NS, x, y, p) for t, x, y, p in rows)
    np.testing.assert_array_equal(concatenate(list(read_blocks(io.BytesIO(text)))), events)


def test_times_before_0_are_not_formatted():
    with pytest.raises(ValueError, match="before 0"):
        list(format_events(make_events([1], [1], [-1], [True])))
