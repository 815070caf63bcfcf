"""The networks that turn voxel grids into images, and their weights on disk."""

from .checkpoints import load_network, save_network
from .cista import VARIANTS, Cista, CistaConfig, State

__all__ = ["VARIANTS", "Cista", "CistaConfig", "State", "load_network", "save_network"]
