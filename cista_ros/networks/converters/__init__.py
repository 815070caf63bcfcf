"""Published checkpoints, one module per key layout: the network they contain, and the names of their keys here."""

from __future__ import annotations

from types import ModuleType

from . import cista, e2vid, firenet, pie_net, spade_e2vid

# Each has NAME, recognises(weights) -> bool and read(weights) -> (network on the meta device, renamed weights).
CONVERTERS: tuple[ModuleType, ...] = (cista, e2vid, firenet, pie_net, spade_e2vid)
