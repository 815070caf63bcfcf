"""OpenVINO on the CPU, in fp32: the network converted once, its state going in and out of every step."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import RuntimeUnavailableError
from ..networks import Network
from .first_state import first_state
from .runtime import Runtime, code_of


class OpenVino(Runtime):
    """Takes any of our networks.

    Raises:
        RuntimeUnavailableError: openvino is not installed, or cannot convert the network.
    """

    name = "openvino"

    def __init__(self, network: Network, height: int, width: int) -> None:
        try:
            import openvino
        except ImportError:
            raise RuntimeUnavailableError(
                "runtime openvino needs the package openvino: pip install 'openvino>=2025.0'"
            ) from None
        grid = torch.zeros(1, network.bins, height, width)
        first = first_state(network, height, width, grid.device)
        if first is None:
            raise RuntimeUnavailableError(f"runtime openvino cannot run {network.name}: its first step differs")
        # Ordinary tensors, which may be traced.
        self._first, self._structure = [leaf.clone() for leaf in first[0]], first[1]
        self._network = network
        flat = _Flat(network, self._structure)
        example = (grid, *self._first)
        try:
            with warnings.catch_warnings():
                # Tracing takes the checks of shapes for constants, which for one size they are.
                warnings.simplefilter("ignore", torch.jit.TracerWarning)
                model = openvino.convert_model(
                    flat, example_input=example, input=[openvino.PartialShape(list(x.shape)) for x in example]
                )
            hints = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            }
            compiled = openvino.Core().compile_model(model, "CPU", hints)
        except Exception as error:  # whatever its frontends say
            raise RuntimeUnavailableError(
                f"runtime openvino cannot run {network.name} ({type(error).__name__}: {error}); use another --runtime"
            ) from error
        self._request = compiled.create_infer_request()
        self._state: list[Any] = self._first

    def reset(self) -> None:
        self._state = self._first

    def code(self) -> Tensor | None:
        state = pytree.tree_unflatten([torch.as_tensor(leaf) for leaf in self._state], self._structure)
        return code_of(self._network, state)

    def step(self, grid: Tensor) -> Tensor:
        inputs = [x.numpy() if isinstance(x, Tensor) else x for x in (grid[None], *self._state)]
        # Inputs are read in place; outputs are copied, or the next step would write over its own input.
        result = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        image, *self._state = (result[i] for i in range(len(result)))
        return torch.from_numpy(image[0, 0])


class _Flat(nn.Module):
    """A network whose state is a list of tensors: what can be traced."""

    def __init__(self, network: Network, structure: Any) -> None:
        super().__init__()
        self.network, self.structure = network, structure

    def forward(self, grid: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        image, after = self.network(grid, pytree.tree_unflatten(list(state), self.structure))
        return image, *pytree.tree_flatten(after)[0]
