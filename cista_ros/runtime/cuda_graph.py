"""A whole step on the GPU, from events to image, as one CUDA graph: one launch instead of hundreds.

At 240x180 the network's kernels are shorter than the time it takes Python to start them. Weights and activations may be
of half precision; the state that lives on from step to step, and the voxel grid, are always float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import RuntimeUnavailableError
from ..networks import Network
from ..voxel_grid import clip_hot_pixels, normalise, voxel_grid_padded
from .compiled import check_tools
from .first_state import first_state
from .runtime import Runtime, code_of

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WARM_UP = 3


class CudaGraph(Runtime):
    """Takes any of our networks; with `compiled`, its kernels are fused by torch.compile first.

    Raises:
        RuntimeUnavailableError: not a CUDA device, no support for the precision, or the step cannot be captured.
    """

    name = "cuda-graph"
    takes_events = True

    def __init__(
        self,
        network: Network,
        height: int,
        width: int,
        device: torch.device,
        precision: str = "fp32",
        compiled: bool = False,
    ) -> None:
        if device.type != "cuda":
            raise RuntimeUnavailableError(f"runtime {self.name} needs a CUDA GPU, not {device}: give --device cuda")
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise RuntimeUnavailableError(f"{torch.cuda.get_device_name(device)} has no bf16; use fp16 or fp32")
        self.precision, self.device = precision, device
        self.height, self.width, self.bins = height, width, network.bins
        self._normalised = network.conventions.normalise
        if compiled:
            check_tools(device)
        # A copy: half precision is fastest with channels innermost, and the caller's network stays as it is.
        network = copy.deepcopy(network)
        if precision != "fp32":
            network = network.to(memory_format=torch.channels_last)
        self._network = torch.compile(network, dynamic=False) if compiled else network
        self._copies = torch.cuda.Stream(device)
        self._hot_pixels = False
        self._image = torch.zeros(height, width, device=device)
        first = first_state(network, height, width, device)
        if first is None:
            raise RuntimeUnavailableError(f"runtime {self.name} cannot run {network.name}: its first step differs")
        leaves, self._structure = first
        self._state = [torch.zeros_like(leaf, dtype=torch.float32) for leaf in leaves]
        self._grid = torch.zeros(self.bins, height, width, device=device)
        self._grid_graph: torch.cuda.CUDAGraph | None = None
        self._events_graph: torch.cuda.CUDAGraph | None = None
        self._room = 0
        try:
            self._grid_graph = self._capture(lambda: self._advance(self._grid))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeUnavailableError(f"runtime {self.name} cannot capture {network.name}: {error}") from error

    def reset(self) -> None:
        for tensor in self._state:
            tensor.zero_()

    def code(self) -> Tensor | None:
        return code_of(self._network, pytree.tree_unflatten(list(self._state), self._structure))

    def step(self, grid: Tensor) -> Tensor:
        self._grid.copy_(grid)
        with torch.cuda.device(self.device):
            self._grid_graph.replay()
        return self._image

    def step_events(self, events: np.ndarray, hot_pixels: bool) -> Tensor:
        """Event array (N,) in host memory -> image (H, W): voxel grid, normalisation and network in one launch."""
        # A first window may be empty: it needs no room, but a graph.
        if self._events_graph is None or len(events) > self._room or hot_pixels != self._hot_pixels:
            self._make_room(len(events), hot_pixels)
        # The buffer may still be on its way to the GPU for the step before.
        self._copied.synchronize()
        self._host.numpy()[: len(events)] = np.ascontiguousarray(events).view(np.int64).reshape(-1, 2)
        self._host_count.fill_(len(events))
        with torch.cuda.stream(self._copies):
            # Not before the last step has read the events that lie there.
            self._copies.wait_event(self._stepped)
            self._words[: len(events)].copy_(self._host[: len(events)], non_blocking=True)
            self._count.copy_(self._host_count, non_blocking=True)
            self._copied.record()
        current = torch.cuda.current_stream(self.device)
        current.wait_event(self._copied)
        with torch.cuda.device(self.device):
            self._events_graph.replay()
        self._stepped.record(current)
        return self._image

    def _make_room(self, count: int, hot_pixels: bool) -> None:
        """Buffers for so many events (a power of two, so that it happens seldom), and a graph that reads them."""
        torch.cuda.synchronize(self.device)
        self._events_graph = None  # of the buffers that go now; also if there is no memory for others
        self._room = max(self._room, 1 << max(12, (count - 1).bit_length()))
        self._hot_pixels = hot_pixels
        self._host = torch.zeros(self._room, 2, dtype=torch.int64, pin_memory=True)
        self._host_count = torch.zeros((), dtype=torch.int64, pin_memory=True)
        self._words = torch.zeros(self._room, 2, dtype=torch.int64, device=self.device)
        self._count = torch.zeros((), dtype=torch.int64, device=self.device)
        self._copied, self._stepped = torch.cuda.Event(), torch.cuda.Event()
        self._events_graph = self._capture(self._advance_by_events)

    def _advance_by_events(self) -> None:
        grid = voxel_grid_padded(self._words, self._count, self.height, self.width, self.bins)
        if self._hot_pixels:
            grid = clip_hot_pixels(grid)
        self._advance(normalise(grid) if self._normalised else grid)

    def _advance(self, grid: Tensor) -> None:
        """One step of the network, on the state where it lies."""
        state = pytree.tree_unflatten(list(self._state), self._structure)
        dtype = _DTYPES[self.precision]
        # No cache of cast weights: it would hold memory of the graph beyond its life.
        with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32, cache_enabled=False):
            image, after = self._network(grid[None], state)
        for kept, new in zip(self._state, pytree.tree_flatten(after)[0], strict=True):
            kept.copy_(new)
        self._image.copy_(image[0, 0])

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """A graph of `work`; the steps that this takes leave no trace in the state."""
        before = [tensor.clone() for tensor in self._state]
        with torch.inference_mode(), torch.cuda.device(self.device), _algorithm_search():
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    work()
            torch.cuda.current_stream(self.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            for kept, value in zip(self._state, before, strict=True):
                kept.copy_(value)
        return graph


class CompiledCudaGraph(CudaGraph):
    """The same of kernels that torch.compile fused."""

    name = "cuda-graph-compile"

    def __init__(
        self, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
    ) -> None:
        super().__init__(network, height, width, device, precision, compiled=True)


@contextmanager
def _algorithm_search() -> Iterator[None]:
    """Let cuDNN try its algorithms while a graph is warmed up; the graph keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
