"""Checkpoints that others published, one file a key layout: which network they hold, and their keys by our names."""

from __future__ import annotations

from types import ModuleType

from . import cista, e2vid, firenet, pie_net, spade_e2vid

# Each has NAME, recognises(weights) -> bool and read(weights) -> (network of shapes only, weights by our names).
CONVERTERS: tuple[ModuleType, ...] = (cista, e2vid, firenet, pie_net, spade_e2vid)
