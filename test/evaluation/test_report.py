"""Tables as Markdown, LaTeX and JSON; figures; the HTML page."""

from __future__ import annotations

import base64
import html.parser
import json
import math
import re

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from cista_ros.evaluation.pictures import write_pictures
from cista_ros.evaluation.protocols import EVREAL, ICASSP2022, REAL
from cista_ros.evaluation.report import Summary, as_json, as_latex, as_markdown, paper_scores, write_report
from cista_ros.evaluation.run import Result
from cista_ros.evaluation.scores import ScoreChoice
from cista_ros.evaluation.sequence import Compared
from cista_ros.events import no_events
from cista_ros.networks import Model
from cista_ros.recordings.ecd import ECD_SEQUENCES

pytest.importorskip("matplotlib", reason="figures need matplotlib")
from cista_ros.evaluation import figures

METHODS = ["A <b>", "B"]
MODELS = {method: Model("firenet", {"channels": 4}) for method in METHODS}
KEYS = tuple(key for key in ICASSP2022.metrics if "lpips" not in key)
# Frames of each sequence in the paper's protocol, by which its means are weighted.
FRAMES = {name: {"office_zigzag": 247, "slider_depth": 84}.get(name, 550) for name in ECD_SEQUENCES}


def result(sequence, method, mses, **more):
    n = len(mses)
    about = {"index": range(n), "stamp_ns": 1000, "seconds": np.arange(n) / 20, "events": 9, "steps": 1}
    scores = {"mse:equalised": mses, "psnr:equalised": 10 * np.array(mses), "ssim_7x7:equalised": 1 - np.array(mses)}
    scores["temporal:equalised"] = [math.nan] + (n - 1) * [0.125]
    frames = pd.DataFrame({**about, "milliseconds": 2.5, **scores})
    return Result(sequence, method, frames, list(scores), settings={"a": 1}, **more)


RESULTS = [
    result("slider_depth", "A", [0.5, 0.25], note="2 of the protocol's 84 frames"),
    result("slider_depth", "B", [0.5, 0.5]),
    result("mine", "A", [0.125] * 6, unscored=1),
    result("mine", "B", [0.0625] * 6),
]
NETWORKS = {"A": Model("cista-d", {"channels": 32}), "B": Model("cista", {})}


def summary(results=RESULTS, sequences=("mine", "slider_depth"), networks=NETWORKS, failures=None, **options):
    return Summary(ICASSP2022, ScoreChoice(KEYS), results, failures or {}, sequences, networks, **options)


def test_means_are_weighted_by_frames():
    table = summary().tables()[1].data
    assert list(table.index) == ["slider_depth", "mine", "mean"] and list(table["frames"]) == ["2", "6", "8"]
    assert list(table.loc["slider_depth", ["A", "B"]]) == [0.375, 0.5]
    assert table.at["mean", "A"] == pytest.approx((0.75 + 6 * 0.125) / 8)
    assert table.at["mean", "B"] == pytest.approx((1 + 6 * 0.0625) / 8)
    assert summary().means.at["A", "temporal:equalised"] == 0.125, "frames without a value do not count"


def test_the_papers_own_means_are_weighted_by_frames_too():
    """Which is how its tables can be read at all: 15 of 16 means come out to its last digit, the 16th within one."""
    weights = pd.Series(FRAMES) / sum(FRAMES.values())
    close = 0
    for key, values in paper_scores().items():
        table = values.unstack()
        for model in ("e2vid", "firenet", "spade-e2vid", "cista-tc"):
            mean = (table.loc[list(FRAMES), model] * weights).sum()
            close += abs(mean - table.at["mean of real", model]) <= (0.006 if "psnr" in key else 0.0006)
    assert close >= 15


def test_the_papers_means_are_those_of_its_text(shared_file):
    lines = shared_file("../paper/cista-tc-icassp2022.txt").read_text().splitlines()
    means = [line.split() for line in lines if line.startswith("mean")]
    assert [line[0] for line in means] == ["mean", "mean_sim", "mean_real", "mean_sim"]
    columns = 2 * [["e2vid", "firenet", "spade-e2vid", "cista-tc"]] + 2 * [["cista", "cista-d", "cista-tc"]]
    for (name, *values), models in zip(means, columns, strict=True):
        ours = paper_scores().loc[f"mean of {'simulated' if name == 'mean_sim' else 'real'}"].loc[models]
        assert [float(v) for v in values] == ours.T.to_numpy().ravel().tolist()


def test_markdown_says_the_protocol_the_best_and_what_is_missing():
    text = as_markdown(summary())
    assert text.startswith("Protocol icassp2022: first 550 frames")
    assert "| means, icassp2022 | network | frames | MSE, equalised ↓ |" in text
    assert "| --- | --- | ---: | ---: |" in text
    assert "| A | CISTA-D, channels=32 | 8 | 0.188 |" in text
    assert "| MSE, equalised ↓, icassp2022 | frames | A | B |" in text
    assert "| slider_depth | 2 | **0.375** | 0.500 |" in text
    assert "| mean | 8 | 0.188 | **0.172** |" in text
    assert "- slider_depth: 2 of the protocol's 84 frames." in text
    assert "- mine: frames before the first event, which have no image and no score: 1." in text


def test_a_metric_that_is_not_available_keeps_its_column_and_gets_no_number():
    missing = ScoreChoice(KEYS, missing=(("lpips_vgg:equalised", "there is no backbone"),))
    found = Summary(ICASSP2022, missing, RESULTS, {}, ["mine", "slider_depth"], NETWORKS)
    (table,) = (t.data for t in found.tables() if t.title.startswith("LPIPS (VGG)"))
    assert table[["A", "B"]].isna().all(axis=None)
    assert "- LPIPS (VGG), equalised was not computed: there is no backbone." in as_markdown(found)
    assert "| mine | 6 | – | – |" in as_markdown(found)


def test_the_papers_scores_are_shown_and_its_mean_has_a_row_of_its_own():
    table = summary(paper=True).tables()[1]
    assert list(table.data.columns[3:]) == [f"{m} (paper)" for m in ("E2VID", "FireNet", "SPADE-E2VID", "CISTA-TC")]
    assert table.data.at["slider_depth", "CISTA-TC (paper)"] == 0.044
    assert math.isnan(table.data.at["mean", "CISTA-TC (paper)"]), "our mean is over other sequences"
    assert list(table.data.iloc[3, 3:]) == [0.053, 0.075, 0.042, 0.043]
    best = {(row, c) for row, cells in table.best.iterrows() for c, bold in cells.items() if bold}
    assert best == {("slider_depth", "A"), ("mine", "B"), ("mean", "B")}, "of ours alone"


def test_the_papers_mean_is_in_our_row_if_both_are_of_its_seven_sequences():
    seven = [result(name, "A", [0.5]) for name in ECD_SEQUENCES]
    table = summary(seven, list(ECD_SEQUENCES), {"A": NETWORKS["A"]}, paper=True).tables()[1].data
    assert list(table.index) == [*ECD_SEQUENCES, "mean"]
    assert list(table.iloc[-1, 1:]) == [0.5, 0.053, 0.075, 0.042, 0.043]


def test_sequences_that_the_paper_does_not_have_get_no_empty_columns_of_it():
    table = summary(RESULTS[2:], ["mine"], paper=True).tables()[1].data
    assert list(table.columns) == ["frames", "A", "B"] and list(table.index) == ["mine", "mean"]


def test_means_say_what_each_network_is_and_the_papers_follow_in_the_same_order():
    data = summary(paper=True).tables()[0].data
    assert list(data["network"][:5]) == ["CISTA-D, channels=32", "CISTA", "CISTA-D", "CISTA", "CISTA-TC"]
    assert list(data.index[:4]) == ["A", "B", "paper, real: CISTA-D", "paper, real: CISTA"]
    assert data.at["paper, real: CISTA-D", "MSE, equalised ↓"] == 0.049
    assert data.at["paper, simulated: CISTA-D", "PSNR, equalised ↑"] == 15.47
    assert len(data) == 14 and len(summary().tables()[0].data) == 2


def test_what_holds_of_several_sequences_is_said_once():
    both = [result(name, "A", [0.5], note="2 events too late", unscored=1) for name in ("mine", "yours")]
    notes = summary(both, ["mine", "yours"]).notes()
    assert "mine, yours: 2 events too late." in notes
    assert "mine, yours: frames before the first event, which have no image and no score: 1." in notes


def test_failures_are_named_and_their_means_marked():
    found = summary(RESULTS[:3], failures={("mine", "B"): "the disk was full"})
    assert "mine, B: failed: the disk was full." in found.notes()
    assert "The means of B are over fewer sequences than the others'." in found.notes()
    assert found.tables()[1].data.at["mean", "B"] == 0.5


def test_everything_failed():
    found = summary([], failures={("mine", "A"): "no", ("mine", "B"): "no"})
    assert "mine, A: failed: no." in as_markdown(found) and as_latex(found)
    assert [row["frames"] for row in as_json(found)["means"]] == [0, 0]


def test_methods_are_put_in_order_by_each_score():
    assert summary().order("mse:equalised") == ["B", "A"] and summary().order("psnr:equalised") == ["A", "B"]


def test_latex_has_as_many_cells_in_every_row_and_escapes_names():
    text = as_latex(summary(paper=True))
    assert r"slider\_depth" in text and not set("–×↑↓") & set(text)
    tabulars = text.split(r"\begin{tabular}")[1:]
    assert len(tabulars) == 1 + len(KEYS)
    for tabular in tabulars:
        columns = re.match(r"\{(l+)(r+)\}", tabular)
        rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
        assert {row.count("&") + 1 for row in rows} == {len(columns[1] + columns[2])} and len(rows) > 3
    assert r"\textbf{0.375}" in text and text.count(r"\bottomrule") == len(tabulars)


def test_latex_escapes_all_that_it_would_take_for_commands():
    name = r"x^y{z}$~_%&#\a"
    text = as_latex(summary([result("s", name, [0.5])], ["s"], {name: NETWORKS["A"]}))
    escaped = r"x\textasciicircum y\{z\}\$\textasciitilde \_\%\&\#\textbackslash a"
    assert rf"frames & {escaped} \\" in text and name not in text


def test_json_is_plain_and_whole():
    content = json.loads(json.dumps(as_json(summary()), allow_nan=False))
    assert content["means"][0]["network"] == "CISTA-D, channels=32"
    assert content["means"][1]["means"]["mse:equalised"] == pytest.approx((1 + 6 * 0.0625) / 8)
    assert content["sequences"][0]["means"]["temporal:equalised"] == 0.125


def test_the_other_protocols_have_their_own_columns():
    for protocol in (EVREAL, REAL):
        keys = tuple(key for key in protocol.metrics if "lpips" not in key)
        assert Summary(protocol, ScoreChoice(keys), RESULTS, {}, ["mine"], {"A": NETWORKS["A"]}).keys == list(keys)


def test_the_rest_test_has_a_table_of_means_over_sequences():
    rests = ({"1 /s": {"correlation": c, "contrast": 0.5}} for c in (0.9, 0.7, 0.6))
    named = zip((("a", "A"), ("b", "A"), ("a", "B")), rests, strict=True)
    results = [result(s, m, [0.5], rest=r) for (s, m), r in named]
    table = summary(results, ["a", "b"]).tables()[-1]
    assert list(table.data["1 /s, correlation"]) == [pytest.approx(0.8), 0.6]
    assert table.best.at["A", "1 /s, correlation"] and not table.best.at["B", "1 /s, correlation"]
    assert "| A | **0.800** | 0.50 |" in table.as_markdown()


@pytest.fixture
def results(tmp_path):
    """Two methods on five frames of which all pictures are kept; that of A is the frame itself, B's is white."""
    found = []
    truth = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (30, 1))
    for method, image in zip(METHODS, (truth, np.ones_like(truth)), strict=True):
        stamps = 10**9 + 40_000_000 * np.arange(5)
        for i, stamp in enumerate(stamps.tolist()):
            compared = Compared(i, stamp, no_events(), image, truth, 1, 2.0)
            write_pictures(tmp_path, "s", method, "raw", compared)
        made = result("s", method, [0.0, 0.1, 0.2, 0.3, 0.4 if method == "B" else 0.5], pictures=stamps.tolist())
        made.frames = made.frames.assign(stamp_ns=stamps, events=0)
        found.append(made)
    return found


def pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_a_sheet_shows_what_was_kept_and_errors_where_they_are(tmp_path, results):
    rows = [("s", stamp) for stamp in figures.kept_stamps(results, "s")][:2]
    sheet = figures.sheet(tmp_path, rows, ["0 s", "1 s"], METHODS)
    assert [axis.get_ylabel() for axis in (sheet.axes[0], sheet.axes[4])] == ["0 s", "1 s"]
    assert [axis.get_title() for axis in sheet.axes[:4]] == ["frame", "events", *METHODS]
    shown = [axis.images[0].get_array() for axis in sheet.axes[:4]]
    assert np.array_equal(shown[0], shown[2]) and (shown[3] == 255).all()
    errors = figures.sheet(tmp_path, rows, ["", ""], METHODS, errors=True)
    maps = [axis.images[0].get_array() for axis in errors.axes[:4]]
    assert maps[2].max() == 0 and maps[3].max() == pytest.approx(1, abs=0.01)
    assert pixels(errors).std() > 10
    png = figures.save_figure(sheet, tmp_path / "figures" / "sheet")
    assert cv2.imread(str(png)).shape[2] == 3
    assert (tmp_path / "figures" / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_plots_have_a_line_for_each_method_and_an_axis_for_each_metric_with_values(results):
    plot = figures.over_time(results, "s", ["mse:equalised", "lpips_vgg:equalised", "temporal:equalised"])
    assert [axis.get_ylabel().split(",")[0] for axis in plot.axes] == ["MSE", "TC"]
    assert [len(line.get_xdata()) for line in plot.axes[0].lines] == [5, 5]
    assert [len(line.get_xdata()) for line in plot.axes[1].lines] == [4, 4]


def test_the_video_shows_all_methods_in_the_recordings_own_time(tmp_path, results):
    stamps = figures.kept_stamps(results, "s")
    figures.write_video(tmp_path, tmp_path / "videos" / "s.mp4", "s", stamps, METHODS)
    with av.open(str(tmp_path / "videos" / "s.mp4")) as file:
        shown = list(file.decode(video=0))
    assert len(shown) == 5 and (shown[0].width, shown[0].height) == (120, 52)
    assert [round(1000 * f.time) for f in shown] == [0, 40, 80, 120, 160]


class Links(html.parser.HTMLParser):
    """Gathers what a page refers to, and whether its tags are balanced."""

    def __init__(self):
        super().__init__()
        self.refers, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.refers += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "link", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_escapes_names(tmp_path, results):
    figure = figures.save_figure(figures.over_time(results, "s", ["mse:equalised"]), tmp_path / "plot")
    summary = Summary(ICASSP2022, ScoreChoice(KEYS), results, {}, ["s"], MODELS, paper=True)
    write_report(tmp_path / "report.html", "A & B", summary, [("plot of <s>", figure)])
    text = (tmp_path / "report.html").read_text()
    page = Links()
    page.feed(text)
    assert not page.open and all(refers.startswith("data:") for refers in page.refers)
    assert len(page.refers) == 2 and "@import" not in text and "url(" not in text and "<script" not in text
    assert "A &lt;b&gt;" in text and "<b>" not in text and "A &amp; B" in text
    assert "Protocol icassp2022" in text and 'name="viewport"' in text
    assert re.search(r"<td><strong>0\.\d+</strong></td>", text)


@pytest.mark.parametrize(("height", "kind"), [(16_383, "webp"), (16_384, "png")])
def test_a_sheet_too_large_for_webp_is_embedded_as_it_is(tmp_path, results, height, kind):
    sheet = tmp_path / "sheet.png"
    cv2.imwrite(str(sheet), np.zeros((height, 8, 3), np.uint8))
    summary = Summary(ICASSP2022, ScoreChoice(KEYS), results, {}, ["s"], MODELS)
    write_report(tmp_path / "report.html", "report", summary, [("sheet", sheet)])
    embedded = re.search(r"data:image/(\w+);base64,([^\"]+)", (tmp_path / "report.html").read_text())
    assert embedded[1] == kind
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(embedded[2]), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (height, 8, 3)


def test_a_sheet_of_more_rows_than_can_be_drawn_is_coarser(tmp_path):
    png = figures.save_figure(figures.new_figure(1, 600), tmp_path / "sheet")
    assert 60_000 < cv2.imread(str(png)).shape[0] < 2**16


def test_a_browser_has_nothing_to_complain_of_and_asks_nobody(tmp_path, results):
    import shutil
    import subprocess

    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs the program chromium")
    figure = figures.save_figure(figures.over_time(results, "s", ["mse:equalised"]), tmp_path / "plot")
    summary = Summary(ICASSP2022, ScoreChoice(KEYS), results, {}, ["s"], MODELS, paper=True)
    write_report(tmp_path / "report.html", "report", summary, [("plot", figure)])
    quiet = ["gpu", "quic", "background-networking", "component-update", "sync"]
    command = [chromium, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{word}" for word in quiet)]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--window-size=390,800"]
    command += [f"--log-net-log={tmp_path / 'net.json'}", f"--screenshot={tmp_path / 'shot.png'}"]

    def open_page(page):
        done = subprocess.run([*command, f"file://{page}"], capture_output=True, text=True, timeout=300)
        asked = re.findall(r'"url":"(http://127[^"]*|file:[^"]*)"', (tmp_path / "net.json").read_text())
        return "CONSOLE" in done.stderr, {url for url in asked if url != f"file://{page}"}

    assert open_page(tmp_path / "report.html") == (False, set())
    assert cv2.imread(str(tmp_path / "shot.png")).std() > 5
    # The same look at a page with both faults finds them.
    (tmp_path / "bad.html").write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("no")</script>')
    assert open_page(tmp_path / "bad.html") == (True, {"http://127.0.0.1:9/x.png"})
