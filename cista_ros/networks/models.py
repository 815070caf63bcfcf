"""The networks by name: those that can be made, trained, saved and evaluated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .cista import VARIANTS, Cista, CistaConfig
from .cista_lstc import CistaLstc, CistaLstcConfig
from .e2vid import E2vid, E2vidConfig
from .firenet import Firenet, FirenetConfig
from .network import Network
from .spade_e2vid import SpadeE2vid, SpadeE2vidConfig

# Kind of network, as files name it -> (class, its configuration).
KINDS: dict[str, tuple[type[Network], type[Any]]] = {
    "cista": (Cista, CistaConfig),
    "cista-lstc": (CistaLstc, CistaLstcConfig),
    "e2vid": (E2vid, E2vidConfig),
    "firenet": (Firenet, FirenetConfig),
    "spade-e2vid": (SpadeE2vid, SpadeE2vidConfig),
}

# What people ask for -> a fresh network, its weights drawn at random.
MODELS: dict[str, Callable[[], Network]] = {
    **{name: partial(Cista, config) for name, config in VARIANTS.items()},
    **{name: kind for name, (kind, _) in KINDS.items() if name != "cista"},
}


def make_network(name: str) -> Network:
    """A fresh network by its name. ValueError lists the names there are."""
    if name not in MODELS:
        raise ValueError(f"network {name!r} is not one of {', '.join(MODELS)}")
    return MODELS[name]()


def make_kind(kind: str, config: dict[str, Any]) -> Network:
    """The network that a file describes. ValueError or TypeError for a kind or a configuration that is not known."""
    if kind not in KINDS:
        raise ValueError(f"network {kind!r} is not one of {', '.join(KINDS)}")
    made, configuration = KINDS[kind]
    return made(configuration(**config))
