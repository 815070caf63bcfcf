"""Files for viewers: every topic that they show is one that the node publishes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def published():
    names = pytest.importorskip("cista_ros.node.outputs").IMAGES
    return {f"/cista/{name}" for name in names}


def test_the_foxglove_layout_shows_topics_of_the_node_and_every_panel_once():
    layout = json.loads((ROOT / "config" / "cista.foxglove.json").read_text())
    panels = layout["configById"]
    shown = {panel["imageMode"]["imageTopic"] for name, panel in panels.items() if name.startswith("Image!")}
    assert shown <= published() and len(shown) == 3

    def leaves(item):
        return [item] if isinstance(item, str) else leaves(item["first"]) + leaves(item["second"])

    assert sorted(leaves(layout["layout"])) == sorted(panels)


def test_the_plots_of_the_foxglove_layout_are_of_what_they_say():
    diagnostics = pytest.importorskip("cista_ros.node.diagnostics")
    message = diagnostics.statistics(diagnostics.Rates(1, 2, 3, 4, 5), diagnostics.Counts(), 6)
    names = message.layout.dim[0].label.split(",")
    layout = json.loads((ROOT / "config" / "cista.foxglove.json").read_text())
    (plot,) = (panel for name, panel in layout["configById"].items() if name.startswith("Plot!"))
    indices = [int(path["value"].rpartition("[")[2].rstrip("]")) for path in plot["paths"]]
    assert [names[i] for i in indices] == ["latency_ms_p50", "latency_ms_p95", "queued_windows"]
    assert [path["label"].split()[0] for path in plot["paths"]] == ["latency,", "latency,", "windows"]


def test_the_rqt_perspective_shows_topics_of_the_node_in_the_views_that_run():
    manager = json.loads((ROOT / "config" / "cista.perspective").read_text())["groups"]["pluginmanager"]
    running = ast.literal_eval(manager["keys"]["running-plugins"]["repr"])
    assert set(running) == {"rqt_image_view/ImageView", "rqt_runtime_monitor/RuntimeMonitor"}
    views = {f"plugin__rqt_image_view__ImageView__{i}" for i in running["rqt_image_view/ImageView"]}
    assert set(manager["groups"]) == views
    topics = {
        ast.literal_eval(group["groups"]["plugin"]["keys"]["topic"]["repr"]) for group in manager["groups"].values()
    }
    assert topics <= published() and len(topics) == 3
