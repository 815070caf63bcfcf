"""One HTML page of an evaluation, complete in itself: tables, sheets and plots; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from ..util.atomic import write_text
from .metrics import METRICS
from .results import Result
from .tables import Summary
from .typeset import Grid, grids

LOSSLESS = 101  # as cv2 has it for WebP
LONGEST_WEBP = 16_383  # pixels of a side
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #0b6e99; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 75rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
.scroll { overflow-x: auto; margin: 1rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--soft); }
thead th { border-bottom: 2px solid var(--line); white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; min-width: 7rem; }
th:first-child, td:first-child, .words { text-align: left; white-space: normal; }
tr.mean td { border-top: 2px solid var(--line); font-style: italic; }
td.best { font-weight: 700; color: var(--accent); }
td.paper { opacity: .7; }
figure { margin: 1.5rem 0; }
figcaption { font-weight: 600; }
img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
.scroll img { max-width: none; width: max(100%, 40rem); }
ul { padding-left: 1.2rem; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cc7ee; } }
"""


def write_report(path: Path, title: str, summary: Summary, figures: Sequence[tuple[str, Path]]) -> None:
    """Write the page.

    Args:
        figures: caption and PNG file of each, in order; the page has them as WebP, or as they are where they are too
            large for that.
    """
    description = summary.description[0].upper() + summary.description[1:]
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(description)}.</p>"]
    if summary.notes:
        body.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in summary.notes) + "</ul>")
    means, *tables = grids(summary)
    body += ["<h2>Means over all frames</h2>", _table(means)]
    orders = {METRICS[metric].label: ", ".join(order) for metric, order in summary.order.items() if len(order) > 1}
    if orders:
        lines = (f"<li>{escape(label)}: {escape(order)}</li>" for label, order in orders.items())
        body.append(f"<p>From best to worst by</p><ul>{''.join(lines)}</ul>")
    body += ["<h2>Each sequence</h2>", *map(_table, tables)]
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


def _table(grid: Grid) -> str:
    def cell(tag: str, text: str, column: int, best: bool, paper: bool) -> str:
        kinds = [kind for kind, so in (("words", column < grid.words), ("best", best), ("paper", paper)) if so]
        attribute = f' class="{" ".join(kinds)}"' if kinds else ""
        # Names break after their underscores only.
        return f"<{tag}{attribute}>{escape(text).replace('_', '_<wbr>')}</{tag}>"

    head = "".join(cell("th", text, j, False, False) for j, text in enumerate(grid.head))
    lines = []
    for i, row in enumerate(grid.rows):
        cells = "".join(cell("td", text, j, (i, j) in grid.best, (i, j) in grid.paper) for j, text in enumerate(row))
        kind = ' class="mean"' if i in grid.means else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


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
    image = f'<img alt="{escape(caption)}" src="{_embedded(file)}">'
    return f'<figure><figcaption>{escape(caption)}</figcaption><div class="scroll">{image}</div></figure>'


def _embedded(file: Path) -> str:
    """A PNG as an address that holds it: as WebP if it can be, else as it is."""
    content = file.read_bytes()
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # of its header
    kind, content = ("png", content) if max(width, height) > LONGEST_WEBP else ("webp", _webp(content))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _webp(png: bytes) -> bytes:
    """A PNG as WebP, plots without loss and pictures nearly so: a page of them is a quarter of the size."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    qualities = (LOSSLESS, 90)
    return min((cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, q])[1].tobytes() for q in qualities), key=len)
