"""The networks by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from .cista import VARIANTS, Cista, CistaConfig
from .cista_lstc import CistaLstc, CistaLstcConfig
from .e2vid import E2vid, E2vidConfig
from .firenet import Firenet, FirenetConfig
from .network import Network
from .pie_net import PIE_NET_LITE, PieNet, PieNetConfig
from .spade_e2vid import SpadeE2vid, SpadeE2vidConfig

NetworkConfig = CistaConfig | CistaLstcConfig | E2vidConfig | FirenetConfig | PieNetConfig | SpadeE2vidConfig

# Kind of network in files -> (class, configuration).
KINDS: dict[str, tuple[type[Network], type[Any]]] = {
    "cista": (Cista, CistaConfig),
    "cista-lstc": (CistaLstc, CistaLstcConfig),
    "e2vid": (E2vid, E2vidConfig),
    "firenet": (Firenet, FirenetConfig),
    "pie-net": (PieNet, PieNetConfig),
    "spade-e2vid": (SpadeE2vid, SpadeE2vidConfig),
}

# Name in commands -> published configuration.
MODELS: dict[str, NetworkConfig] = {
    **VARIANTS,
    **{name: configuration() for name, (_, configuration) in KINDS.items() if name != "cista"},
    "pie-net-lite": PIE_NET_LITE,
}


def make_network(wanted: str | NetworkConfig) -> Network:
    """Make a network with random weights, by name or configuration. ValueError lists the known names."""
    if isinstance(wanted, str):
        if wanted not in MODELS:
            raise ValueError(f"network {wanted!r} is not one of {', '.join(MODELS)}")
        wanted = MODELS[wanted]
    (made,) = (network for network, configuration in KINDS.values() if configuration is type(wanted))
    return made(wanted)


def make_kind(kind: str, config: dict[str, Any]) -> Network:
    """Make the network that a file describes. ValueError or TypeError for an unknown kind or configuration."""
    if kind not in KINDS:
        raise ValueError(f"network {kind!r} is not one of {', '.join(KINDS)}")
    made, configuration = KINDS[kind]
    return made(configuration(**config))


class Model(NamedTuple):
    """One of MODELS, and the entries in which a configuration differs from it."""

    name: str
    differences: dict[str, Any]


def model_of(network: Network) -> Model:
    """Return the model of the same kind from which a network differs least."""
    config = asdict(network.config)
    of_its_kind = [
        Model(name, {key: value for key, value in config.items() if value != getattr(published, key)})
        for name, published in MODELS.items()
        if type(published) is type(network.config)
    ]
    return min(of_its_kind, key=lambda model: len(model.differences))
