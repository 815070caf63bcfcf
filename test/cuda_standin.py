"""A stand-in for one CUDA GPU, so that the code for GPUs runs and is tested on machines without one.

Tensors report the device cuda:0 and compute on the CPU. The stand-in raises the errors of a real GPU: tensors on
different devices, numpy() of a CUDA tensor, a generator of another device, out of memory, and, during a capture,
synchronisation, copies from pageable memory and, in the mode "global", calls of other threads. A graph records the
operations with their memory; replaying it repeats them without any Python code of the captured function, and fails if
memory is gone. The stand-in does not show speed, races between streams, or the rounding of cuDNN.

    with stand_in() as gpu: …                     # in this process
    python test/cuda_standin.py MODULE [ARGUMENTS]  # a module as a program
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)
CAPTURING = "CUDA error: operation not permitted when stream is capturing"
# Operations that wait for the GPU, because the host needs their result or its size.
SYNCHRONISING = {
    *("_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select", "unique_dim", "_unique2"),
    *("unique_consecutive", "bincount", "repeat_interleave"),
}
# Operations that accept tensors on the host beside CUDA tensors.
MIXED = {"copy_", "index", "index_put", "index_put_", "_index_put_impl_", "_has_compatible_shallow_copy_type"}


class Memory:
    """An allocation on the GPU, shared by all tensors that view it; freed when none is left."""

    def __init__(self, gpu: StandIn, size: int) -> None:
        gpu.allocate(size)
        weakref.finalize(self, gpu.free, size)


@dataclass
class StandIn:
    """The GPU: its memory, and the captures in progress."""

    capacity: int = 8 << 30
    bf16: bool = True
    allocated: int = 0
    peak: int = 0
    replays: int = 0
    captures: list[Graph] = field(default_factory=list)
    pinned: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)

    def allocate(self, size: int) -> None:
        if self.allocated + size > self.capacity:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes.")
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def free(self, size: int) -> None:
        self.allocated -= size

    def capture(self) -> Graph | None:
        """The capture of this thread."""
        return next((graph for graph in self.captures if graph.thread == threading.get_ident()), None)

    def forbid_in_capture(self, what: str) -> None:
        """Fail, and spoil the capture, if a call is not allowed now."""
        for graph in self.captures:
            if graph.thread == threading.get_ident() or graph.mode == "global":
                graph.valid = False
                raise RuntimeError(f"{CAPTURING} ({what})")


_gpu = StandIn()


class CudaTensor(torch.Tensor):
    """A tensor of the stand-in: its values are in `host`, which C++ sees as a CPU tensor."""

    host: torch.Tensor
    memory: Memory
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: torch.Tensor, memory: Memory | None = None) -> CudaTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype
        )
        tensor.host = host
        tensor.memory = memory or Memory(_gpu, host.untyped_storage().nbytes())
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            return _run(func, args, kwargs or {})

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)

    def __repr__(self, **kwargs: Any) -> str:
        return f"CudaTensor({self.host!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> CudaTensor:
        with torch.no_grad():
            new = CudaTensor(self.host.clone())
        if getattr(self, "_is_param", False):
            new = torch.nn.Parameter(new, self.requires_grad)
        memo[id(self)] = new
        return new

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("pickling a CUDA tensor: files must not depend on a GPU")

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.cpu().tolist()


def _unwrap(x: Any) -> Any:
    return x.host if isinstance(x, CudaTensor) else x


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation on at least one CUDA tensor."""
    name = func._schema.name.split("::")[1]
    flat = tree_flatten((args, kwargs))[0]
    cuda = [t for t in flat if isinstance(t, CudaTensor)]
    host = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, CudaTensor)]
    if any(t.dim() for t in host) and name not in MIXED:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({func})"
        )
    graph = _gpu.capture()
    by_mask = name.startswith(("index", "_index")) and any(t.dtype == torch.bool for t in cuda[1:])
    if name in SYNCHRONISING or by_mask:
        _gpu.forbid_in_capture(f"{func} synchronises")
    if host and (name in ("copy_", "where") or any(t.dim() for t in host)):
        to_host = name == "copy_" and not isinstance(args[0], CudaTensor)
        if to_host or not all(t.untyped_storage() in _gpu.pinned for t in host):
            _gpu.forbid_in_capture(f"{func} with pageable memory")
    host_args, host_kwargs = tree_map(_unwrap, (args, kwargs))
    result = func(*host_args, **host_kwargs)
    if name == "copy_" and not isinstance(args[0], CudaTensor):
        return args[0]
    known = {_key(t.host): t.memory for t in cuda}
    arguments = func._schema.arguments
    values = dict(zip((argument.name for argument in arguments), args, strict=False)) | kwargs
    changed = [values.get(argument.name) for argument in arguments if argument.is_write]
    written = {id(t.host): t for t in tree_flatten(changed)[0] if isinstance(t, CudaTensor)}

    def wrap(out: Any) -> Any:
        if not isinstance(out, torch.Tensor):
            return out
        if id(out) in written:
            return written[id(out)]
        return CudaTensor(out, known.get(_key(out)))

    wrapped = tree_map(wrap, result)
    if graph:
        graph.record(func, host_args, host_kwargs, result, cuda, wrapped)
    return wrapped


class Devices(TorchFunctionMode):
    """Directs torch functions that name a device to the stand-in."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to:
            return _to(*args, **kwargs)
        if func is torch.Tensor.cpu:
            return _to(args[0], "cpu")
        device = kwargs.get("device")
        kind = None if device is None else torch.device(device).type
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != (kind or generator.device.type):
            raise RuntimeError(f"Expected a '{kind}' device type for generator but found '{generator.device.type}'")
        if kwargs.pop("pin_memory", False):
            with torch.inference_mode(False):
                made = func(*args, **kwargs)
            _gpu.pinned.add(made.untyped_storage())
            return made
        if kind == "cpu":
            return func(*tree_map(lambda x: x.cpu() if isinstance(x, CudaTensor) else x, args), **kwargs)
        if kind != "cuda":
            return func(*args, **kwargs)
        kwargs["device"] = torch.device("cpu")
        if any(isinstance(x, CudaTensor) for x in tree_flatten(args)[0]):
            del kwargs["device"]
            return func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            _gpu.forbid_in_capture(f"{func.__name__} of values on the host")
        with torch.inference_mode(False), torch.no_grad():
            made = func(*args, **kwargs)
            wrapped = CudaTensor(made)
        graph = _gpu.capture()
        if graph:
            graph.record(func, args, kwargs, made, [], wrapped)
        return wrapped.requires_grad_() if made.requires_grad else wrapped


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Tensor.to, in all of its forms."""
    copy = kwargs.pop("copy", None) or None
    if args and isinstance(args[0], torch.Tensor):
        args = args[0].device, args[0].dtype, *args[1:]
    device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    target = device or tensor.device
    options = {"dtype": dtype, "memory_format": memory_format, "copy": copy}
    options = {name: value for name, value in options.items() if value is not None}
    on_gpu = isinstance(tensor, CudaTensor)
    if on_gpu == (target.type == "cuda") or target.type == "meta":
        if target.type == "meta":
            options["device"] = target
            tensor = _unwrap(tensor)
        return torch.Tensor.to(tensor, **options) if options else tensor
    if tensor.requires_grad and torch.is_grad_enabled():
        raise NotImplementedError("moving a tensor between devices with gradients")
    if on_gpu or tensor.untyped_storage() not in _gpu.pinned:
        _gpu.forbid_in_capture("copy between the GPU and pageable memory")
    with torch.inference_mode(False), torch.no_grad():
        options["copy"] = True
        if on_gpu:
            return torch.Tensor.to(tensor.host, **options)
        return CudaTensor(torch.Tensor.to(tensor.detach(), **options))


class Graph:
    """torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.thread, self.mode, self.valid, self.ended = 0, "global", True, False
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.outside: list[weakref.ref[Memory]] = []
        self.own: list[Memory] = []

    def record(self, func: Any, args: Any, kwargs: Any, out: Any, inputs: list[CudaTensor], made: Any) -> None:
        self.operations.append((func, args, kwargs, out))
        own = {id(memory) for memory in self.own}
        self.outside += [weakref.ref(t.memory) for t in inputs if id(t.memory) not in own]
        before = {id(t.memory) for t in inputs}
        outputs = [t for t in tree_flatten(made)[0] if isinstance(t, CudaTensor)]
        self.own += [t.memory for t in outputs if id(t.memory) not in before | own]

    def replay(self) -> None:
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        if any(memory() is None for memory in self.outside):
            raise RuntimeError("CUDA error: an illegal memory access was encountered (memory of the graph was freed)")
        _gpu.forbid_in_capture("replay")
        _gpu.replays += 1
        with torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunction():
            for func, args, kwargs, out in self.operations:
                new = func(*args, **kwargs)
                for old, value in zip(tree_flatten(out)[0], tree_flatten(new)[0], strict=True):
                    if isinstance(old, torch.Tensor) and _key(old) != _key(value):  # neither a view nor in place
                        old.copy_(value)


@contextlib.contextmanager
def _graph(graph: Graph, capture_error_mode: str = "global") -> Iterator[None]:
    """torch.cuda.graph."""
    graph.thread, graph.mode, graph.valid = threading.get_ident(), capture_error_mode, True
    _gpu.captures.append(graph)
    try:
        yield
    finally:
        _gpu.captures.remove(graph)
        if not graph.valid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    graph.ended = True


class Event:
    """torch.cuda.Event."""

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        _gpu.forbid_in_capture("synchronisation with an event")


class Stream:
    """torch.cuda.Stream."""

    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, stream: Stream) -> None:
        assert isinstance(stream, Stream)

    def wait_event(self, event: Event) -> None:
        assert isinstance(event, Event)


class Generator(torch._C.Generator):
    """torch.Generator, also of the stand-in."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        made.on = CUDA if torch.device(device).type == "cuda" else torch.device(device)
        return made

    device = property(lambda self: self.on)


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    """Let torch find one CUDA GPU in this process and all of its threads."""
    global _gpu
    import torch._dynamo  # tensor subclasses need it, and it cannot be imported when torch is patched

    _gpu = gpu = StandIn()
    run_thread, autocast = threading.Thread.run, torch.autocast
    autocast_enabled, autocast_dtype = torch.is_autocast_enabled, torch.get_autocast_dtype

    def run(thread: threading.Thread) -> None:
        with Devices():
            run_thread(thread)

    def cpu_for_cuda(kind: str | None) -> list[str]:
        return [] if kind is None else ["cpu" if kind == "cuda" else kind]

    def outside_capture(name: str, value: Callable[[], Any] = lambda: None) -> Callable[..., Any]:
        def call(device: Any = None) -> Any:
            gpu.forbid_in_capture(name)
            return value()

        return call

    stream = Stream()
    cuda = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: "stand-in",
        "get_device_properties": lambda device=None: types.SimpleNamespace(name="stand-in", total_memory=gpu.capacity),
        "is_bf16_supported": lambda *_, **__: gpu.bf16,
        "synchronize": outside_capture("synchronize"),
        "mem_get_info": outside_capture("mem_get_info", lambda: (gpu.capacity - gpu.allocated, gpu.capacity)),
        "empty_cache": outside_capture("empty_cache"),
        "memory_reserved": lambda device=None: gpu.allocated,
        "max_memory_allocated": lambda device=None: gpu.peak,
        "manual_seed_all": lambda seed: None,
        "is_current_stream_capturing": lambda: gpu.capture() is not None,
        "current_stream": lambda device=None: stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": _graph,
    }
    with (
        mock.patch.multiple(torch.cuda, **cuda),
        mock.patch.multiple(
            torch,
            Generator=Generator,
            # What CUDA casts, the CPU casts here.
            autocast=lambda kind, *args, **kwargs: autocast(*cpu_for_cuda(kind), *args, **kwargs),
            is_autocast_enabled=lambda kind=None: autocast_enabled(*cpu_for_cuda(kind)),
            get_autocast_dtype=lambda kind: autocast_dtype(*cpu_for_cuda(kind)),
        ),
        # Optimisers ask it, and a torch built for CUDA would answer with the absent GPU.
        mock.patch.object(torch.accelerator, "current_accelerator", lambda check_available=False: None),
        # Otherwise Module.to assigns .data, which replaces what C++ sees of a tensor, but not `host`.
        mock.patch.object(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True),
        mock.patch.object(threading.Thread, "run", run),
        Devices(),
    ):
        yield gpu


if __name__ == "__main__":
    import runpy

    module = sys.argv[1]
    del sys.argv[0]
    with stand_in():
        runpy.run_module(module, run_name="__main__", alter_sys=True)
