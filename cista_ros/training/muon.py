"""Muon (Jordan et al., 2024): momentum with orthogonalised steps, so that all directions of a weight matrix learn at
the same rate. It applies to convolutions; Adam takes biases, thresholds and convolutions with one output.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

# The quintic iteration that the method's authors tuned: five rounds bring singular values to about one.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
# An orthogonal step scaled by this and the root of its longer side has the size of Adam's (Liu et al. 2025).
_ADAM_SIZE = 0.2


class Muon(torch.optim.Optimizer):
    """Muon, with Nesterov's look-ahead, on convolution weights; Adam (betas, epsilon) on the rest, at one rate."""

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": tuple(betas), "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients; a closure is not supported."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    update = self._muon if weight.ndim == 4 and weight.shape[0] > 1 else self._adam
                    update(weight, weight.grad, self.state[weight], group)

    @staticmethod
    def _muon(weight: Tensor, gradient: Tensor, state: dict, group: dict) -> None:
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        step = orthogonal(gradient.lerp(average, group["momentum"]).flatten(1))
        weight.add_(step.view(weight.shape), alpha=-group["lr"] * _ADAM_SIZE * max(step.shape) ** 0.5)

    @staticmethod
    def _adam(weight: Tensor, gradient: Tensor, state: dict, group: dict) -> None:
        if not state:
            state.update(steps=0, first=torch.zeros_like(weight), second=torch.zeros_like(weight))
        state["steps"] += 1
        beta1, beta2 = group["betas"]
        first = state["first"].lerp_(gradient, 1 - beta1) / (1 - beta1 ** state["steps"])
        second = state["second"].lerp_(gradient.square(), 1 - beta2) / (1 - beta2 ** state["steps"])
        weight.addcdiv_(first, second.sqrt() + group["epsilon"], value=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the matrix (m, n) with the same singular vectors and singular values near one (0.7 to 1.2)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrix else x.T
