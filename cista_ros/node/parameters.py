"""The parameters of the reconstruction node: declared with descriptions and ranges, read into one checked value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..errors import CistaError
from ..networks import DEFAULT_WEIGHTS, SMALL_WEIGHTS
from ..runtime import PRECISIONS, RUNTIMES
from ..tone_map import TONE_MAPS
from ..windows import SyncStamps, Windower, make_windower
from ..wire.event_packet import EVENT_TIMES
from ..wire.ros_types import EVENT_TYPES
from .backlog import POLICIES
from .images import COMPRESSIONS, ENCODERS

MAX_COUNT = 100_000_000


class SettingsError(CistaError):
    """A parameter that is none of its choices."""


@dataclass(frozen=True)
class Settings:
    """The node's parameters, each under its own name. Zero for `count` and `max_events` means the paper's default.

    Raises:
        SettingsError: a value that is none of its choices.
    """

    weights: str = "auto"
    device: str = "auto"
    events_type: str = "auto"
    event_time: str = "sensor"
    windows: str = "period"
    period: float = 1 / 30
    count: int = 0
    events_per_pixel: float = 1.0
    shortest: float = 0.005
    longest: float = 0.2
    sync_timeout: float = 1.0
    max_events: int = 0
    tone_map: str = "robust"
    encoding: str = "mono8"
    compression: str = "jpeg"
    jpeg_quality: int = 90
    hot_pixels: bool = False
    runtime: str = "auto"
    precision: str = "auto"
    downscale: int = 1
    overload_policy: str = "merge"
    max_queued_windows: int = 8
    idle_timeout: float = 0.5
    max_gap: float = 5.0
    on_demand: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if not round(self.shortest * 1e9) < round(self.longest * 1e9):  # as AdaptiveWindows takes them
            raise SettingsError(f"shortest is {self.shortest} s; expected less than longest, {self.longest} s")

    @property
    def network_choice(self) -> tuple[str, str, str, str, int]:
        """What cannot change without a new network, or a new way to run it."""
        return self.weights, self.device, self.runtime, self.precision, self.downscale

    @property
    def window_choice(self) -> tuple[str | float, ...]:
        """What cannot change without windows of another kind."""
        adaptive = self.events_per_pixel, self.shortest, self.longest
        return self.windows, self.period, self.count, *adaptive, self.sync_timeout

    @property
    def max_gap_ns(self) -> int | None:
        """As EventFilter takes it."""
        return round(self.max_gap * 1e9) or None

    def windower(self, height: int, width: int, stamps: SyncStamps) -> Callable[[], Windower]:
        """The maker of windowers that these settings ask for; stamps are for `sync`."""
        return partial(
            make_windower,
            self.windows,
            height,
            width,
            period=self.period,
            count=self.count,
            events_per_pixel=self.events_per_pixel,
            shortest=self.shortest,
            longest=self.longest,
            stamps=stamps,
            sync_timeout=self.sync_timeout,
        )


_CHOICES: dict[str, Iterable[str]] = {
    "events_type": ("auto", *EVENT_TYPES),
    "event_time": EVENT_TIMES,
    "windows": ("period", "count", "adaptive", "sync"),
    "runtime": RUNTIMES,
    "precision": PRECISIONS,
    "tone_map": TONE_MAPS,
    "encoding": ENCODERS,
    "compression": COMPRESSIONS,
    "overload_policy": POLICIES,
}
_DESCRIPTIONS = {
    "weights": "Name of shipped weights, a file (.safetensors, or the authors' .pth.tar), or auto.",
    "device": "Where the network runs: auto (the GPU where there is one), cpu, cuda or cuda:N.",
    "events_type": "Of the messages on the topic of events; auto: as its publishers have it. Not while subscribed.",
    "event_time": "Of event packets: the camera's own clock, or the host's by their stamps. Not while subscribed.",
    "windows": "What bounds the events of an image: period, count, how busy the view is, or the stamps on sync.",
    "period": "Seconds of event time to an image, with windows=period.",
    "count": "Events to an image, with windows=count; 0 for 0.35 events a pixel.",
    "events_per_pixel": "Events a pixel, in the busiest area of 32x32 pixels, to an image, with windows=adaptive.",
    "shortest": "Seconds of event time that a window lasts at least, with windows=adaptive.",
    "longest": "Seconds of event time that a window lasts at most, with windows=adaptive.",
    "sync_timeout": "Seconds of event time that events wait for a stamp, with windows=sync.",
    "max_events": "A window of more events is split evenly over several network steps; 0 for 0.35 events a pixel.",
    "tone_map": "How the network's image is shown.",
    "encoding": "Of the published images.",
    "compression": "Of image_raw/compressed: jpeg, or png, which loses nothing.",
    "jpeg_quality": "Of image_raw/compressed, with compression=jpeg; 100 is the best.",
    "hot_pixels": "Limit the voxels of pixels that fire without end.",
    "runtime": "How the network is run.",
    "precision": "Of the network's arithmetic; auto is less than fp32 only where it is faster and a trial of it held.",
    "downscale": "Events are binned to a grid coarser by this factor; the images are smaller by it.",
    "overload_policy": "When the network is slower than the events: merge the oldest windows, or skip the oldest.",
    "max_queued_windows": "Windows that may wait for the network before the overload policy acts.",
    "idle_timeout": "Seconds without a message after which the open window is reconstructed as it is; 0 for never.",
    "max_gap": "A gap of more seconds in the events' time makes the network forget what was before it; 0 for none.",
    "on_demand": "Subscribe to the events only while somebody subscribes to the images.",
}
_RANGES: dict[str, tuple[float, float]] = {
    "period": (0.0005, 10.0),
    "count": (0, MAX_COUNT),
    "events_per_pixel": (0.001, 1000.0),
    "shortest": (0.0, 10.0),
    "longest": (0.0005, 10.0),
    "sync_timeout": (0.001, 60.0),
    "max_events": (0, MAX_COUNT),
    "jpeg_quality": (1, 100),
    "downscale": (1, 64),
    "max_queued_windows": (1, 100_000),
    "idle_timeout": (0.0, 3600.0),
    "max_gap": (0.0, 1e6),
}


def declare_autostart(node: Node) -> bool:
    """Declare `autostart`, which is only looked at when the node starts, and read it."""
    descriptor = ParameterDescriptor(
        description="Configure and activate the node when it starts; if not, whoever manages life cycles does.",
        read_only=True,
    )
    return node.declare_parameter("autostart", True, descriptor).value


def declare_settings(node: Node) -> Settings:
    """Declare all parameters and read them.

    Raises:
        SettingsError, rclpy.exceptions.ParameterException: a value of the wrong choice, type or range.
    """
    for field in fields(Settings):
        node.declare_parameter(field.name, field.default, _descriptor(field.name, field.default))
    return Settings(**{field.name: node.get_parameter(field.name).value for field in fields(Settings)})


def changed_settings(settings: Settings, parameters: Iterable[Parameter]) -> Settings:
    """The settings after a change; parameters of other names are not ours to check. Errors as for Settings."""
    names = {field.name for field in fields(Settings)}
    return replace(settings, **{p.name: p.value for p in parameters if p.name in names})


def _descriptor(name: str, default: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=_DESCRIPTIONS[name])
    if name in _CHOICES:
        descriptor.additional_constraints = f"one of {', '.join(_CHOICES[name])}"
    if name in _RANGES:
        low, high = _RANGES[name]
        if isinstance(default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor


def faster_settings(settings: Settings, weights: str) -> str:
    """What to set, in place of these, where the network of these weights is too slow; with less of an image."""
    small = [f"weights {SMALL_WEIGHTS}"] if weights == DEFAULT_WEIGHTS else []
    return " or ".join([*small, f"downscale {settings.downscale + 1}"])
