"""What a network step costs in operations, and what this machine can do at best."""

from __future__ import annotations

import time

import torch

from ..networks import Network

# Small enough for a CPU's cache; in half precision large enough for all of its cores to take part.
CEILING_SIZE = {"cpu": 1024, "cuda": 8192}
CEILING_SIZE_HALF = {"cpu": 2048, "cuda": 8192}


@torch.no_grad()
def count_operations(network: Network, height: int, width: int) -> float:
    """Floating point operations of one step, in GFLOP: two for each multiplication of the convolutions as written.

    A runtime that does with fewer multiplications is still credited with these.
    """
    count = 0

    def add(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal count
        # A transposed convolution multiplies at each place of its input.
        places = (inputs[0] if isinstance(layer, torch.nn.ConvTranspose2d) else output).shape[-2:].numel()
        count += 2 * layer.weight.numel() * places

    kinds = torch.nn.Conv2d, torch.nn.ConvTranspose2d
    hooks = [module.register_forward_hook(add) for module in network.modules() if isinstance(module, kinds)]
    try:
        device = next(network.parameters()).device
        network(torch.zeros(1, network.bins, height, width, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return count / 1e9


class MatrixProduct:
    """One large matrix product, laid out for the machine's own library: the ceiling that all else is measured by."""

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        n = (CEILING_SIZE if dtype is torch.float32 else CEILING_SIZE_HALF)[device.type]
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        self.gflop = 2 * n**3 / 1e9
        self._device = device
        pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None) if device.type == "cpu" else None
        if pack and torch.backends.mkldnn.is_available():
            packed = pack(b, n)
            self._run = lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
        else:
            self._run = lambda: a @ b

    def seconds(self) -> float:
        """Time of one."""
        synchronise(self._device)
        began = time.perf_counter()
        self._run()
        synchronise(self._device)
        return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    """Wait for the GPU, if it is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
