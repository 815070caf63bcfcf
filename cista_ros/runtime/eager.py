"""The network as written, layer by layer: the reference for all other runtimes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..networks import Network
from .base import Runtime, code_of


class Eager(Runtime):
    """Runs any network on any device, in fp32."""

    name = "eager"

    def __init__(self, network: Network) -> None:
        self.network = network
        self._state: Any = None

    def reset(self) -> None:
        self._state = None

    def code(self) -> Tensor | None:
        return code_of(self.network, self._state)

    def step(self, grid: Tensor) -> Tensor:
        image, self._state = self.network(grid[None], self._state)
        first: Tensor = image[0, 0]
        return first
