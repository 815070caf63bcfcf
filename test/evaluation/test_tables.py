from __future__ import annotations

import json
import math
import re

import pytest

from cista_ros.evaluation.jobs import Failure
from cista_ros.evaluation.metrics import MetricChoice
from cista_ros.evaluation.protocols import ECD_SEQUENCES, EVREAL, ICASSP2022
from cista_ros.evaluation.published import PAPER_MEAN, published
from cista_ros.evaluation.results import Result, read_result, result_paths, weighted_mean, write_result
from cista_ros.evaluation.tables import as_json, as_latex, as_markdown, summarise

# Frames of each sequence in the paper's protocol, by which its means are weighted.
FRAMES = {name: {"office_zigzag": 247, "slider_depth": 84}.get(name, 550) for name in ECD_SEQUENCES}


def result(sequence, method, mses, **more):
    rows = [
        {"index": i, "stamp_ns": 1000 + i, "seconds": i / 20, "events": 9, "steps": 1, "milliseconds": 2.5}
        | {"mse": mse, "psnr": 10 * mse, "ssim_uniform": 1 - mse, "temporal": math.nan if i == 0 else 0.125}
        for i, mse in enumerate(mses)
    ]
    return Result(sequence, method, rows, ["mse", "psnr", "ssim_uniform", "temporal"], settings={"a": 1}, **more)


RESULTS = [
    result("slider_depth", "A", [0.5, 0.25], note="2 of the protocol's 84 frames"),
    result("slider_depth", "B", [0.5, 0.5]),
    result("mine", "A", [0.125] * 6, unscored=1),
    result("mine", "B", [0.0625] * 6),
]


def summary(**options):
    return summarise(ICASSP2022, MetricChoice(), RESULTS, [], ["mine", "slider_depth"], ["A", "B"], **options)


def test_means_are_weighted_by_frames():
    table = summary().tables[0]
    assert table.rows == ["slider_depth", "mine", "mean"] and table.frames == [2, 6, 8]
    assert table.cells[0] == [0.375, 0.5]
    assert table.cells[2] == [pytest.approx((0.75 + 6 * 0.125) / 8), pytest.approx((1 + 6 * 0.0625) / 8)]
    assert weighted_mean(RESULTS[:1], "temporal") == 0.125
    assert math.isnan(weighted_mean([], "mse"))


def test_the_papers_own_means_are_weighted_by_frames_too():
    """Which is how its tables can be read at all: 15 of 16 means come out to its last digit, the 16th within one."""
    close = 0
    for metric in ("mse", "psnr", "ssim_uniform", "lpips_vgg"):
        for values in (v for method, v in published(metric).items() if len(v) > 1):
            mean = sum(values[name] * FRAMES[name] for name in ECD_SEQUENCES) / sum(FRAMES.values())
            tolerance = 0.006 if metric == "psnr" else 0.0006
            close += abs(mean - values[PAPER_MEAN]) <= tolerance
    assert close >= 15


def test_markdown_says_the_protocol_the_best_and_what_is_missing():
    text = as_markdown(summary())
    assert text.startswith("Protocol icassp2022: first 550 frames")
    assert "| slider_depth | 2 | **0.375** | 0.500 |" in text
    assert "| *mean* | 8 | 0.188 | **0.172** |" in text
    assert "- slider_depth: 2 of the protocol's 84 frames." in text
    assert "- mine: frames before its first event, which have no image and no score: 1." in text


def test_a_metric_that_cannot_be_had_keeps_its_column_and_no_other_number():
    missing = MetricChoice(missing=(("lpips_vgg", "there is no backbone"),))
    found = summarise(ICASSP2022, missing, RESULTS, [], ["mine", "slider_depth"], ["A", "B"])
    table = next(t for t in found.tables if t.metric == "lpips_vgg")
    assert all(math.isnan(value) for row in table.cells for value in row)
    assert "- LPIPS (VGG) was not computed: there is no backbone." in as_markdown(found)
    assert "| mine | 6 | – | – |" in as_markdown(found)


def test_the_papers_numbers_stand_beside_and_its_mean_on_a_line_of_its_own():
    table = summary(paper=True).tables[0]
    assert table.columns[2:] == [
        f"{m} (paper)" for m in ("CISTA", "CISTA-D", "E2VID", "FireNet", "SPADE-E2VID", "CISTA-TC")
    ]
    assert table.cells[0][-1] == 0.044 and table.rows[-1] == PAPER_MEAN
    assert math.isnan(table.cells[2][-1]), "our mean is over other sequences"
    assert table.cells[3][2:] == [0.054, 0.049, 0.053, 0.075, 0.042, 0.043]
    assert not any(table.is_best(i, j) for i in range(4) for j in range(2, 8))


def test_failures_are_named_and_their_means_marked():
    failures = [Failure("mine", "B", "the disk was full")]
    found = summarise(ICASSP2022, MetricChoice(), RESULTS[:3], failures, ["mine", "slider_depth"], ["A", "B"])
    assert "mine, B: failed: the disk was full." in found.notes
    assert "The means of B are over fewer sequences than the others'." in found.notes
    assert found.tables[0].cells[2][1] == 0.5


def test_methods_are_put_in_order_by_each_metric():
    assert summary().order["mse"] == ["B", "A"] and summary().order["psnr"] == ["A", "B"]


def test_latex_has_as_many_cells_in_every_row_and_escapes_names():
    text = as_latex(summary(paper=True))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert r"slider\_depth" in text and "–" not in text and "×" not in text
    widths = {
        sum(int(n) for n in re.findall(r"multicolumn\{(\d+)\}", rows[0])) + 1,
        *(r.count("&") + 1 for r in rows[1:]),
    }
    assert len(widths) == 1


def test_json_is_plain_and_whole():
    content = json.loads(json.dumps(as_json(summary()), allow_nan=False))
    assert content["tables"]["mse"]["cells"][0] == [0.375, 0.5]
    assert content["sequences"][0]["means"]["temporal"] == 0.125


def test_the_other_protocol_has_its_own_columns():
    metrics = [t.metric for t in summarise(EVREAL, MetricChoice(), RESULTS, [], ["mine"], ["A"]).tables]
    assert metrics == ["mse", "psnr", "ssim_gaussian", "lpips_alex", "temporal"]


def test_results_are_read_back_to_the_bit_and_only_with_the_same_settings(tmp_path):
    third = result("a", "m", [1 / 3, 0.1])
    write_result(tmp_path, third)
    again = read_result(tmp_path, "a", "m", {"a": 1})
    assert again.rows[0]["mse"] == 1 / 3 and math.isnan(again.rows[0]["temporal"])
    assert again.rows[1] == third.rows[1] and again.metrics == third.metrics
    assert read_result(tmp_path, "a", "m", {"a": 2}) is None
    assert read_result(tmp_path, "b", "m", {"a": 1}) is None
    result_paths(tmp_path, "a", "m")[0].write_text("rubbish")
    assert read_result(tmp_path, "a", "m", {"a": 1}) is None
