"""Figures and the HTML page."""

from __future__ import annotations

import base64
import html.parser
import re

import av
import cv2
import numpy as np
import pytest

from cista_ros.evaluation.metrics import MetricChoice
from cista_ros.evaluation.pictures import PictureFolder
from cista_ros.evaluation.protocols import ICASSP2022
from cista_ros.evaluation.report import write_report
from cista_ros.evaluation.results import Result
from cista_ros.evaluation.sequence import Compared
from cista_ros.evaluation.tables import summarise
from cista_ros.events import no_events
from cista_ros.networks import Model

pytest.importorskip("matplotlib", reason="figures need matplotlib")
from cista_ros.evaluation import figures

METHODS = ["A <b>", "B"]
MODELS = {method: Model("firenet", {"channels": 4}) for method in METHODS}

KEYS = tuple(key for key in ICASSP2022.metrics if "lpips" not in key)


@pytest.fixture
def results(tmp_path):
    """Two methods on five frames of which all pictures are kept; that of A is the frame itself, B's is white."""
    found = []
    truth = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (30, 1))
    for method, image in zip(METHODS, (truth, np.ones_like(truth)), strict=True):
        folder = PictureFolder(tmp_path, "s", method, "raw")
        rows = []
        for i in range(5):
            stamp = 10**9 + i * 40_000_000
            folder.write(Compared(i, stamp, no_events(), image, truth, 1, 2.0))
            rows.append(
                {"index": i, "stamp_ns": stamp, "seconds": i / 25, "events": 0, "steps": 1, "milliseconds": 2.0}
            )
            rows[-1] |= {
                "mse:equalised": 0.1 * i,
                "psnr:equalised": 9.0,
                "ssim_7x7:equalised": 0.5,
                "temporal:equalised": 0.1 if i else float("nan"),
            }
        found.append(
            Result(
                "s",
                method,
                rows,
                ["mse:equalised", "psnr:equalised", "ssim_7x7:equalised", "temporal:equalised"],
                pictures=folder.stamps,
            )
        )
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
    assert [axis.get_ylabel() for axis in plot.axes] == ["MSE, equalised", "TC, equalised"]
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
    summary = summarise(ICASSP2022, MetricChoice(KEYS), results, [], ["s"], MODELS, paper=True)
    write_report(tmp_path / "report.html", "A & B", summary, [("plot of <s>", figure)])
    text = (tmp_path / "report.html").read_text()
    page = Links()
    page.feed(text)
    assert not page.open and all(refers.startswith("data:") for refers in page.refers)
    assert len(page.refers) == 2 and "@import" not in text and "url(" not in text and "<script" not in text
    assert "A &lt;b&gt;" in text and "<b>" not in text and "A &amp; B" in text
    assert "Protocol icassp2022" in text and 'name="viewport"' in text
    assert re.search(r'class="best">0.200', text)


@pytest.mark.parametrize(("height", "kind"), [(16_383, "webp"), (16_384, "png")])
def test_a_sheet_too_large_for_webp_is_embedded_as_it_is(tmp_path, results, height, kind):
    sheet = tmp_path / "sheet.png"
    cv2.imwrite(str(sheet), np.zeros((height, 8, 3), np.uint8))
    summary = summarise(ICASSP2022, MetricChoice(KEYS), results, [], ["s"], MODELS)
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
    summary = summarise(ICASSP2022, MetricChoice(KEYS), results, [], ["s"], MODELS, paper=True)
    write_report(tmp_path / "report.html", "report", summary, [("plot", figure)])
    quiet = ["gpu", "quic", "background-networking", "component-update", "sync"]
    command = [chromium, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{word}" for word in quiet)]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--window-size=390,800"]
    command += [f"--log-net-log={tmp_path / 'net.json'}", f"--screenshot={tmp_path / 'shot.png'}"]

    def open_page(page):
        done = subprocess.run([*command, f"file://{page}"], capture_output=True, text=True, timeout=120)
        asked = re.findall(r'"url":"(http://127[^"]*|file:[^"]*)"', (tmp_path / "net.json").read_text())
        return "CONSOLE" in done.stderr, {url for url in asked if url != f"file://{page}"}

    assert open_page(tmp_path / "report.html") == (False, set())
    assert cv2.imread(str(tmp_path / "shot.png")).std() > 5
    # The same look at a page with both faults finds them.
    (tmp_path / "bad.html").write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("no")</script>')
    assert open_page(tmp_path / "bad.html") == (True, {"http://127.0.0.1:9/x.png"})
