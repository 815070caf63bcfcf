from __future__ import annotations

import json
import math
import re

import pytest

from cista_ros.evaluation.jobs import Failure
from cista_ros.evaluation.metrics import MetricChoice
from cista_ros.evaluation.protocols import ECD_SEQUENCES, EVREAL, ICASSP2022
from cista_ros.evaluation.published import PAPER_MEAN, PAPER_MEANS, PAPER_METRICS, published
from cista_ros.evaluation.results import Result, read_result, result_paths, weighted_mean, write_result
from cista_ros.evaluation.tables import as_json, summarise
from cista_ros.evaluation.typeset import as_latex, as_markdown, grids
from cista_ros.networks import Model

# Frames of each sequence in the paper's protocol, by which its means are weighted.
FRAMES = {name: {"office_zigzag": 247, "slider_depth": 84}.get(name, 550) for name in ECD_SEQUENCES}

KEYS = tuple(key for key in ICASSP2022.metrics if "lpips" not in key)


def result(sequence, method, mses, **more):
    rows = [
        {"index": i, "stamp_ns": 1000 + i, "seconds": i / 20, "events": 9, "steps": 1, "milliseconds": 2.5}
        | {
            "mse:equalised": mse,
            "psnr:equalised": 10 * mse,
            "ssim_7x7:equalised": 1 - mse,
            "temporal:equalised": math.nan if i == 0 else 0.125,
        }
        for i, mse in enumerate(mses)
    ]
    return Result(
        sequence,
        method,
        rows,
        ["mse:equalised", "psnr:equalised", "ssim_7x7:equalised", "temporal:equalised"],
        settings={"a": 1},
        **more,
    )


RESULTS = [
    result("slider_depth", "A", [0.5, 0.25], note="2 of the protocol's 84 frames"),
    result("slider_depth", "B", [0.5, 0.5]),
    result("mine", "A", [0.125] * 6, unscored=1),
    result("mine", "B", [0.0625] * 6),
]


METHODS = {"A": Model("cista-d", {"channels": 32}), "B": Model("cista", {})}


def summary(**options):
    return summarise(ICASSP2022, MetricChoice(KEYS), RESULTS, [], ["mine", "slider_depth"], METHODS, **options)


def test_means_are_weighted_by_frames():
    table = summary().tables[0]
    assert table.rows == ["slider_depth", "mine", "mean"] and table.frames == [2, 6, 8]
    assert table.cells[0] == [0.375, 0.5]
    assert table.cells[2] == [pytest.approx((0.75 + 6 * 0.125) / 8), pytest.approx((1 + 6 * 0.0625) / 8)]
    assert weighted_mean(RESULTS[:1], "temporal:equalised") == 0.125
    assert math.isnan(weighted_mean([], "mse:equalised"))


def test_the_papers_own_means_are_weighted_by_frames_too():
    """Which is how its tables can be read at all: 15 of 16 means come out to its last digit, the 16th within one."""
    close = 0
    for metric in ("mse:equalised", "psnr:equalised", "ssim_7x7:equalised", "lpips_vgg:equalised"):
        for values in (v for method, v in published(metric).items() if len(v) > 1):
            mean = sum(values[name] * FRAMES[name] for name in ECD_SEQUENCES) / sum(FRAMES.values())
            tolerance = 0.006 if metric == "psnr:equalised" else 0.0006
            close += abs(mean - values[PAPER_MEAN]) <= tolerance
    assert close >= 15


def test_markdown_says_the_protocol_the_best_and_what_is_missing():
    text = as_markdown(summary())
    assert text.startswith("Protocol icassp2022: first 550 frames")
    assert "| means, icassp2022 | network | frames | MSE, equalised ↓ |" in text
    assert "| A | CISTA-D, channels=32 | 8 | 0.188 |" in text
    assert "| MSE, equalised ↓, icassp2022 | frames | A | B |" in text
    assert "| slider_depth | 2 | **0.375** | 0.500 |" in text
    assert "| *mean* | 8 | 0.188 | **0.172** |" in text
    assert "- slider_depth: 2 of the protocol's 84 frames." in text
    assert "- mine: frames before the first event, which have no image and no score: 1." in text


def test_a_metric_that_cannot_be_had_keeps_its_column_and_no_other_number():
    missing = MetricChoice(KEYS, missing=(("lpips_vgg:equalised", "there is no backbone"),))
    found = summarise(ICASSP2022, missing, RESULTS, [], ["mine", "slider_depth"], METHODS)
    table = next(t for t in found.tables if t.metric == "lpips_vgg:equalised")
    assert all(math.isnan(value) for row in table.cells for value in row)
    assert "- LPIPS (VGG), equalised was not computed: there is no backbone." in as_markdown(found)
    assert "| mine | 6 | – | – |" in as_markdown(found)


def test_the_papers_numbers_stand_beside_and_its_mean_on_a_line_of_its_own():
    found = summary(paper=True)
    table = found.tables[0]
    assert table.columns[2:] == [f"{m} (paper)" for m in ("E2VID", "FireNet", "SPADE-E2VID", "CISTA-TC")]
    assert table.cells[0][-1] == 0.044 and table.rows[-1] == PAPER_MEAN
    assert math.isnan(table.cells[2][-1]), "our mean is over other sequences"
    assert table.cells[3][2:] == [0.053, 0.075, 0.042, 0.043]
    assert grids(found)[1].best == {(0, 2), (1, 3), (2, 3)}, "of ours alone"


def test_the_papers_mean_stands_beside_ours_where_both_are_of_its_seven_sequences():
    seven = [result(name, "A", [0.5]) for name in ECD_SEQUENCES]
    found = summarise(ICASSP2022, MetricChoice(KEYS), seven, [], list(ECD_SEQUENCES), {"A": METHODS["A"]}, paper=True)
    assert found.tables[0].rows == [*ECD_SEQUENCES, "mean"]
    assert found.tables[0].cells[-1] == [0.5, 0.053, 0.075, 0.042, 0.043]


def test_sequences_that_the_paper_does_not_have_get_no_empty_columns_of_it():
    found = summarise(ICASSP2022, MetricChoice(KEYS), RESULTS[2:], [], ["mine"], METHODS, paper=True)
    assert found.tables[0].columns == ["A", "B"] and found.tables[0].rows == ["mine", "mean"]


def test_means_say_what_each_network_is_and_stand_over_the_papers_in_the_same_order():
    rows = summary(paper=True).means
    assert [(row.name, row.network, row.frames) for row in rows[:2]] == [
        ("A", "CISTA-D, channels=32", 8),
        ("B", "CISTA", 8),
    ]
    assert rows[0].means["mse:equalised"] == pytest.approx((0.75 + 6 * 0.125) / 8)
    assert [(row.name, row.network) for row in rows[2:5]] == [
        ("paper, real", "CISTA-D"),
        ("paper, real", "CISTA"),
        ("paper, real", "CISTA-TC"),
    ]
    assert rows[2].means["mse:equalised"] == 0.049 and math.isnan(rows[2].means["temporal:equalised"])
    assert (rows[8].name, rows[8].network, rows[8].means["psnr:equalised"]) == ("paper, simulated", "CISTA-D", 15.47)
    assert len(rows) == 14 and len(summary().means) == 2


def test_the_papers_means_are_those_of_its_text(shared_file):
    lines = shared_file("../paper/cista-tc-icassp2022.txt").read_text().splitlines()
    means = [line.split() for line in lines if line.startswith("mean")]
    assert [line[0] for line in means] == ["mean", "mean_sim", "mean_real", "mean_sim"]
    columns = 2 * [["e2vid", "firenet", "spade-e2vid", "cista-tc"]] + 2 * [["cista", "cista-d", "cista-tc"]]
    for (name, *values), models in zip(means, columns, strict=True):
        ours = PAPER_MEANS["simulated" if name == "mean_sim" else "real"]
        assert [float(v) for v in values] == [ours[m][i] for i in range(len(PAPER_METRICS)) for m in models]


def test_what_holds_of_several_sequences_is_said_once():
    both = [result(name, "A", [0.5], note="2 events too late", unscored=1) for name in ("mine", "yours")]
    notes = summarise(ICASSP2022, MetricChoice(KEYS), both, [], ["mine", "yours"], METHODS).notes
    assert "mine, yours: 2 events too late." in notes
    assert "mine, yours: frames before the first event, which have no image and no score: 1." in notes


def test_failures_are_named_and_their_means_marked():
    failures = [Failure("mine", "B", "the disk was full")]
    found = summarise(ICASSP2022, MetricChoice(KEYS), RESULTS[:3], failures, ["mine", "slider_depth"], METHODS)
    assert "mine, B: failed: the disk was full." in found.notes
    assert "The means of B are over fewer sequences than the others'." in found.notes
    assert found.tables[0].cells[2][1] == 0.5


def test_methods_are_put_in_order_by_each_metric():
    assert summary().order["mse:equalised"] == ["B", "A"] and summary().order["psnr:equalised"] == ["A", "B"]


def test_latex_has_as_many_cells_in_every_row_and_escapes_names():
    text = as_latex(summary(paper=True))
    assert r"slider\_depth" in text and not set("–×↑↓") & set(text)
    tabulars = text.split(r"\begin{tabular}")[1:]
    assert len(tabulars) == 1 + len(summary().tables)
    for tabular in tabulars:
        columns = re.match(r"\{(l+)(r+)\}", tabular)
        rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
        assert {row.count("&") + 1 for row in rows} == {len(columns[1] + columns[2])} and len(rows) > 3
    assert r"\textbf{0.375}" in text and text.count(r"\bottomrule") == len(tabulars)


def test_latex_escapes_all_that_it_would_take_for_commands():
    name = r"x^y{z}$~_%&#\a"
    text = as_latex(
        summarise(ICASSP2022, MetricChoice(KEYS), [result("s", name, [0.5])], [], ["s"], {name: METHODS["A"]})
    )
    assert r"frames & x\textasciicircum{}y\{z\}\$\textasciitilde{}\_\%\&\#\textbackslash{}a \\" in text
    assert name not in text


def test_json_is_plain_and_whole():
    content = json.loads(json.dumps(as_json(summary()), allow_nan=False))
    assert content["tables"]["mse:equalised"]["cells"][0] == [0.375, 0.5]
    assert content["means"][0]["network"] == "CISTA-D, channels=32"
    assert content["means"][1]["means"]["mse:equalised"] == pytest.approx((1 + 6 * 0.0625) / 8)
    assert content["sequences"][0]["means"]["temporal:equalised"] == 0.125


def test_the_other_protocol_has_its_own_columns():
    keys = tuple(key for key in EVREAL.metrics if "lpips" not in key)
    found = summarise(EVREAL, MetricChoice(keys), RESULTS, [], ["mine"], {"A": METHODS["A"]})
    assert [t.metric for t in found.tables] == list(keys)


def test_results_are_read_back_to_the_bit_and_only_with_the_same_settings(tmp_path):
    third = result("a", "m", [1 / 3, 0.1])
    write_result(tmp_path, third)
    again = read_result(tmp_path, "a", "m", {"a": 1})
    assert again.rows[0]["mse:equalised"] == 1 / 3 and math.isnan(again.rows[0]["temporal:equalised"])
    assert again.rows[1] == third.rows[1] and again.metrics == third.metrics
    assert read_result(tmp_path, "a", "m", {"a": 2}) is None
    assert read_result(tmp_path, "b", "m", {"a": 1}) is None
    result_paths(tmp_path, "a", "m")[0].write_text("rubbish")
    assert read_result(tmp_path, "a", "m", {"a": 1}) is None
