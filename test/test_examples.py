"""The examples run as they are, on the sample recording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# onnx_stream.py needs an exported model: test/commands/test_export.py runs it.
EXAMPLES = sorted(
    set((Path(__file__).parent.parent / "examples").glob("*.py"))
    - {Path(__file__).parent.parent / "examples/onnx_stream.py"}
)


def test_there_is_an_example_of_each_kind():
    assert [path.stem for path in EXAMPLES] == ["custom_windows", "offline", "own_network", "stream"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints_frames(path, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path.parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "s: " in line]
    assert len(lines) >= 3, done.stdout
    assert len(path.read_text().splitlines()) <= 80, "one page"
    if path.stem == "offline":
        assert len(list((tmp_path / "images").glob("*.png"))) == len(lines)
