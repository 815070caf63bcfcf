"""Write the option tables of docs/reference/commands.md from the commands: `python docs/options.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from cista_ros.commands.main import app

PAGE = Path(__file__).parent / "reference" / "commands.md"
# The table of a command stands between these two comments.
BLOCK = re.compile(r"(<!-- options of (?P<command>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(command: str) -> str:
    """Return the Markdown table of a command's arguments and options, such as of `weights get`."""
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    context = found.make_context("cista", [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in found.params]
    rows = ["| argument or option | meaning |", "|---|---|"]
    for option, meaning in filter(None, records):
        if not option.startswith(("-h,", "--help")):
            rows.append(f"| `{_cell(option)}` | {_cell(' '.join(meaning.split()))} |")
    return "\n".join(rows) + "\n"


def commands() -> list[str]:
    """Return the names of all commands that are not groups."""
    root: Any = typer.main.get_command(app)
    return [name for name, command in root.commands.items() if not hasattr(command, "commands")]


def updated(page: str) -> str:
    """Return a page with its tables written anew."""
    return BLOCK.sub(lambda match: match[1] + table(match["command"]) + match[3], page)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
