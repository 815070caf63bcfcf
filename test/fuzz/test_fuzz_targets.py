"""Each fuzz target on its committed corpus, and briefly on mutations of it. test/fuzz/run.py fuzzes for longer."""

from __future__ import annotations

import importlib
import resource
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "wire"), str(HERE.parent / "recordings")]
from run import inputs  # noqa: E402

TARGETS = pytest.mark.parametrize("name", ["formats", "messages", "packets", "text"])


def target(name):
    return importlib.import_module(f"targets.{name}")


@pytest.fixture(autouse=True)
def usual_blocks():
    """Restore the number of words decoded at once, which the packets target changes."""
    from cista_ros.wire import word_stream

    before = word_stream._BLOCK
    yield
    word_stream._BLOCK = before


@TARGETS
def test_the_committed_corpus_breaks_no_rule(name):
    corpus = inputs(name)
    assert corpus
    for content in corpus.values():
        target(name).check(content)


@TARGETS
def test_changed_inputs_break_no_rule(name):
    module = target(name)
    seeds = [*module.SEEDS, *inputs(name).values()]
    change = st.tuples(st.integers(0, 2**16), st.integers(0, 255), st.booleans())

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(seeds), st.lists(change, max_size=12))
    def run(seed, changes):
        data = bytearray(seed)
        for at, value, insert in changes:
            at %= len(data) + 1
            data[at : at + (not insert)] = bytes([value])
        module.check(bytes(data))

    run()


def _more_than_ever_before():
    """Return the peak memory of this process plus 300 MB, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + (300 << 20)


def test_memory_that_an_error_hides_is_reported():
    from bounds import Unbounded, expect

    from cista_ros.errors import RecordingError

    def hidden():
        try:
            bytes(1 << 60)
        except MemoryError as error:
            raise RecordingError("damaged") from error

    with pytest.raises(Unbounded):
        expect(RecordingError, hidden)

    with pytest.raises(Unbounded, match="MB more than ever before"):
        expect(RecordingError, lambda: b"x" * _more_than_ever_before())
    with pytest.raises(ZeroDivisionError):
        expect(RecordingError, lambda: 1 / 0)
