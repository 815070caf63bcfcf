"""torch.compile: the layers as written, fused and compiled for this machine, in fp32."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import RuntimeUnavailableError
from ..networks import Network
from .compiler import compiler_name
from .first_state import first_state
from .runtime import Runtime, code_of


class Compiled(Runtime):
    """Compiles at the first step of its making, for one size: seconds to a minute, less when torch's cache has it.

    Raises:
        RuntimeUnavailableError: no C++ compiler (CPU) or no Triton (GPU), or the compilation failed.
    """

    name = "compile"

    def __init__(self, network: Network, height: int, width: int, device: torch.device) -> None:
        check_tools(device, "runtime compile")
        # Freezing lays the weights out for oneDNN once; it is for inference on a CPU only.
        options = {"freezing": True} if device.type == "cpu" else {}
        self._network = torch.compile(network, dynamic=False, options=options)
        first = first_state(network, height, width, device)
        # A step with a state and one without would be two programs to compile.
        self._first = None if first is None else pytree.tree_unflatten(*first)
        self._state: Any = self._first
        try:
            with torch.inference_mode():
                grid = torch.zeros(network.bins, height, width, device=device)
                self.step(grid)
                if first is None:
                    self.step(grid)
        except Exception as error:  # of dynamo, of inductor, of the compiler that it calls
            first = str(error).strip().splitlines()[:1]
            raise RuntimeUnavailableError(
                f"runtime compile: torch.compile failed ({type(error).__name__}: {''.join(first)});"
                " use --runtime auto or eager"
            ) from error
        self.reset()

    def reset(self) -> None:
        self._state = self._first

    def code(self) -> Tensor | None:
        return code_of(self._network, self._state)

    def step(self, grid: Tensor) -> Tensor:
        image, self._state = self._network(grid[None], self._state)
        return image[0, 0]


def check_tools(device: torch.device, what: str) -> None:
    """RuntimeUnavailableError, saying what to install for `what`, if torch.compile lacks what it needs here."""
    if device.type == "cpu":
        compiler = compiler_name()
        if not shutil.which(compiler) and not shutil.which("clang++"):
            raise RuntimeUnavailableError(
                f"{what} needs a C++ compiler on the CPU, and there is no {compiler} (Debian, Ubuntu: apt install g++)"
            )
        return
    try:
        import triton  # noqa: F401
    except ImportError:
        raise RuntimeUnavailableError(
            f"{what} needs Triton on a GPU: pip install triton (it comes with torch's CUDA wheels)"
        ) from None
