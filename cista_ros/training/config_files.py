"""Configurations from recipes, YAML files and overrides, checked key by key, and back to YAML."""

from __future__ import annotations

import json
import math
import typing
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import reason_of
from ..networks import MODELS, NetworkConfig
from .config import ConfigError, TrainingConfig

_LONGEST = 1 << 18  # bytes
RECIPES = Path(__file__).parent / "recipes"


def recipes() -> dict[str, Path]:
    """Return name -> YAML file of the configurations that come with the package."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"), key=lambda p: p.stem)}


def load_config(path: str | Path | None, overrides: typing.Sequence[str] = ()) -> TrainingConfig:
    """Read a recipe by its name, or a YAML file (None for the defaults); then apply overrides such as `data.batch=64`.

    An override of `model` starts from that model's architecture and drops the keys of `network` before it. ConfigError
    if it is not YAML, for an unknown key (the known ones are listed), a value of the wrong kind or out of range.
    """
    content: Any = {}
    try:
        if path is not None:
            path = recipes().get(str(path), path)
            content = _parse(_read(Path(path))) or {}
        return config_from(_with_overrides(content, overrides))
    except OSError as error:
        known = ", ".join(recipes())
        raise ConfigError(f"{path}: {error.strerror}, and no recipe of that name ({known})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from None


def override(config: TrainingConfig, overrides: typing.Sequence[str]) -> TrainingConfig:
    """Apply overrides such as `iterations=20000`; ConfigError as in `load_config`."""
    return config_from(_with_overrides(asdict(config), overrides))


def differences(before: TrainingConfig, after: TrainingConfig) -> list[str]:
    """Return `key: old -> new` for every key in which two configurations differ."""
    old, new = _flat(_plain(before)), _flat(_plain(after))
    return [f"{key}: {old[key]} -> {value}" for key, value in new.items() if old[key] != value]


def to_yaml(config: TrainingConfig) -> str:
    """Return the whole configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def config_from(content: Any) -> TrainingConfig:
    """Make a configuration from nested dictionaries; `network` overrides the published architecture of `model`."""
    if not isinstance(content, dict):
        raise ConfigError(f"the configuration must hold keys and values, not {content!r}")
    model, network = content.get("model", TrainingConfig.model), content.get("network", {})
    if not isinstance(model, str) or model not in MODELS:
        raise ConfigError(f"model must be one of {', '.join(MODELS)}, not {model!r}")
    published = MODELS[model]
    architecture = {**asdict(published), **network} if isinstance(network, dict) else network
    config: TrainingConfig = from_dict(
        TrainingConfig, {**content, "network": from_dict(type(published), architecture, "network.")}
    )
    return config


def from_dict(kind: type, content: Any, where: str = "") -> Any:
    """Make a dataclass from nested dictionaries; missing keys keep their defaults. ConfigError names a wrong key."""
    if not isinstance(content, dict):
        raise ConfigError(f"{where.rstrip('.')} must hold keys and values, not {content!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    if unknown := sorted(str(key) for key in content.keys() - known):
        path = ", ".join(f"{where}{key}" for key in unknown)
        raise ConfigError(f"unknown key {path} (known here: {', '.join(sorted(known))})")
    try:
        return kind(**{key: _value(hints[key], value, f"{where}{key}") for key, value in content.items()})
    except ValueError as error:
        raise ConfigError(f"{where.rstrip('.')}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML without aliases, with which a few lines can stand for more than fits into memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1}: an alias (*), which is not read here")
        return super().compose_node(parent, index)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_LONGEST + 1)
    if len(raw) > _LONGEST:
        raise ConfigError(f"has more than {_LONGEST} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"not YAML ({error})") from None


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except Exception as error:  # beside YAMLError what Python says of odd dates, numbers and depths
        raise ConfigError(f"not YAML ({reason_of(error)})") from None


def _with_overrides(content: Any, overrides: typing.Sequence[str]) -> Any:
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"{item!r} is not of the form key=value")
        *parents, leaf = key.split(".")
        inner = content
        for parent in parents:
            inner = inner.setdefault(parent, {}) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            raise ConfigError(f"{item!r}: there is no such key")
        value = _parse(value)
        if key == "model" and value != content.get("model", TrainingConfig.model):
            content.pop("network", None)
        inner[leaf] = value
    return content


def _value(kind: Any, value: Any, name: str) -> Any:
    if kind == NetworkConfig:
        return value  # made by config_from
    if isinstance(kind, type) and is_dataclass(kind):
        return from_dict(kind, value, f"{name}.")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        any_length = arguments[-1] is Ellipsis
        if not isinstance(value, (list, tuple)) or (not any_length and len(value) != len(arguments)):
            expected = "a list" if any_length else f"a list of {len(arguments)} numbers"
            raise ConfigError(f"{name} must be {expected}, not {value!r}")
        kinds = arguments[:1] * len(value) if any_length else arguments
        return tuple(_value(inner, item, name) for inner, item in zip(kinds, value, strict=True))
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{name} must be one of {', '.join(arguments)}, not {value!r}")
        return value
    if kind is float:
        # YAML 1.1 reads 1e-3 as text.
        try:
            number = float("x" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"{name} must be a number, not {value!r}")
        return number
    if type(value) is not kind:
        raise ConfigError(f"{name} must be of type {kind.__name__}, not {value!r}")
    return value


def _plain(config: TrainingConfig) -> dict[str, Any]:
    """Return the configuration as dictionaries and lists, which YAML has, without tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def _flat(content: dict[str, Any], where: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{where}{key}.") if isinstance(value, dict) else {where + key: value}
    return flat
