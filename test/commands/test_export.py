from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cista_ros.commands.main import app
from cista_ros.errors import MissingPackageError, RuntimeUnavailableError
from cista_ros.events import make_events
from cista_ros.networks import make_network, save_network
from cista_ros.reconstructor import Reconstructor
from cista_ros.runtime import make_runtime

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
from cista_ros.runtime.onnx import ExportError, check_file, export_file, export_step, open_session  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_stream.py"
CPU = torch.device("cpu")


def export(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_shipped_weights_agree_with_torch_over_200_steps(precision, tmp_path, one_thread):
    path = tmp_path / "small.onnx"
    result = export("cista-tc-small", "-o", path, "--precision", precision, "--check")
    assert result.exit_code == 0, result.output
    assert "multiples of 2" in result.output
    kind = {"fp32": "difference", "fp16": "mean difference of an image"}[precision]
    assert f"largest {kind} from torch over 200 steps" in result.output
    about = json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["cista_ros"])
    assert about["network"].startswith("cista") and about["conventions"]["normalise"]
    assert about["precision"] == precision and [s["scale"] for s in about["states"]] == [1, 2, 2, 2]


@pytest.mark.parametrize("name", ["cista", "e2vid", "firenet"])
def test_other_networks_agree_with_torch_at_another_size(name, tmp_path, one_thread):
    torch.manual_seed(0)
    network = make_network(name).eval().requires_grad_(False)
    export_file(network, tmp_path / "a.onnx")
    assert check_file(tmp_path / "a.onnx", network) <= 1e-4


def test_another_file_is_refused(tmp_path, small_network):
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ExportError, match="cannot load the model"):
        open_session(tmp_path / "text.onnx")
    model, _ = export_step(small_network, 32, 32)
    foreign = onnx.load_from_string(model)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ExportError, match="not written by cista export"):
        open_session(tmp_path / "foreign.onnx")


def test_check_finds_a_file_of_other_weights(tmp_path, small_network):
    export_file(small_network, tmp_path / "a.onnx")
    torch.manual_seed(2)
    other = type(small_network)(small_network.config).eval().requires_grad_(False)
    with pytest.raises(ExportError, match="images differ by"):
        check_file(tmp_path / "a.onnx", other)


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    assert isinstance(export("cista-tc-small", "-o", tmp_path / "a.txt").exception, ExportError)
    assert "neither a file nor" in str(export("nowhere", "-o", tmp_path / "a.onnx").exception)
    torch.manual_seed(0)
    for name, size in (("spade-e2vid", 32), ("pie-net", 32), ("pie-net", 18)):
        with pytest.raises(ExportError, match=f"{name} cannot be exported"):
            export_step(make_network(name).eval(), size, size)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert isinstance(export("cista-tc-small", "-o", tmp_path / "a.onnx").exception, MissingPackageError)


@pytest.mark.parametrize("name", ["cista", "cista-d", "cista-tc", "cista-lstc", "e2vid", "firenet"])
@torch.inference_mode()
def test_the_runtime_agrees_with_the_reference_at_an_odd_size(name, one_thread):
    torch.manual_seed(0)
    network = make_network(name).eval().requires_grad_(False)
    runtime, reference = (make_runtime(kind, network, 35, 42, CPU)[0] for kind in ("onnx", "eager"))
    generator = torch.Generator().manual_seed(0)
    grids = [torch.randn(network.bins, 35, 42, generator=generator) for _ in range(4)]
    first = [runtime.step(grid) for grid in grids]
    for grid, image in zip(grids, first, strict=True):
        torch.testing.assert_close(image, reference.step(grid), atol=1e-4, rtol=0)
    if network.name.startswith("cista"):
        torch.testing.assert_close(runtime.code(), reference.code(), atol=1e-4, rtol=0)
    runtime.reset()
    assert torch.equal(runtime.step(grids[0]), first[0])


def test_a_provider_that_is_missing_or_does_not_start_says_what_to_install(gpu, small_network, monkeypatch):
    if gpu is None:
        pytest.skip("a real GPU is used")
    with pytest.raises(RuntimeUnavailableError, match="CUDAExecutionProvider: pip install onnxruntime-gpu"):
        make_runtime("onnx", small_network.to("cuda"), 32, 32, torch.device("cuda"))
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    with pytest.raises(RuntimeUnavailableError, match="cannot start its CUDAExecutionProvider"):
        make_runtime("onnx", small_network.to("cuda"), 32, 32, torch.device("cuda"))


def test_the_example_reconstructs_without_torch(tmp_path, small_network, one_thread):
    save_network(small_network, tmp_path / "small.safetensors")
    assert export(tmp_path / "small.safetensors", "-o", tmp_path / "small.onnx").exit_code == 0
    rng, n = np.random.default_rng(0), 3000
    t = np.sort(rng.uniform(0, 0.1, n).round(6))
    x, y, p = (rng.integers(0, limit, n) for limit in (24, 20, 2))
    x[0], y[0] = 23, 19
    np.savetxt(tmp_path / "events.txt", np.column_stack((t, x, y, p)), fmt="%.6f %d %d %d")
    code = f"import sys, runpy; sys.modules.update(torch=None, cista_ros=None); sys.argv[0] = {str(EXAMPLE)!r};"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, "small.onnx", "events.txt", "images"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(EXAMPLE.read_text().splitlines()) <= 70
    images = [np.frombuffer(path.read_bytes()[-480:], np.uint8) for path in sorted((tmp_path / "images").iterdir())]
    window_s = runpy.run_path(str(EXAMPLE))["WINDOW_S"]
    starts = np.searchsorted(t, np.arange(t[0], t[-1], window_s))
    reference = Reconstructor(small_network, 20, 24, "cpu", runtime="eager", max_events=10**6)
    events = make_events(x, y, np.round(t * 1e9).astype(np.int64), p)
    expected = [reference.reconstruct(part).image for part in np.split(events, starts[1:])]
    assert len(images) == len(expected) >= 3
    for image, one in zip(images, expected, strict=True):
        assert np.abs(image / 255 - one.ravel()).max() < 1.5 / 255
