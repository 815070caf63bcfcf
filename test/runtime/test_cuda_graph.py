"""CUDA graphs compute what the network as written computes: on a GPU if there is one, else on the stand-in."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from cista_ros.errors import DeviceError, RuntimeUnavailableError
from cista_ros.events import make_events, no_events
from cista_ros.networks import load_network, make_network
from cista_ros.reconstructor import Reconstructor
from cista_ros.runtime import cuda_graph, make_runtime
from cista_ros.voxel_grid import clip_hot_pixels

pytestmark = [pytest.mark.usefixtures("gpu", "one_thread")]
CUDA = torch.device("cuda")
H, W = 44, 60
STEPS = 200 if torch.cuda.is_available() else 25  # on the stand-in, the rounding is that of the CPU


def windows(count, largest=6000):
    rng = np.random.default_rng(5)
    for i in range(count):
        n = int(rng.integers(1, largest))
        t = np.sort(rng.integers(0, 10**7, n)) + i * 10**7
        yield make_events(rng.integers(0, W, n), rng.integers(0, H, n), t, rng.integers(0, 2, n))


def reconstructor(runtime, precision="fp32", device="cuda", weights="cista-tc-small"):
    network = load_network(weights)
    return Reconstructor(network, H, W, device, max_events=10**9, runtime=runtime, precision=precision)


def test_many_steps_in_fp32_agree_with_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    expected, graph = reconstructor("eager", device="cpu"), reconstructor("cuda-graph")
    for events in windows(STEPS):
        np.testing.assert_allclose(graph.reconstruct(events).image, expected.reconstruct(events).image, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_many_steps_in_half_precision_stay_within_one_grey_level(precision):
    expected, graph = reconstructor("eager", device="cpu"), reconstructor("cuda-graph", precision)
    differences = [
        np.abs(graph.reconstruct(events).image - expected.reconstruct(events).image).mean() for events in windows(STEPS)
    ]
    assert 0 < max(differences) <= 1 / 255


@pytest.mark.parametrize("name", ["cista", "cista-lstc", "e2vid", "firenet"])
def test_every_kind_of_network_can_be_captured(name):
    torch.manual_seed(0)
    network = make_network(name).eval().requires_grad_(False)
    expected, graph = (
        Reconstructor(network, H, W, "cuda", max_events=10**9, runtime=runtime) for runtime in ("eager", "cuda-graph")
    )
    for events in windows(3):
        np.testing.assert_allclose(graph.reconstruct(events).image, expected.reconstruct(events).image, atol=1e-4)


def test_a_network_whose_first_step_differs_is_refused():
    torch.manual_seed(0)
    network = make_network("spade-e2vid").eval().requires_grad_(False).to(CUDA)
    with pytest.raises(RuntimeUnavailableError, match="first step of spade-e2vid"):
        make_runtime("cuda-graph", network, 32, 32, CUDA)
    runtime, note = make_runtime("auto", network, 32, 32, CUDA, "auto")
    assert runtime.name == "eager" and "not cuda-graph fp32: " in note


def test_a_network_that_waits_for_the_gpu_runs_eagerly(small_network, monkeypatch):
    forward = type(small_network).forward
    waiting = lambda self, voxel, state=None: forward(self, voxel + 0 * voxel.sum().item(), state)  # noqa: E731
    monkeypatch.setattr(type(small_network), "forward", waiting)
    with pytest.raises(RuntimeUnavailableError, match="cannot capture cista: CUDA error"):
        make_runtime("cuda-graph", small_network.to(CUDA), H, W, CUDA)
    runtime, note = make_runtime("auto", small_network, H, W, CUDA)
    assert runtime.name == "eager" and "cannot capture" in note


def test_clipping_and_larger_windows_change_in_the_middle_of_a_sequence():
    expected, graph = reconstructor("eager"), reconstructor("cuda-graph")
    for i, events in enumerate(windows(6)):
        expected.clip_hot_pixels = graph.clip_hot_pixels = i >= 3
        if i == 4:
            events = np.concatenate([events] * 9)
            events["t"].sort()
        np.testing.assert_allclose(graph.reconstruct(events).image, expected.reconstruct(events).image, atol=1e-3)


def test_a_first_window_without_events():
    expected, graph = reconstructor("eager"), reconstructor("cuda-graph")
    for events in (no_events(), *windows(2)):
        np.testing.assert_allclose(graph.reconstruct(events).image, expected.reconstruct(events).image, atol=1e-3)


def test_reset_starts_a_new_sequence_and_the_code_is_that_of_the_reference():
    expected, graph = reconstructor("eager"), reconstructor("cuda-graph")
    sequence = list(windows(3))
    first = [graph.reconstruct(events).image for events in sequence]
    graph.reset()
    for events, image in zip(sequence, first, strict=True):
        np.testing.assert_allclose(graph.reconstruct(events).image, image, atol=1e-5)
        expected.reconstruct(events)
    np.testing.assert_allclose(graph.code_activity(), expected.code_activity(), atol=1e-4)


def test_a_step_from_a_voxel_grid_equals_one_from_events():
    network = load_network("cista-tc-small").to(CUDA)
    graph, expected = (make_runtime(name, network, H, W, CUDA)[0] for name in ("cuda-graph", "eager"))
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for _ in range(3):
            grid = torch.randn(network.bins, H, W, generator=generator).to(CUDA)
            torch.testing.assert_close(graph.step(grid).cpu(), expected.step(grid).cpu(), atol=1e-4, rtol=0)


def test_auto_selects_cuda_graph_on_a_gpu(small_network):
    runtime, note = make_runtime("auto", small_network.to(CUDA), H, W, CUDA)
    assert runtime.name == "cuda-graph" and "one launch" in note


def test_runtimes_of_the_cpu_are_refused_on_a_gpu(small_network):
    with pytest.raises(RuntimeUnavailableError, match=r"native runs on the CPU, not on cuda"):
        make_runtime("native", small_network.to(CUDA), H, W, CUDA)


def test_cuda_calls_of_other_threads_do_not_break_a_capture(small_network, monkeypatch):
    called = []

    def with_another_thread(grid):
        other = threading.Thread(target=lambda: called.append(torch.cuda.mem_get_info()))
        other.start()
        other.join()
        return clip_hot_pixels(grid)

    monkeypatch.setattr(cuda_graph, "clip_hot_pixels", with_another_thread)
    reconstructor = Reconstructor(small_network, H, W, "cuda", max_events=10**9, runtime="cuda-graph")
    reconstructor.clip_hot_pixels = True
    reconstructor.reconstruct(next(windows(1)))
    assert called


class TestStandIn:
    """What only the stand-in can show."""

    @pytest.fixture(autouse=True)
    def _stand_in(self, gpu):
        if gpu is None:
            pytest.skip("a real GPU is used")
        self.gpu = gpu

    def test_images_equal_those_of_the_cpu_to_the_bit(self):
        expected, graph = reconstructor("eager", device="cpu"), reconstructor("cuda-graph")
        for events in windows(5):
            assert np.array_equal(graph.reconstruct(events).image, expected.reconstruct(events).image)
        assert self.gpu.replays == 5

    def test_bf16_needs_support_by_the_gpu(self, small_network):
        self.gpu.bf16 = False
        with pytest.raises(RuntimeUnavailableError, match="stand-in does not support bf16: use --precision fp16"):
            make_runtime("cuda-graph", small_network.to(CUDA), H, W, CUDA, "bf16")

    def test_out_of_memory_in_the_network_is_one_line(self, small_network):
        network = small_network.to(CUDA)
        self.gpu.capacity = self.gpu.allocated + 100_000
        with pytest.raises(DeviceError, match=r"out of memory on cuda at 60x44 pixels \(CUDA out of memory"):
            make_runtime("cuda-graph", network, H, W, CUDA)

    def test_out_of_memory_in_a_capture_keeps_its_cause(self, small_network, monkeypatch):
        def exhausted(grid):
            if torch.cuda.is_current_stream_capturing():
                self.gpu.capture().valid = False
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 byte.")
            return clip_hot_pixels(grid)

        monkeypatch.setattr(cuda_graph, "clip_hot_pixels", exhausted)
        reconstructor = Reconstructor(small_network, H, W, "cuda", max_events=10**9, runtime="cuda-graph")
        reconstructor.clip_hot_pixels = True
        with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 1 byte"):
            reconstructor.reconstruct(next(windows(1)))
        reconstructor.clip_hot_pixels = False
        assert reconstructor.reconstruct(next(windows(1))).image.std() > 0

    def test_out_of_memory_in_the_first_capture_is_one_line(self, small_network, monkeypatch):
        forward = type(small_network).forward

        def exhausted(network, voxel, state=None):
            if capture := self.gpu.capture():
                capture.valid = False
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 byte.")
            return forward(network, voxel, state)

        monkeypatch.setattr(type(small_network), "forward", exhausted)
        with pytest.raises(DeviceError, match=r"out of memory on cuda at 60x44 pixels .*1 byte"):
            make_runtime("cuda-graph", small_network.to(CUDA), H, W, CUDA)

    def test_a_window_that_does_not_fit_leaves_room_for_smaller_ones(self, small_network):
        reconstructor = Reconstructor(small_network, H, W, "cuda", max_events=10**9, runtime="cuda-graph")
        small = next(windows(1))
        reconstructor.reconstruct(small)
        self.gpu.capacity = self.gpu.allocated + 20_000_000
        with pytest.raises(torch.OutOfMemoryError):
            reconstructor.reconstruct(np.repeat(small, 1 + 2**20 // len(small)))
        assert reconstructor.reconstruct(small).image.std() > 0

    def test_memory_is_freed_with_the_runtime(self, small_network):
        network = small_network.to(CUDA)
        before = self.gpu.allocated
        make_runtime("cuda-graph", network, H, W, CUDA)
        assert self.gpu.allocated == before

    # Five faults, of the kinds that have broken CUDA code before: each must be caught.

    def run_with(self, monkeypatch, network, **planted):
        for name, function in planted.items():
            monkeypatch.setattr(cuda_graph, name, function)
        made = Reconstructor(network, H, W, "cuda", max_events=10**9, runtime="cuda-graph")
        for events in windows(2):
            made.reconstruct(events)
        return made

    def test_fault_1_tensors_on_different_devices(self, small_network, monkeypatch):
        with pytest.raises(RuntimeError, match="same device"):
            self.run_with(monkeypatch, small_network, normalise=lambda grid: grid - torch.ones(5, H, W))

    def test_fault_2_the_host_waits_during_a_capture(self, small_network, monkeypatch):
        with pytest.raises(RuntimeError, match=r"not permitted when stream is capturing|previous error during capture"):
            self.run_with(monkeypatch, small_network, normalise=lambda grid: grid / grid.abs().max().item())

    def test_fault_3_a_copy_from_pageable_memory_during_a_capture(self, small_network, monkeypatch):
        scale = torch.full((5, 1, 1), 0.5)
        with pytest.raises(RuntimeError, match=r"not permitted when stream is capturing|previous error during capture"):
            self.run_with(monkeypatch, small_network, normalise=lambda grid: grid * scale.to(grid.device))

    def test_fault_4_a_graph_whose_memory_is_gone(self, small_network, monkeypatch):
        made = self.run_with(monkeypatch, small_network)
        made.runtime._state = [torch.zeros_like(tensor) for tensor in made.runtime._state]  # instead of zero_()
        with pytest.raises(RuntimeError, match="illegal memory access"):
            made.reconstruct(next(windows(1)))

    def test_fault_5_a_call_of_another_thread_breaks_a_capture_in_the_mode_global(self, small_network, monkeypatch):
        errors = []

        def call():
            try:
                torch.cuda.mem_get_info()
            except RuntimeError as error:
                errors.append(error)

        def with_another_thread(grid):
            other = threading.Thread(target=call)
            other.start()
            other.join()
            return grid

        capture = torch.cuda.graph
        monkeypatch.setattr(torch.cuda, "graph", lambda graph, capture_error_mode: capture(graph))
        with pytest.raises(RuntimeError, match="previous error during capture"):
            self.run_with(monkeypatch, small_network, normalise=with_another_thread)
        assert errors
