"""One HTML page of an evaluation, complete in itself: tables, sheets and plots; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .metrics import METRICS
from .published import MEAN, PAPER_MEAN
from .results import Result, write_text
from .tables import Summary, Table

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #0b6e99; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 75rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
.scroll { overflow-x: auto; margin: 1rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--soft); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
thead th { border-bottom: 2px solid var(--line); white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { white-space: normal; min-width: 7rem; overflow-wrap: anywhere; }
tr.mean td { border-top: 2px solid var(--line); font-style: italic; }
td.best { font-weight: 700; color: var(--accent); }
td.paper, th.paper { opacity: .7; }
figure { margin: 1rem 0; }
figcaption { font-size: .85rem; opacity: .8; }
img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
.scroll img { max-width: none; width: max(100%, 40rem); }
ul { padding-left: 1.2rem; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cc7ee; } }
"""


BEST, PAPER = ' class="best"', ' class="paper"'


def write_report(path: Path, title: str, summary: Summary, figures: Sequence[tuple[str, Path]]) -> None:
    """Write the page.

    Args:
        figures: caption and PNG file of each, in order.
    """
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(summary.protocol[0].upper() + summary.protocol[1:])}.</p>"]
    if summary.notes:
        body.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in summary.notes) + "</ul>")
    body.append("<h2>Scores</h2>")
    for table in summary.tables:
        body.append(_table(table))
        order = summary.order[table.metric]
        if len(order) > 1:
            body.append(f"<p>Best to worst by {escape(METRICS[table.metric].label)}: {escape(', '.join(order))}.</p>")
    body.append("<h2>Time a frame on this machine</h2>" + _times(summary.results))
    if figures:
        body.append("<h2>Pictures and plots</h2>")
    body += [_figure(caption, file) for caption, file in figures]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon, so that no browser asks a server for one.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n'
    )
    write_text(path, page + "\n".join(body) + "\n</body>\n</html>\n")


def _table(table: Table) -> str:
    kinds = ["" if j < table.ours else PAPER for j in range(len(table.columns))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True))
    lines = []
    for i, row in enumerate(table.rows):
        cells = "".join(
            f"<td{BEST if table.is_best(i, j) else kinds[j]}>{table.text(i, j)}</td>" for j in range(len(table.columns))
        )
        kind = ' class="mean"' if row in (MEAN, PAPER_MEAN) else ""
        lines.append(f"<tr{kind}><td>{escape(row)}</td><td>{table.frames[i] or ''}</td>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr><th>{escape(table.heading)}</th><th>frames</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _times(results: Sequence[Result]) -> str:
    lines = []
    for method in dict.fromkeys(r.method for r in results):
        rows = [row for r in results if r.method == method for row in r.rows if row["steps"]]
        steps = sum(row["steps"] for row in rows)
        milliseconds = math.fsum(row["milliseconds"] for row in rows)
        if steps:
            cells = f"<td>{len(rows)}</td><td>{steps / len(rows):.2f}</td><td>{milliseconds / steps:.1f}</td>"
            lines.append(f"<tr><td>{escape(method)}</td>{cells}</tr>")
    head = "<tr><th>method</th><th>frames</th><th>network steps a frame</th><th>ms a step</th></tr>"
    return (
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'
        "<p>Voxel grid, network and tone map, while other sequences may have run beside it; "
        "<code>cista cost</code> measures each network alone.</p>"
    )


def _figure(caption: str, file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f'<figure><div class="scroll">{image}</div><figcaption>{escape(caption)}</figcaption></figure>'
