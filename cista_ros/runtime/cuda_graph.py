"""A whole step on a GPU, from events to image, as one CUDA graph: one launch instead of hundreds.

At 240x180 the network's kernels are shorter than the time Python needs to launch them. Weights and activations may be
bf16 or fp16; the recurrent state and the voxel grid are always float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import RuntimeUnavailableError, is_out_of_memory
from ..networks import Network
from ..voxel_grid import clip_hot_pixels, normalise, voxel_grid_torch
from .base import DTYPES, Runtime, code_of, first_state

_WARM_UP = 3
_MIN_EVENTS = 1 << 12


class CudaGraph(Runtime):
    """Runs any network whose first step equals a step on an all-zero state.

    RuntimeUnavailableError if the device is no CUDA GPU, lacks the precision, or the step cannot be captured.
    """

    name = "cuda-graph"
    precisions = tuple(DTYPES)
    takes_events = True

    def __init__(
        self, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
    ) -> None:
        if device.type != "cuda":
            raise RuntimeUnavailableError(f"runtime {self.name} needs a CUDA GPU, not {device}: use --device cuda")
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            name = torch.cuda.get_device_name(device)
            raise RuntimeUnavailableError(f"{name} does not support bf16: use --precision fp16 or fp32")
        super().__init__(network, height, width, device, precision)
        self.bins = network.bins
        self._normalised = network.conventions.normalise
        # A copy, because half precision is fastest with channels last and the caller's network must not change.
        self.network = copy.deepcopy(network)
        if precision != "fp32":
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._copies = torch.cuda.Stream(device)
        self._clip = False
        self._image = torch.zeros(height, width, device=device)
        first = first_state(self.network, height, width, device)
        if first is None:
            raise RuntimeUnavailableError(f"runtime {self.name} does not support the first step of {network.name}")
        leaves, self._structure = first
        self._state = [torch.zeros_like(leaf, dtype=torch.float32) for leaf in leaves]
        self._grid = torch.zeros(self.bins, height, width, device=device)
        self._room = 0
        self._events_graph: torch.cuda.CUDAGraph | None = None
        try:
            self._grid_graph = self._capture(lambda: self._advance(self._grid))
        except RuntimeError as error:
            # Ending a capture that ran out of memory raises an error of its own, with the cause as its context.
            if cause := _out_of_memory(error):
                raise cause from None
            raise RuntimeUnavailableError(f"runtime {self.name} cannot capture {network.name}: {error}") from error

    def reset(self) -> None:
        for tensor in self._state:
            tensor.zero_()

    def code(self) -> Tensor | None:
        return code_of(self.network, pytree.tree_unflatten(list(self._state), self._structure))

    def step(self, grid: Tensor) -> Tensor:
        self._grid.copy_(grid)
        with torch.cuda.device(self.device):
            self._grid_graph.replay()
        return self._image

    def step_events(self, events: np.ndarray, clip: bool) -> Tensor:
        """Compute voxel grid, normalisation and network in one launch: event array (N,) on the host -> image (H, W)."""
        count = len(events)
        graph = self._events_graph
        if graph is None or count > self._room or clip != self._clip:
            graph = self._make_room(count, clip)
        # The previous step's copy to the GPU may still be reading the host buffer.
        self._copied.synchronize()
        self._host.numpy()[:count] = np.ascontiguousarray(events).view(np.int64).reshape(-1, 2)
        self._host_count.fill_(count)
        with torch.cuda.stream(self._copies):
            # Wait until the previous step has read the events on the GPU.
            self._copies.wait_event(self._stepped)
            self._words[:count].copy_(self._host[:count], non_blocking=True)
            self._count.copy_(self._host_count, non_blocking=True)
            self._copied.record(self._copies)
        current = torch.cuda.current_stream(self.device)
        current.wait_event(self._copied)
        with torch.cuda.device(self.device):
            graph.replay()
        self._stepped.record(current)
        return self._image

    def _make_room(self, count: int, clip: bool) -> torch.cuda.CUDAGraph:
        """Allocate buffers for `count` events, rounded up to a power of two, and capture a graph that reads them."""
        torch.cuda.synchronize(self.device)
        self._events_graph = None  # it uses the buffers that are replaced now
        room, self._room = max(self._room, _MIN_EVENTS, 1 << max(count - 1, 0).bit_length()), 0
        self._clip = clip
        self._host = torch.zeros(room, 2, dtype=torch.int64, pin_memory=True)
        self._host_count = torch.zeros((), dtype=torch.int64, pin_memory=True)
        self._words = torch.zeros(room, 2, dtype=torch.int64, device=self.device)
        self._count = torch.zeros((), dtype=torch.int64, device=self.device)
        self._copied, self._stepped = torch.cuda.Event(), torch.cuda.Event()
        try:
            self._events_graph = self._capture(self._advance_by_events)
        except RuntimeError as error:
            raise _out_of_memory(error) or error from None
        self._room = room  # not before: a window that does not fit must not prevent smaller ones
        return self._events_graph

    def _advance_by_events(self) -> None:
        grid = voxel_grid_torch(self._words, self.height, self.width, self.bins, self._count)
        if self._clip:
            grid = clip_hot_pixels(grid)
        self._advance(normalise(grid) if self._normalised else grid)

    def _advance(self, grid: Tensor) -> None:
        """Run the network on the state, and write state and image in place."""
        state = pytree.tree_unflatten(list(self._state), self._structure)
        dtype = DTYPES[self.precision]
        # Autocast must not cache cast weights: the cache would hold the graph's memory after the graph is gone.
        with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32, cache_enabled=False):
            image, after = self.network(grid[None], state)
        for kept, new in zip(self._state, pytree.tree_flatten(after)[0], strict=True):
            kept.copy_(new)
        self._image.copy_(image[0, 0])

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Return a graph of `work`. The state is as before, although warming up runs `work` several times."""
        before = [tensor.clone() for tensor in self._state]
        with torch.inference_mode(), torch.cuda.device(self.device), _algorithm_search():
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    work()
            torch.cuda.current_stream(self.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads make CUDA calls too (memory diagnostics, the release of an old network). In the default
            # mode such a call invalidates the capture.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                work()
            for kept, value in zip(self._state, before, strict=True):
                kept.copy_(value)
        return graph


def _out_of_memory(error: BaseException | None) -> BaseException | None:
    """Return the error, or the first one in its chain of contexts, that reports a lack of memory."""
    while error is not None and not is_out_of_memory(error):
        error = error.__context__
    return error


@contextmanager
def _algorithm_search() -> Iterator[None]:
    """Let cuDNN search for its fastest algorithms; a graph that is captured meanwhile keeps them."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
