"""The tables of an evaluation, as data frames; written as Markdown, LaTeX, JSON, and one HTML page."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from ..networks import Model
from ..recordings.ecd import ECD_SEQUENCES
from ..util.atomic import write_text
from .protocols import Protocol
from .run import Result
from .scores import ScoreChoice, label_of, metric_of

LOSSLESS, LONGEST_WEBP = 101, 16_383  # cv2's quality without loss; pixels of a WebP's side
MEAN, PAPER_MEAN = "mean", "mean of the paper's seven"
PAPER_NAMES = {  # of a kind of network, as the paper calls it
    "cista": "CISTA",
    "cista-d": "CISTA-D",
    "cista-tc": "CISTA-TC",
    "e2vid": "E2VID",
    "firenet": "FireNet",
    "spade-e2vid": "SPADE-E2VID",
}


def paper_scores() -> pd.DataFrame:
    """Return the scores of the paper (ICASSP 2022, Tables 1 and 2), with the index (data, model).

    Data is a sequence, "mean of real" or "mean of simulated"; model a name of PAPER_NAMES.
    """
    return pd.read_csv(Path(__file__).with_name("paper.csv"), index_col=["data", "model"])


@dataclass
class Table:
    """One table as it is printed."""

    title: str  # printed over the row names
    data: pd.DataFrame  # numbers, and columns of words on the left
    decimals: dict[str, int]  # of each column of numbers
    best: pd.DataFrame  # which cells of `data` are in bold; those that are not named are not

    def __post_init__(self) -> None:
        self.best = self.best.reindex(index=self.data.index, columns=self.data.columns, fill_value=False)

    def cells(self, bold: str, escape: Mapping[int, str] | None = None) -> list[list[str]]:
        """Return the header and the rows as text: `escape` is for str.translate, `bold` then formats the best."""

        def text(value: Any, decimals: int | None = None) -> str:
            shown = "–" if pd.isna(value) else str(value) if decimals is None else f"{value:.{decimals}f}"
            return shown.translate(escape or {})

        rows = [[text(self.title), *map(text, self.data.columns)]]
        for (name, values), best in zip(self.data.iterrows(), self.best.to_numpy(), strict=True):
            texts = [text(value, self.decimals.get(column)) for column, value in values.items()]
            rows.append([text(name), *(bold.format(t) if b else t for t, b in zip(texts, best, strict=True))])
        return rows

    def alignment(self, words: str, numbers: str) -> list[str]:
        """Return `words` or `numbers` for each column, the first of which has the names of the rows."""
        return [words, *(numbers if c in self.decimals or c == "frames" else words for c in self.data)]

    def as_markdown(self) -> str:
        """Return the table as Markdown."""
        head, *rows = self.cells("**{}**")
        return "\n".join("| " + " | ".join(row) + " |" for row in (head, self.alignment("---", "---:"), *rows))


@dataclass(frozen=True)
class Summary:
    """The results of an evaluation, and what belongs in its tables."""

    protocol: Protocol
    choice: ScoreChoice
    results: Sequence[Result]
    failures: Mapping[tuple[str, str], str]  # (sequence, method) -> reason
    sequences: Sequence[str]
    methods: Mapping[str, Model]  # name -> what its network is
    paper: bool = False  # also show the paper's published scores, which go with its own protocol only

    @property
    def keys(self) -> list[str]:
        """Scores with a column: all of the protocol, without LPIPS-squeeze if it was not requested, and tasks."""
        there = (*self.choice.keys, *dict(self.choice.missing))
        return [*(key for key in self.protocol.metrics if key in there), *self.choice.tasks]

    @cached_property
    def frames(self) -> pd.DataFrame:
        """Every scored frame of every result; the index is (sequence, method, frame)."""
        parts = {(r.sequence, r.method): r.frames for r in self.results}
        if not parts:
            return pd.DataFrame(columns=self.keys, index=pd.MultiIndex.from_arrays([[], [], []], names=_NAMES))
        frames = pd.concat(parts, names=_NAMES)
        return frames.reindex(columns=[*frames.columns, *(key for key in self.keys if key not in frames)])

    @cached_property
    def rows(self) -> list[str]:
        """Sequences with results, those of the paper first."""
        known = self.frames.index.unique("sequence")
        return [name for name in dict.fromkeys([*ECD_SEQUENCES, *self.sequences]) if name in known]

    @cached_property
    def means(self) -> pd.DataFrame:
        """Frame-weighted means of each method, and the number of frames."""
        grouped = self.frames.groupby("method")
        means = grouped[self.keys].mean().assign(frames=grouped.size())
        return means.reindex(list(self.methods)).fillna({"frames": 0}).astype({"frames": int})

    def order(self, key: str) -> list[str]:
        """Methods from best to worst by a score."""
        means = self.means[key].dropna()
        return list(means.sort_values(ascending=not metric_of(key).more_is_better, kind="stable").index)

    def tables(self) -> list[Table]:
        """The methods' means; then for each score sequences by methods; then the rest test."""
        return [self._means_table(), *map(self._score_table, self.keys), *self._rest_table()]

    def _means_table(self) -> Table:
        data = self.means[["frames", *self.keys]].astype({"frames": str})
        data.insert(0, "network", [_describe(model) for model in self.methods.values()])
        metrics = {key: metric_of(key) for key in self.keys}
        decimals = {key: metric.decimals for key, metric in metrics.items()}
        best = _best(data[self.keys], [metric.more_is_better for metric in metrics.values()], decimals)
        if self.paper:
            papers, order = paper_scores(), [model.name for model in self.methods.values()]
            models = dict.fromkeys([name for name in order if name in PAPER_NAMES] + list(PAPER_NAMES))
            for kind in ("real", "simulated"):
                rows = papers.loc[f"mean of {kind}"].reindex(list(models)).reindex(columns=self.keys)
                rows.insert(0, "frames", "")
                rows.insert(0, "network", [PAPER_NAMES[name] for name in models])
                data = pd.concat([data, rows.set_axis([f"paper, {kind}: {PAPER_NAMES[name]}" for name in models])])
        labels = {key: label_of(key) for key in self.keys}
        decimals = {labels[key]: n for key, n in decimals.items()}
        data, best = data.rename(columns=labels), best.rename(columns=labels)
        return Table(f"means, {self.protocol.name}", data, decimals, best)

    def _score_table(self, key: str) -> Table:
        means = self.frames.groupby(["sequence", "method"])[key].mean().unstack()
        data = means.reindex(index=self.rows, columns=list(self.methods))
        data.loc[MEAN] = self.means[key]
        frames = self.frames.groupby(["sequence", "method"]).size().groupby("sequence").max().reindex(self.rows)
        more = metric_of(key).more_is_better
        best = _best(data.T, [more] * len(data), dict.fromkeys(data.index, metric_of(key).decimals)).T
        counts = [*frames.astype(str), str(frames.sum())]
        if self.paper and key in (papers := paper_scores()) and any(row in ECD_SEQUENCES for row in self.rows):
            # Table 1 has these four networks; its mean over its own seven sequences has a row of its own.
            beside = papers[key].unstack()[["e2vid", "firenet", "spade-e2vid", "cista-tc"]]
            means_of_seven = beside.loc["mean of real"]
            beside = beside.reindex(data.index)
            if set(self.rows) == set(ECD_SEQUENCES):
                beside.loc[MEAN] = means_of_seven
            else:
                beside.loc[PAPER_MEAN] = means_of_seven
                counts.append("")
            beside.columns = [f"{PAPER_NAMES[model]} (paper)" for model in beside]
            data = data.reindex(beside.index).join(beside)
        decimals = dict.fromkeys(data.columns, metric_of(key).decimals)
        data.insert(0, "frames", counts)
        return Table(f"{label_of(key)}, {self.protocol.name}", data, decimals, best)

    def _rest_table(self) -> list[Table]:
        rests = {
            (r.method, r.sequence): {f"{rest}, {key}": v for rest, both in r.rest.items() for key, v in both.items()}
            for r in self.results
            if r.rest
        }
        if not rests:
            return []
        data = pd.DataFrame.from_dict(rests, orient="index").groupby(level=0).mean().reindex(list(self.methods))
        decimals = {column: 3 if column.endswith("correlation") else 2 for column in data}
        kinds = [column for column in data if column.endswith("correlation")]
        best = _best(data[kinds], [True] * len(kinds), decimals)
        return [Table("2 s of noise alone after the last event, means over sequences", data, decimals, best)]

    def notes(self) -> list[str]:
        """Return what is missing and why, merged for sequences with the same note."""
        notes = [f"{label_of(key)[:-2]} was not computed: {reason}." for key, reason in self.choice.missing]
        said: dict[str, list[str]] = {}
        for sequence in self.rows:
            own = [r for r in self.results if r.sequence == sequence]
            for note in sorted({r.note for r in own if r.note}):
                said.setdefault(note, []).append(sequence)
            if unscored := max(r.unscored for r in own):
                note = f"frames before the first event, which have no image and no score: {unscored}"
                said.setdefault(note, []).append(sequence)
        notes += [f"{', '.join(names)}: {note}." for note, names in said.items()]
        notes += [f"{', '.join(names)}: failed: {reason}." for names, reason in self.failures.items()]
        done = {(r.sequence, r.method) for r in self.results}
        incomplete = [m for m in self.methods if any((row, m) not in done for row in self.rows)]
        if incomplete:
            notes.append(f"The means of {', '.join(incomplete)} are over fewer sequences than the others'.")
        if self.paper:
            notes.append("The paper's numbers are of networks that its authors trained; its LPIPS is that of VGG.")
        return notes


_NAMES = ["sequence", "method", "frame"]


def _describe(model: Model) -> str:
    """Return a network's name in the paper, and how its configuration differs from the published one."""
    differences = [f"{key}={value}" for key, value in model.differences.items()]
    return ", ".join([PAPER_NAMES.get(model.name, model.name), *differences])


def _best(data: pd.DataFrame, more: Sequence[bool], decimals: Mapping[Any, int]) -> pd.DataFrame:
    """Return which cells are the best of their column, as printed, where there are two values or more."""
    printed = data.astype(float).round(dict(decimals))
    return printed.eq(printed.max().where(np.array(more, bool), printed.min())) & (printed.count() > 1)


def as_markdown(summary: Summary) -> str:
    """Return all tables and notes; the best of our methods in bold."""
    parts = [_sentence(summary.protocol.description), *(table.as_markdown() for table in summary.tables())]
    if notes := summary.notes():
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LATEX = str.maketrans(
    {"×": r"$\times$", "σ": r"$\sigma$", "·": r"$\cdot$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--"}
    | {"\\": r"\textbackslash ", "~": r"\textasciitilde ", "^": r"\textasciicircum "}
    | {symbol: f"\\{symbol}" for symbol in "&%$#_{}"}
)


def as_latex(summary: Summary) -> str:
    """Return all tables, a booktabs tabular each."""
    parts = [f"% {summary.protocol.description.translate(_LATEX)}\n% needs \\usepackage{{booktabs}}"]
    for table in summary.tables():
        head, *rows = (" & ".join(row) + r" \\" for row in table.cells(r"\textbf{{{}}}", _LATEX))
        begin, end = rf"\begin{{tabular}}{{{''.join(table.alignment('l', 'r'))}}}", r"\end{tabular}"
        parts.append("\n".join([begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", end]))
    return "\n\n".join(parts) + "\n"


def as_json(summary: Summary) -> dict[str, Any]:
    """Return everything as plain JSON; nan becomes null."""
    means = summary.means
    return {
        "protocol": summary.protocol.description,
        "means": [
            {
                "name": name,
                "network": _describe(model),
                "frames": int(means.at[name, "frames"]),
                "means": _plain(means.loc[name, summary.keys]),
            }
            for name, model in summary.methods.items()
        ],
        "order": {key: summary.order(key) for key in summary.keys},
        "sequences": [
            {
                "sequence": r.sequence,
                "method": r.method,
                "frames": len(r.frames),
                "milliseconds": float(r.frames["milliseconds"].mean()),
                "means": _plain(r.frames[r.scores].mean()),
                "rest": {rest: _plain(pd.Series(values)) for rest, values in r.rest.items()},
            }
            for r in summary.results
        ],
        "failures": [{"sequence": s, "method": m, "reason": reason} for (s, m), reason in summary.failures.items()],
        "notes": summary.notes(),
    }


def _plain(values: pd.Series[Any]) -> dict[str, float | None]:
    return json.loads(values.astype(float).to_json(double_precision=15))  # type: ignore[no-any-return]


def write_report(path: Path, title: str, summary: Summary, figures: Sequence[tuple[str, Path]]) -> None:
    """Write one self-contained HTML page; figures: caption and PNG file of each, in order."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    times = pd.concat([r.frames.assign(method=r.method) for r in summary.results]).query("steps > 0").groupby("method")
    steps, milliseconds = times["steps"].sum(), times["milliseconds"].sum()
    page = environment.get_template("report.html.jinja").render(
        title=title,
        description=_sentence(summary.protocol.description),
        notes=summary.notes(),
        orders={label_of(key): summary.order(key) for key in summary.keys},
        tables=[table.cells("<strong>{}</strong>", _HTML) for table in summary.tables()],
        times=[(m, times.size()[m], steps[m] / times.size()[m], milliseconds[m] / steps[m]) for m in steps.index],
        figures=[(caption, _embedded(file)) for caption, file in figures],
    )
    write_text(path, page)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _embedded(file: Path) -> str:
    """Return a PNG as a data address: as WebP, a quarter of the size, unless it is too large for that."""
    content, kind = file.read_bytes(), "png"
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is not None and max(image.shape) <= LONGEST_WEBP:
        quality = LOSSLESS if "over_time" in file.name else 90
        content, kind = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
