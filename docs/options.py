"""Write what the docs and the params file say of options and parameters: `python docs/options.py`.

These are the tables of docs/reference/commands.md and parameters.md and, with ROS 2, config/reconstruct.yaml.
"""

from __future__ import annotations

import re
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from cista_ros.commands.main import app

ROOT = Path(__file__).parents[1]
COMMANDS, PARAMETERS = ROOT / "docs/reference/commands.md", ROOT / "docs/reference/parameters.md"
PARAMS_FILE = ROOT / "config/reconstruct.yaml"
# The table of a command stands between two comments, and so does that of the parameters.
BLOCK = re.compile(r"(<!-- options of (?P<command>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PARAMETERS_BLOCK = re.compile(r"(<!-- parameters -->\n).*?(<!-- end -->)", re.DOTALL)


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


def parameters() -> tuple[str, str]:
    """Return the Markdown table of the node's parameters, and a params file with each at its default."""
    from cista_ros.node.parameters import Settings

    kinds = {str: "string", bool: "bool", int: "int", float: "double"}
    rows = ["| name | type | default | values | meaning |", "|---|---|---|---|---|"]
    lines = ["# Parameters of the node cista_reconstruct with their defaults, made by python docs/options.py"]
    lines += ["/**/cista_reconstruct:", "  ros__parameters:"]
    for item in fields(Settings):
        meaning, choices, limits = (item.metadata[key] for key in ("description", "choices", "limits"))
        values = ", ".join(f"`{choice}`" for choice in choices) or (f"{limits[0]:g} to {limits[1]:g}" if limits else "")
        default = _yaml(item.default)
        rows.append(f"| `{item.name}` | {kinds[type(item.default)]} | `{default}` | {values} | {meaning} |")
        lines += [f"    # {meaning}{' [' + ', '.join(choices) + ']' if choices else ''}", f"    {item.name}: {default}"]
    return "\n".join(rows) + "\n", "\n".join(lines) + "\n"


def updated() -> dict[Path, str]:
    """Return the new content of all files; without ROS 2, of commands.md only."""
    found = {COMMANDS: BLOCK.sub(lambda match: match[1] + table(match["command"]) + match[3], COMMANDS.read_text())}
    if find_spec("rclpy"):
        rows, params = parameters()
        found[PARAMETERS] = PARAMETERS_BLOCK.sub(lambda match: match[1] + rows + match[2], PARAMETERS.read_text())
        found[PARAMS_FILE] = params
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}" if value % 1 else f"{value:.1f}"
    return str(value) or '""'


if __name__ == "__main__":
    for path, content in updated().items():
        path.write_text(content)
