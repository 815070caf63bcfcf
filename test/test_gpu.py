"""Everything but the runtimes on a GPU: on the machine's if there is one, else on the stand-in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cista_ros.benchmark.cost import measure
from cista_ros.commands.main import app
from cista_ros.errors import CistaError, DeviceError
from cista_ros.events import make_events
from cista_ros.networks import save_network
from cista_ros.reconstructor import Reconstructor, choose_device
from cista_ros.voxel_grid import upload, voxel_grid, voxel_grid_torch

CUDA = torch.device("cuda")
pytestmark = pytest.mark.usefixtures("one_thread")


def random_events(n=500, height=20, width=24):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 10**7, n))
    return make_events(rng.integers(0, width, n), rng.integers(0, height, n), t, rng.integers(0, 2, n))


def test_auto_selects_the_gpu(gpu):
    assert choose_device("auto").type == "cuda" and choose_device("cuda:0").index == 0
    with pytest.raises(DeviceError, match="cuda:99"):
        choose_device("cuda:99")


@pytest.mark.parametrize("count", [0, 1, 500])
def test_voxel_grids_of_the_gpu_equal_those_of_the_cpu(gpu, count):
    events = random_events()[:count]
    expected = voxel_grid(events, 20, 24)
    uploaded = upload(events, CUDA)
    assert uploaded.device.type == "cuda"
    assert np.array_equal(voxel_grid_torch(uploaded, 20, 24).cpu().numpy(), expected)
    words = torch.zeros(600, 2, dtype=torch.int64)
    words[:count] = torch.from_numpy(events.view(np.int64).reshape(-1, 2))
    grid = voxel_grid_torch(words.to(CUDA), 20, 24, count=torch.tensor(count, device=CUDA))
    assert np.array_equal(grid.cpu().numpy(), expected)


@pytest.mark.parametrize("options", [{}, {"clip_hot_pixels": True}, {"downscale": 1, "precision": "fp32"}])
def test_eager_reconstruction_on_the_gpu_equals_the_cpu(gpu, small_network, options):
    images = [
        Reconstructor(small_network, 20, 24, device, runtime="eager", **options).reconstruct(random_events()).image
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(images[1], images[0], atol=1e-3)


def test_benchmark_measures_all_runtimes_of_the_gpu(gpu, small_network, tmp_path, monkeypatch):
    from cista_ros.benchmark import steps

    # A product of this size is for real GPUs.
    monkeypatch.setattr(steps, "CEILING_SIZE_HALF", {"cpu": 64, "cuda": 64})
    monkeypatch.setattr(steps, "CEILING_SIZE", {"cpu": 64, "cuda": 64})
    save_network(small_network, tmp_path / "small.safetensors")
    arguments = ["--network", tmp_path / "small.safetensors", "--size", "24x20", "--seconds", 0, "--events", 300]
    command = ["benchmark", "--device", "cuda", *arguments, "--json", tmp_path / "out.json"]
    result = CliRunner().invoke(app, list(map(str, command)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert [(row["runtime"], row["precision"]) for row in written["rows"]] == [
        ("reference", "fp32"), *(("cuda-graph", precision) for precision in ("fp32", "bf16", "fp16"))
    ]  # fmt: skip
    assert all(row["difference_mean"] < 1e-2 and row["device"] == "cuda" for row in written["rows"])
    assert "upload" in {stage["stage"] for stage in written["stages"]}
    assert not written["refused"] and written["machine"]["gpu"]
    assert next(iter(written["peak_memory_so_far_mib"].values())) > 0


def test_benchmark_without_a_gpu_ends_with_one_line():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = CliRunner().invoke(app, ["benchmark", "--device", "cuda"])
    assert isinstance(result.exception, CistaError) and "no CUDA GPU" in str(result.exception)


def test_cost_on_the_gpu(gpu):
    on_gpu, on_cpu = (measure("firenet", None, 16, 16, device, steps=2) for device in ("cuda", "cpu"))
    assert on_gpu.gmac == on_cpu.gmac and on_gpu.memory > 0 and on_gpu.milliseconds > 0
