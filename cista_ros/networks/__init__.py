"""The networks that turn voxel grids into images, and their weights on disk."""

from .checkpoints import load_network, save_network
from .cista import VARIANTS, Cista, CistaConfig, State
from .shipped import DEFAULT_WEIGHTS, find_weights, shipped_weights

__all__ = [
    "DEFAULT_WEIGHTS",
    "VARIANTS",
    "Cista",
    "CistaConfig",
    "State",
    "find_weights",
    "load_network",
    "save_network",
    "shipped_weights",
]
