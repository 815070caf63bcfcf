"""The documentation: named files exist, and the code of the README runs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "benchmarks|cista_ros|config|docs|examples|launch|msg|test"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_file_exists(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not link.startswith("http")]
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]*(?:/|\.\w+))`", text)
    names = [page.parent / link for link in links] + [ROOT / path for path in paths if "NAME" not in path]
    assert not [str(name) for name in names if not name.exists()]


def test_code_and_configuration_name_pages_that_exist() -> None:
    folders = ("cista_ros", "config", "launch", "benchmarks", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    missing = {
        f"{path.relative_to(ROOT)}: {page}"
        for path in files
        if path.suffix in (".py", ".yaml", ".xml", ".md", ".cpp")
        for page in re.findall(r"\bdocs/[\w./-]+\.md", path.read_text())
        if not (ROOT / page).exists()
    }
    assert not missing


def test_the_python_code_of_the_readme_prints_images_of_the_sample() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 3
    dtype = re.search(r"(\w+) image \(H, W\) in \[0, 1\]", code)[1]
    code += f"    assert str(frame.shown.dtype) == '{dtype}' and 0 <= frame.shown.min() <= frame.shown.max() <= 1\n"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) >= 20
    assert all(line.endswith("(180, 240)") for line in lines)


def test_the_option_tables_are_those_of_the_commands() -> None:
    spec = importlib.util.spec_from_file_location("options", ROOT / "docs/options.py")
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    for path, content in options.updated().items():
        assert content == path.read_text(), f"{path}: run `python docs/options.py`"
    page = options.COMMANDS.read_text()
    assert set(options.commands()) <= {match["command"] for match in options.BLOCK.finditer(page)}
