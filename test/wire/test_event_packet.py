"""Event packets: every encoding against the plain state machine beside this file, and what happens between packets."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags import rosbag2
from state_machines import Evt3, LibcaerCmp, decode_libcaer, decode_mono

from cista_ros.errors import DecodeError
from cista_ros.events import TRIGGER_DTYPE, concatenate, make_events, make_triggers
from cista_ros.wire import cdr, word_stream
from cista_ros.wire.event_packet import ENCODINGS, PacketDecoder, PacketEncoder
from cista_ros.wire.ros_types import EVENT_PACKET, EventMessage, PacketMessage

US = 1000
# Words of a code and a payload; all codes come up, the known ones of EVT3 more often than the others.
CODES = st.sampled_from([0, 2, 2, 2, 3, 4, 5, 6, 6, 8, 8, 8, 10, 14, *range(16)])
WORDS = st.lists(st.builds(lambda code, payload: code << 12 | payload, CODES, st.integers(0, 0xFFF)), max_size=80)
HIGH, LOW, Y, X, BASE, VECT_12, VECT_8 = 0x8000, 0x6000, 0x0000, 0x2000, 0x3000, 0x4000, 0x5000
START = [HIGH, LOW, Y]


def packet(data, seq=0, encoding="evt3", time_base=0, stamp=0):
    data = np.frombuffer(np.array(data, "<u2").tobytes() if isinstance(data, list) else data, np.uint8)
    return PacketMessage(stamp, "", 480, 640, seq, time_base, encoding, data)


def rows(events):
    return [(int(e["t"]), int(e["x"]), int(e["y"]), bool(e["p"])) for e in events]


def cut(words, places):
    """`words` cut into consecutive packets at these places."""
    edges = [0, *sorted(p % (len(words) + 1) for p in places), len(words)]
    return [words[a:b] for a, b in pairwise(edges)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(word_stream, "_BLOCK", 7)


@pytest.mark.usefixtures("small_blocks")
class TestBlocks:
    """Words are worked on in blocks, here of 7: nothing depends on where one ends."""

    @staticmethod
    @given(WORDS, st.lists(st.integers(0, 1000), max_size=5), st.data())
    def test_evt3_is_decoded_as_by_the_state_machine_wherever_it_is_cut(words, places, data):
        known = data.draw(st.booleans())
        decoder, machine = PacketDecoder(), Evt3()
        for seq, part in enumerate(cut(START * known + words, places)):
            message = packet(part, seq)
            decoded = decoder.decode(message)
            assert rows(decoded.events) == machine.decode(message.data)
            assert decoded.triggers.tolist() == machine.triggers
        counts = decoder.counts
        assert (counts.unplaced_events, counts.unknown_words) == (machine.unplaced, machine.unknown)
        assert counts.missing_packets == 0

    @staticmethod
    @given(st.lists(st.tuples(st.integers(1, 3), WORDS), max_size=5))
    def test_after_missing_packets_only_roll_overs_are_remembered(packets):
        decoder, machine = PacketDecoder(), Evt3()
        seq = missing = 0
        for step, words in packets:
            seq += step
            if seq > step or step > 1:
                missing += step - 1
            if step > 1 and seq > step:
                machine.lose()
            message = packet(words, seq)
            decoded = decoder.decode(message)
            assert rows(decoded.events) == machine.decode(message.data)
            assert decoded.triggers.tolist() == machine.triggers
        first = packets[0][0] if packets else 1
        assert decoder.counts.missing_packets == missing - (first - 1 if first > 1 else 0)
        assert decoder.counts.unplaced_events == machine.unplaced

    @staticmethod
    @given(st.lists(st.tuples(WORDS, st.integers(0, 2**62)), max_size=4))
    def test_libcaer_cmp_is_decoded_as_by_the_state_machine(packets):
        decoder, machine = PacketDecoder(), LibcaerCmp()
        for seq, (words, base) in enumerate(packets):
            message = packet(words, seq, "libcaer_cmp", base)
            assert rows(decoder.decode(message).events) == machine.decode(message.data, base)
        counts = decoder.counts
        assert (counts.unplaced_events, counts.unknown_words) == (machine.unplaced, machine.unknown)


@given(st.binary(max_size=80).map(lambda b: b[: len(b) // 8 * 8]), st.integers(0, 2**62))
@pytest.mark.parametrize(("encoding", "machine"), [("libcaer", decode_libcaer), ("mono", decode_mono)])
def test_pairs_are_decoded_as_by_the_state_machine(encoding, machine, data, base):
    events = PacketDecoder().decode(packet(data, 0, encoding, base)).events
    assert rows(events) == machine(data, base)


def test_vectors_continue_where_the_last_one_ended():
    words = [*START, BASE | 0x800 | 100, VECT_12 | 0b100000000001, VECT_8 | 0b11, X | 5, VECT_8 | 0b10000000]
    events = PacketDecoder().decode(packet(words)).events
    assert events["x"].tolist() == [100, 111, 112, 113, 5, 127]
    assert events["p"].tolist() == [True, True, True, True, False, True]


def test_evt3_padding_words_are_ignored():
    """Lucid's Triton2 EVS pads with 0x9999."""
    decoder = PacketDecoder()
    assert len(decoder.decode(packet([*START, X, 0x9999, X | 1, 0x9999])).events) == 2
    assert vars(decoder.counts) == {"missing_packets": 0, "unplaced_events": 0, "unknown_words": 0}


def test_evt3_time_rolls_over_every_16_8_s_and_may_step_back_a_little():
    highs = [4090, 4095, 4091, 0, 4095, 1, 2000, 4000, 100]
    words = [word for high in highs for word in (HIGH | high, LOW | 7, Y, X)]
    t = PacketDecoder().decode(packet(words)).events["t"]
    unwrapped = [4090, 4095, 4091, 4096, 4095, 4097, 6096, 8096, 8292]
    assert t.tolist() == [(high * 4096 + 7) * US for high in unwrapped]


def test_a_straggler_goes_back_over_libcaers_roll_over_and_a_long_time_is_no_roll_over():
    for us, expected in (
        ([2**31 - 2, 0, 2**31 - 1, 1], [2**31 - 2, 2**31, 2**31 - 1, 2**31 + 1]),
        ([5, 2**31 - 1], [5, 2**31 - 1]),
    ):
        data = np.array([t << 32 | 1 for t in us], "<u8").tobytes()
        t = PacketDecoder().decode(packet(data, 0, "libcaer", 0)).events["t"]
        assert (t // 1000).tolist() == expected


def test_libcaer_time_rolls_over_within_a_packet():
    us = np.array([2**31 - 2, 2**31 - 1, 0, 5], "<u4")
    data = np.stack([np.full(4, 3 << 17 | 2 << 2 | 3, "<u4"), us], 1).tobytes()
    t = PacketDecoder().decode(packet(data, 0, "libcaer", 18)).events["t"]
    assert t.tolist() == [18 + n * US for n in (2**31 - 2, 2**31 - 1, 2**31, 2**31 + 5)]


def read(path, kind=EVENT_PACKET):
    with rosbag2.Reader(path) as reader:
        return [cdr.decode(kind, raw) for _, _, raw in reader.messages()]


def test_evt3_of_a_real_camera_equals_the_state_machine_event_by_event(shared_file):
    packets = read(shared_file("recordings/evt3_walk"))
    decoder, machine = PacketDecoder(), Evt3()
    total = 0
    for message in packets:
        events = decoder.decode(message).events
        assert rows(events) == machine.decode(message.data)
        total += len(events)
    assert total == 343_474
    assert vars(decoder.counts) == {"missing_packets": 0, "unplaced_events": 0, "unknown_words": 0}


# Sums over all events as the C++ decoder event_camera_codecs gives them (its test/decoder_test.cpp).
@pytest.mark.parametrize(
    ("name", "kind", "count", "sums"),
    [
        ("libcaer_rollover", EVENT_PACKET, 334_331, (15_762_826_572_202_229_126, 111_651_612, 82_801_007, 181_908)),
        ("mono_tiny", "event_array_msgs/msg/EventArray", 100, (4_950_000, 34_450, 26_450, 50)),
    ],
)
def test_real_packets_have_the_sums_of_the_public_decoder(name, kind, count, sums, shared_file):
    decoder = PacketDecoder()
    events = concatenate([decoder.decode(message).events for message in read(shared_file(f"recordings/{name}"), kind)])
    assert len(events) == count
    assert np.all(np.diff(events["t"]) >= 0)
    found = [int(events[field].astype(np.uint64).sum()) for field in "txyp"]
    assert found == list(sums)


# --- encoding ---


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(0, 2047), st.integers(0, 2047), st.booleans()),
                max_size=30), st.lists(st.integers(0, 1000), max_size=3))  # fmt: skip
def test_encoded_events_are_decoded_unchanged(encoding, steps, places):
    # Pauses up to 40 s hide roll-overs; packets may be no longer than 4 s (mono) or 16 s (libcaer_cmp).
    t = np.cumsum([0, *(step if i % 3 == 0 and encoding in ("evt3", "libcaer") else step // 1000 for i, (step, *_)
                        in enumerate(steps))])[: len(steps)] * US  # fmt: skip
    events = make_events(*(np.array([s[i] for s in steps]) for i in (1, 2)), t, np.array([s[3] for s in steps], bool))
    if encoding in ("mono", "libcaer"):
        events["t"] += 1_468_939_993_067_416_019
    if encoding == "mono":
        events["t"] += np.arange(len(events))
    encoder, decoder = PacketEncoder(encoding), PacketDecoder()
    for seq, part in enumerate(cut(events, places)):
        message = encoder.encode(EventMessage(5, "a", 480, 640, part), seq)
        decoded = decoder.decode(cdr.decode(EVENT_PACKET, cdr.encode(message)))
        np.testing.assert_array_equal(decoded.events, part)
        assert (decoded.stamp, decoded.frame_id, decoded.packet.encoding) == (5, "a", encoding)


@given(st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(0, 15), st.booleans()), max_size=8))
def test_evt3_triggers_come_back_between_the_events(steps):
    triggers = np.zeros(len(steps), TRIGGER_DTYPE)
    triggers["t"] = np.cumsum([step for step, _, _ in steps]) * US
    triggers["id"], triggers["p"] = [n for _, n, _ in steps], [p for _, _, p in steps]
    t = np.arange(40) * 1_000_000 * US
    events = make_events(np.arange(40), np.arange(40), t, np.arange(40) % 2)
    first = np.zeros(1, TRIGGER_DTYPE)  # the stream begins here, whatever the pause to the first of the others
    message = EventMessage(5, "a", 480, 640, events, triggers=np.concatenate([first, triggers]))
    decoded = PacketDecoder().decode(PacketEncoder("evt3").encode(message, 0))
    np.testing.assert_array_equal(decoded.events, events)
    np.testing.assert_array_equal(decoded.triggers, message.triggers)


def test_evt3_events_come_once_if_times_go_back_between_triggers():
    t = np.array([0, 30, 10, 20, 5, 40]) * 1_000_000
    triggers = make_triggers(np.array([8, 15, 25]) * 1_000_000, 1, [1, 0, 1])
    message = EventMessage(5, "a", 480, 640, make_events(range(6), 0, t, True), triggers=triggers)
    decoded = PacketDecoder().decode(PacketEncoder("evt3").encode(message, 0))
    np.testing.assert_array_equal(decoded.events, message.events)
    np.testing.assert_array_equal(decoded.triggers, triggers)


def test_triggers_of_a_real_camera_are_those_of_an_independent_decoder(shared_file):
    decoder = PacketDecoder()
    triggers = [decoder.decode(message).triggers for message in read(shared_file("formats/evt3_trigger"))]
    # as PyPI's evt3 0.4.1 decodes the same words
    assert np.concatenate(triggers).tolist() == [(14_547_491_000, 0, False), (14_549_491_000, 0, True)]


def test_triggers_move_to_host_time_with_the_events():
    message = packet([*START, X, 0x6005, 0xA301], stamp=7_000_000_000)
    assert PacketDecoder("host").decode(message).triggers.tolist() == [(7_000_005_000, 3, True)]


@pytest.mark.parametrize(
    ("encoding", "x", "t", "expected"),
    [
        ("evt3", 2048, [0], "a word holds at most 2047"),
        ("evt3", 0, [1], "whole number of microseconds"),
        ("evt3", 0, [50_000_000, 0], "goes back by more than 41 ms"),
        ("libcaer_cmp", 0, [0, 17 * 10**9], "more than 16.8 s"),
        ("libcaer_cmp", 0, [0, 1], "whole number of microseconds"),
        ("libcaer", 0, [0, 1], "differ by a fraction of a microsecond"),
        ("libcaer", 40_000, [0], "more than 15 bits"),
        ("libcaer", 0, [0, 3 * 10**12], "more than 2147.5 s"),
        ("mono", 0, [0, 5 * 10**9], "more than 4.3 s"),
        ("mono", 0, [-1, 0], "before 1970"),
    ],
)  # fmt: skip
def test_rejects_what_an_encoding_cannot_hold(encoding, x, t, expected):
    with pytest.raises(ValueError, match=expected):
        PacketEncoder(encoding).encode(EventMessage(0, "", 480, 640, make_events([x] * len(t), 0, t, True)), 0)


# --- streams of packets ---


def test_an_unknown_encoding_is_named():
    with pytest.raises(DecodeError, match="unknown encoding 'evt9'; expected evt3, libcaer, libcaer_cmp, mono"):
        PacketDecoder().decode(packet([], encoding="evt9"))


@pytest.mark.parametrize(("encoding", "size"), [("evt3", 2), ("libcaer_cmp", 2), ("libcaer", 8), ("mono", 8)])
def test_a_packet_cut_in_a_word_is_refused_and_the_next_one_begins_after_a_gap(encoding, size):
    decoder = PacketDecoder()
    decoder.decode(packet(bytes(size), 0, encoding))
    with pytest.raises(DecodeError, match=f"events has {size * 2 - 1} bytes; expected a multiple of {size}"):
        decoder.decode(packet(bytes(size * 2 - 1), 1, encoding))
    if encoding == "evt3":
        assert len(decoder.decode(packet([X, *START, X | 1], 2)).events) == 1
        assert decoder.counts.unplaced_events == 1


def test_rejects_an_impossible_time_base():
    with pytest.raises(DecodeError, match="time_base is 18446744073709551615 ns"):
        PacketDecoder().decode(packet(bytes(8), 0, "mono", 2**64 - 1))


@pytest.mark.parametrize("refused", [{"encoding": "evt9"}, {"time_base": 2**64 - 1}])
def test_a_rejected_packet_is_not_missing_but_leaves_a_gap(refused):
    decoder = PacketDecoder()
    with pytest.raises(DecodeError):
        decoder.decode(packet([], 3, **refused))  # before any stream
    decoder.decode(packet([*START, X], 7))
    with pytest.raises(DecodeError):
        decoder.decode(packet([X], 8, **refused))
    assert len(decoder.decode(packet([X, *START, X], 9)).events) == 1
    assert (decoder.counts.missing_packets, decoder.counts.unplaced_events) == (0, 1)
    with pytest.raises(DecodeError):
        decoder.decode(packet([X], 12, **refused))  # 10 and 11 did not come
    decoder.decode(packet([*START, X], 13))
    assert decoder.counts.missing_packets == 2
    with pytest.raises(DecodeError):
        decoder.decode(packet([X], 2**63, **refused))  # of another stream
    assert len(decoder.decode(packet([X], 14)).events) == 1
    assert decoder.counts.missing_packets == 2


def test_a_rejected_packet_leaves_a_gap_without_counting_too():
    decoder = PacketDecoder()
    decoder.decode(packet([*START, X], 0))
    with pytest.raises(DecodeError):
        decoder.decode(packet([X], 0, "evt9"))
    assert len(decoder.decode(packet([X, *START, X], 0)).events) == 1
    assert (decoder.counts.missing_packets, decoder.counts.unplaced_events) == (0, 1)


def test_a_sequence_that_goes_back_is_a_new_stream():
    decoder = PacketDecoder()
    words = [HIGH | 4000, LOW, Y, X]
    first = decoder.decode(packet(words, 7)).events
    decoder.decode(packet([HIGH | 10, LOW], 8))
    np.testing.assert_array_equal(decoder.decode(packet(words, 7)).events, first)
    assert decoder.counts.missing_packets == 0


def test_loses_nothing_of_publishers_that_do_not_count():
    decoder = PacketDecoder()
    for _ in range(3):
        decoder.decode(packet([*START, X], 0))
    assert len(decoder.decode(packet([X, X], 0)).events) == 2


def test_the_encoding_may_change():
    decoder = PacketDecoder()
    decoder.decode(packet([*START, X], 0))
    assert decoder.decode(packet(bytes(8), 1, "mono", 77)).events["t"].tolist() == [77]
    assert len(decoder.decode(packet([X], 2)).events) == 0


def test_host_time_is_that_of_the_stamps_and_follows_a_drifting_clock_smoothly():
    decoder = PacketDecoder("host")
    rng = np.random.default_rng(0)
    begin, drift = 1_700_000_000 * 10**9, 50e-6
    wrong, last = [], 0
    for seq in range(3000):
        t = seq * 10_000_000
        true = begin + round(t * (1 + drift))
        stamp = true + int(rng.exponential(1e6))  # a host is late, by 1 ms as a rule
        data = np.array([0, 9_000_000], "<u8").tobytes()  # 9 ms apart
        events = decoder.decode(packet(data, seq, "mono", t, stamp)).events
        assert events["t"][0] >= last
        last = int(events["t"][1])
        wrong.append(int(events["t"][0]) - true)
    assert max(map(abs, wrong[1500:])) < 2_000_000
    jumped = decoder.decode(packet(bytes(8), 3000, "mono", 3000 * 10_000_000, begin + 10**12)).events
    assert jumped["t"].tolist() == [begin + 10**12]


def test_damaged_packets_raise_only_decode_errors():
    rng = np.random.default_rng(0)
    for encoding in ENCODINGS:
        decoder = PacketDecoder()
        for seq in range(200):
            data = rng.integers(0, 256, rng.integers(0, 60), np.uint8).tobytes()
            try:
                decoder.decode(packet(data, seq, encoding, int(rng.integers(0, 2**63))))
            except DecodeError as error:
                assert "multiple of" in str(error) or "time_base" in str(error)
