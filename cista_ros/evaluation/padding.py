"""EVREAL's zero padding for any network."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..networks import Network
from ..networks.layers import pad_to_multiple

# EVREAL derives the multiple from the assumed depth of the encoder: 4 for FireNet, which has none.
MULTIPLES = {"firenet": 16}
USUAL_MULTIPLE = 8


class ZeroPadded(Network):
    """A network with voxel grids padded by zeros to EVREAL's multiples, and images cropped back."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.inner = network
        self.name, self.config, self.conventions = network.name, network.config, network.conventions
        self.multiple = MULTIPLES.get(network.name, USUAL_MULTIPLE)

    @property
    def bins(self) -> int:
        return self.inner.bins

    def forward(self, voxel: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """See Network; the state is the inner network's, of the padded size."""
        padded, (rows, columns) = pad_to_multiple(voxel, self.multiple, mode="constant")
        image, state = self.inner(padded, state)
        return image[..., rows, columns], state
