"""Configurations of trainings: any YAML, known keys with other values, overrides. ConfigError, or a valid one."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import yaml
from bounds import expect
from files import Folder
from source import Source, patched

from cista_ros.training.config import ConfigError, TrainingConfig
from cista_ros.training.config_files import config_from, load_config, to_yaml

MODULES = ("cista_ros.training.config_files", "cista_ros.training.config")
_FOLDER = Folder("configs")
VALUES = (
    "", "0", "-1", "1e999", "9" * 400, "[]", "{}", "null", "true", ".nan", "-.inf", "1e-3", "adam", "muon", "last",
    "all", "2020-99-99", "!!int ''", "!!binary x", "!!timestamp x", "!!python/name:os.system", "&a [*a]", "*a",
    "? [1]\n: 2",
    "[[[[", "{a: {b: {c: 1}}}", "0x_", "1:99", "'a\\nb'", "<<: 1", "[0.1, 0.9]", "cista", "firenet", "e2vid", "~", "16",
    "7.5",
)  # fmt: skip


def _keys(kind: type, where: str = "") -> list[str]:
    found = []
    for field in fields(kind):
        inner = field.default_factory() if callable(field.default_factory) else None
        found.append(where + field.name)
        if is_dataclass(inner):
            found += _keys(type(inner), f"{where}{field.name}.")
    return found


KEYS = [*_keys(TrainingConfig), "nothing", "data.nothing", "", ".", "network.bins.x"]
TEXT = to_yaml(TrainingConfig()).encode()
SEEDS = [
    bytes([flags, at, value, at + 1, value + 1, 3]) for flags in range(8) for at in (0, 20, 40) for value in (1, 15, 30)
]


def check(data: bytes) -> None:
    """Read a configuration; what is accepted is written and read as the same."""
    source = Source(data)
    flags = source.number()
    overrides = [f"{source.pick(KEYS)}={source.pick(VALUES)}" for _ in range(source.below(4))]
    if flags & 1:
        text = source.rest()
    elif flags & 2:
        text = patched(TEXT, source)
    else:
        text = _nested([(source.pick(KEYS), source.pick(VALUES)) for _ in range(source.below(5))])
    path = _FOLDER.write("a.yaml", text)
    expect(ConfigError, lambda: _load(path, overrides))


def _nested(pairs: list[tuple[str, str]]) -> bytes:
    lines = []
    for key, value in pairs:
        *parents, leaf = key.split(".")
        lines += ["  " * i + f"{parent}:" for i, parent in enumerate(parents)]
        lines.append("  " * len(parents) + f"{leaf}: {value}")
    return "\n".join(lines).encode()


def _load(path: object, overrides: list[str]) -> None:
    config = load_config(path, overrides)
    assert config_from(yaml.safe_load(to_yaml(config))) == config
