"""The networks that turn voxel grids into images, and their weights on disk."""

from .checkpoints import find_weights_unless_kind, load_network, load_or_make_network, save_network
from .cista import VARIANTS, Cista, CistaConfig
from .models import MODELS, Model, NetworkConfig, make_network, model_of
from .network import Conventions, Network, count_parameters
from .weights import DEFAULT_WEIGHTS, SMALL_WEIGHTS, choose_weights, find_weights, shipped_weights

__all__ = [
    "DEFAULT_WEIGHTS",
    "MODELS",
    "SMALL_WEIGHTS",
    "VARIANTS",
    "Cista",
    "CistaConfig",
    "Conventions",
    "Model",
    "Network",
    "NetworkConfig",
    "choose_weights",
    "count_parameters",
    "find_weights",
    "find_weights_unless_kind",
    "load_network",
    "load_or_make_network",
    "make_network",
    "model_of",
    "save_network",
    "shipped_weights",
]
