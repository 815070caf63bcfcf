"""`cista weights`: what is shipped, as its own files tell it."""

from __future__ import annotations

import json

import pytest
import torch

from cista_ros.networks import choose_weights, load_network
from cista_ros.networks.weights import DEFAULT_WEIGHTS, SMALL_WEIGHTS, shipped_weights


def test_every_shipped_network_loads_is_small_and_has_a_card_with_its_scores(cista):
    done = cista("weights", "--json")
    rows = json.loads(done.out)
    assert done.code == 0 and rows.keys() == shipped_weights().keys() and DEFAULT_WEIGHTS in rows
    assert {row["auto_on"]: name for name, row in rows.items() if row["auto_on"]} == {
        "gpu": DEFAULT_WEIGHTS,
        "cpu": SMALL_WEIGHTS,
    }
    for name, path in shipped_weights().items():
        network = load_network(path)
        assert path.stat().st_size < 3e6
        assert rows[name]["parameters"] == sum(p.numel() for p in network.parameters())
        done = cista("weights", name)
        assert done.code == 0
        for score, value in rows[name]["scores"].items():
            assert f"| {score} | {value:.4g} |" in done.out
        assert f"{rows[name]['hours']:.2f} hours" in done.out


def test_auto_is_the_small_network_on_a_cpu_and_says_so():
    name, said = choose_weights("auto", torch.device("cpu"))
    assert name == SMALL_WEIGHTS and SMALL_WEIGHTS in said and "CPU" in said
    name, said = choose_weights("auto", torch.device("cuda:1"))
    assert name == DEFAULT_WEIGHTS and DEFAULT_WEIGHTS in said and "GPU" in said
    assert choose_weights("some/file.safetensors", torch.device("cpu"))[0] == "some/file.safetensors"


def test_the_table_names_them_all(cista):
    done = cista("weights")
    assert done.code == 0 and all(name in done.said for name in shipped_weights())


def test_unknown_names_are_answered_with_the_known(cista):
    done = cista("weights", "nothing")
    assert done.code == 2 and "'nothing' are not shipped" in done.said and DEFAULT_WEIGHTS in done.said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["reconstruct", "x.bag", "-o", "out", "--tone-map", "sepia"], "--tone-map"),
        (["reconstruct", "x.bag", "-o", "out", "--end", "-1"], "--end"),
        (
            ["reconstruct", "x.bag", "-o", "out", "--start", "0.05", "--end", "0.01"],
            "0.01 s; must be after --start, 0.05 s",
        ),
        (["calibrate", "x.bag", "--target", "checkerboard:5x4:1", "-o", "out", "--end", "0"], "must be after --start"),
        (["calibrate", "x.bag", "--target", "checkerboard:5x4:1", "-o", "out", "--end", "inf"], "--end"),
        (["reconstruct", "x.bag"], "--output"),
        (["convert", "x.bag"], "x.bag is the only path; expected recordings, then the output"),
        (["convert", "x.bag", "y.bag", "--time-offset", "nan"], "--time-offset"),
        (["demo", "--rate", "inf"], "--rate"),
        (["benchmark", "--seconds", "inf"], "--seconds"),
        (["benchmark", "--threads", "99999999999"], "--threads"),
        (["weights", "--bogus"], "--bogus"),
        (["nothing"], "nothing"),
        (["weights", "absent/folder/x.safetensors"], "absent/folder/x.safetensors"),
    ],
)
def test_wrong_options_end_with_one_line(cista, arguments, named):
    done = cista(*arguments)
    lines = done.err.splitlines()
    assert done.code == 2
    assert len(lines) == 1 and lines[0].startswith("cista: error: ") and named in lines[0]
    assert "Errno" not in lines[0] and "Value error" not in lines[0]
