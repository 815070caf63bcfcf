"""`cista weights`: what is shipped, as its own files tell it."""

from __future__ import annotations

import json

import pytest
import torch

from cista_ros.commands.main import main
from cista_ros.networks import choose_weights, load_network
from cista_ros.networks.weights import DEFAULT_WEIGHTS, SMALL_WEIGHTS, shipped_weights


def cista(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["cista", "weights", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr()
    return end.value.code or 0, output.out + output.err


def test_every_shipped_network_loads_is_small_and_has_a_card_with_its_scores(monkeypatch, capsys):
    code, said = cista(monkeypatch, capsys, "--json")
    rows = json.loads(said)
    assert code == 0 and rows.keys() == shipped_weights().keys() and DEFAULT_WEIGHTS in rows
    assert {row["auto_on"]: name for name, row in rows.items() if row["auto_on"]} == {
        "gpu": DEFAULT_WEIGHTS,
        "cpu": SMALL_WEIGHTS,
    }
    for name, path in shipped_weights().items():
        network = load_network(path)
        assert path.stat().st_size < 3e6
        assert rows[name]["parameters"] == sum(p.numel() for p in network.parameters())
        code, card = cista(monkeypatch, capsys, name)
        assert code == 0
        for score, value in rows[name]["scores"].items():
            assert f"| {score} | {value:.4g} |" in card
        assert f"{rows[name]['hours']:.2f} hours" in card


def test_auto_is_the_small_network_on_a_cpu_and_says_so():
    name, said = choose_weights("auto", torch.device("cpu"))
    assert name == SMALL_WEIGHTS and SMALL_WEIGHTS in said and "CPU" in said
    name, said = choose_weights("auto", torch.device("cuda:1"))
    assert name == DEFAULT_WEIGHTS and DEFAULT_WEIGHTS in said and "GPU" in said
    assert choose_weights("some/file.safetensors", torch.device("cpu"))[0] == "some/file.safetensors"


def test_the_table_names_them_all(monkeypatch, capsys):
    code, said = cista(monkeypatch, capsys)
    assert code == 0 and all(name in said for name in shipped_weights())


def test_unknown_names_are_answered_with_the_known(monkeypatch, capsys):
    code, said = cista(monkeypatch, capsys, "nothing")
    assert code == 2 and "'nothing' are not shipped" in said and DEFAULT_WEIGHTS in said


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
        (["weights", "--bogus"], "--bogus"),
        (["nothing"], "nothing"),
        (["weights", "absent/folder/x.safetensors"], "absent/folder/x.safetensors"),
    ],
)
def test_wrong_options_end_with_one_line(monkeypatch, capsys, arguments, named):
    monkeypatch.setattr("sys.argv", ["cista", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert len(lines) == 1 and lines[0].startswith("cista: error: ") and named in lines[0]
    assert "Errno" not in lines[0] and "Value error" not in lines[0]
