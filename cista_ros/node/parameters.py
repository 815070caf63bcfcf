"""The parameters of the reconstruction node.

`Settings` is their only description: the node declares them from it, and `python docs/options.py` writes
config/reconstruct.yaml and the table of docs/reference/parameters.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..errors import CistaError
from ..event_filter import MIN_SIDE
from ..events import EDGES, NS
from ..noise_filter import NOISE_FILTERS
from ..runtime import PRECISIONS, RUNTIMES
from ..sync_stamps import SyncStamps
from ..tone_map import TONE_MAPS
from ..windows import Windower, make_windower
from ..wire.event_packet import EVENT_TIMES
from ..wire.ros_types import EVENT_TYPES
from .images import COMPRESSIONS, ENCODERS

INFO_TOPIC = "events/camera_info"
POLICIES = ("merge", "skip")
MAX_COUNT = 100_000_000
# Parameters that rclpy itself declares.
_BUILT_IN = {"use_sim_time", "start_type_description_service"}


class SettingsError(CistaError):
    """An invalid parameter value."""


def _parameter(
    default: Any,
    description: str,
    choices: Iterable[str] = (),
    limits: tuple[float, float] | None = None,
    read_only: bool = False,
) -> Any:
    """Describe a parameter; `limits` are inclusive."""
    metadata = {"description": description, "choices": tuple(choices), "limits": limits, "read_only": read_only}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The node's parameters under their own names.

    Raises:
        SettingsError: a value that is not one of its choices, or that contradicts another.
    """

    weights: str = _parameter(
        "auto",
        "Weights: a name, a file (.safetensors, or the authors' .pth.tar), or auto: cista-tc on a GPU, cista-tc-small"
        " on a CPU. Setting it to its present value reloads a file that has changed.",
    )
    device: str = _parameter("auto", "Device of the network: auto (a GPU if there is one), cpu, cuda or cuda:N.")
    runtime: str = _parameter("auto", "How the network is run.", RUNTIMES)
    precision: str = _parameter(
        "auto", "Arithmetic of the network; auto is below fp32 only where that is faster and accurate.", PRECISIONS
    )
    downscale: int = _parameter(
        1, "Whole factor by which the sensor's grid is made coarser before the network.", limits=(1, 64)
    )
    sensor_width: int = _parameter(
        0, "Sensor width in pixels, to prepare the network before the first message; 0: from that.", limits=(0, 65535)
    )
    sensor_height: int = _parameter(
        0, "Sensor height in pixels, to prepare the network before the first message; 0: from that.", limits=(0, 65535)
    )
    events_type: str = _parameter(
        "auto",
        "Message type on the events topic; auto: its publishers'. Cannot change while subscribed.",
        ("auto", *EVENT_TYPES),
    )
    event_time: str = _parameter(
        "host",
        "Time of event packets: host (ROS time, by the packets' stamps) or sensor (the camera's own clock). Cannot"
        " change while subscribed.",
        EVENT_TIMES,
    )
    frame_id: str = _parameter("", "frame_id of everything published; empty: the events' own.")
    camera_info_url: str = _parameter(
        "",
        "Calibration file, file://PATH or package://PACKAGE/PATH, to publish in place of events/camera_info.",
    )
    windows: str = _parameter(
        "period",
        "What ends an image's window: a period, a count of events, the activity in view (adaptive), the stamps of the"
        " topic sync, or pulses on an input of the event camera (trigger).",
        ("period", "count", "adaptive", "sync", "trigger"),
    )
    period: float = _parameter(1 / 30, "Seconds per image, in event time, with windows=period.", limits=(0.0005, 10.0))
    fps: float = _parameter(0.0, "Images per second of event time, in place of period; 0: use period.", limits=(0, 2e3))
    count: int = _parameter(
        0, "Events per image with windows=count; 0: 0.35 per pixel of the sensor.", limits=(0, MAX_COUNT)
    )
    events_per_pixel: float = _parameter(
        1.0,
        "Events per pixel, in the busiest 32x32 area, that end a window with windows=adaptive.",
        limits=(0.001, 1e3),
    )
    shortest: float = _parameter(0.005, "Minimum seconds of a window with windows=adaptive.", limits=(0.0, 10.0))
    longest: float = _parameter(0.2, "Maximum seconds of a window with windows=adaptive.", limits=(0.0005, 10.0))
    sync_timeout: float = _parameter(
        1.0, "Seconds of event time that events wait for a stamp with windows=sync or trigger.", limits=(0.001, 60.0)
    )
    trigger_edge: str = _parameter("rising", "Edge of the pulses with windows=trigger.", EDGES)
    trigger_input: int = _parameter(
        -1, "Input of the event camera with windows=trigger; -1: all inputs.", limits=(-1, 255)
    )
    trigger_delay: float = _parameter(
        0.0,
        "Seconds from a pulse to the stamp of its frame on sync, with windows=trigger; to within half a period.",
        limits=(-10.0, 10.0),
    )
    idle_timeout: float = _parameter(
        0.5,
        "Seconds of event time without a message after which the open window ends; 0: never.",
        limits=(0.0, 3600.0),
    )
    max_gap: float = _parameter(
        5.0, "Seconds without events after which a new stream begins; 0: never.", limits=(0.0, 1e6)
    )
    max_events: int = _parameter(
        0,
        "Larger windows are split evenly into several network steps; 0: 0.35 events per pixel.",
        limits=(0, MAX_COUNT),
    )
    clip_hot_pixels: bool = _parameter(False, "Limit the influence of pixels that fire continuously.")
    noise_filter: str = _parameter(
        "none", "Filter that drops noise; activity keeps events that a neighbour supports.", NOISE_FILTERS
    )
    hot_pixel_mask: str = _parameter(
        "", "Drop the events of hot pixels: learn, or a file (an image that is not black there, or text lines x y)."
    )
    tone_map: str = _parameter("natural", "How the network's output is shown.", TONE_MAPS)
    encoding: str = _parameter("mono8", "Encoding of image_raw.", ENCODERS)
    compression: str = _parameter("jpeg", "Format of image_raw/compressed; png is lossless.", COMPRESSIONS)
    jpeg_quality: int = _parameter(90, "JPEG quality of image_raw/compressed.", limits=(1, 100))
    max_latency: float = _parameter(
        0.3,
        "Seconds from the end of a window to its image beyond which overload_policy applies; 0: unlimited.",
        limits=(0.0, 3600.0),
    )
    overload_policy: str = _parameter(
        "merge", "What to do with windows that wait too long: merge them into the next one, or skip them.", POLICIES
    )
    lazy: bool = _parameter(True, "Subscribe to the events only while images have subscribers.")
    autostart: bool = _parameter(
        True, "Configure and activate at the start; otherwise a life-cycle manager does.", read_only=True
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            if choices and value not in choices:
                raise SettingsError(f"{item.name} is {value!r}; expected one of {', '.join(choices)}")
        if not round(self.shortest * NS) < round(self.longest * NS):  # as AdaptiveWindows takes them
            raise SettingsError(f"shortest is {self.shortest} s; expected less than longest, {self.longest} s")
        if bool(self.sensor_width) != bool(self.sensor_height) or 0 < self.sensor_width < MIN_SIDE:
            raise SettingsError(
                f"sensor_width is {self.sensor_width}, sensor_height is {self.sensor_height}; expected both, at least"
                f" {MIN_SIDE}, or both 0"
            )

    @property
    def sensor_size(self) -> tuple[int, int] | None:
        """Height and width of the sensor, if the parameters set them."""
        return (self.sensor_height, self.sensor_width) if self.sensor_height else None

    @property
    def network_choice(self) -> tuple[object, ...]:
        """Values that cannot change without loading or preparing a network."""
        return self.weights, self.device, self.runtime, self.precision, self.downscale, self.sensor_size

    @property
    def window_choice(self) -> tuple[object, ...]:
        """Values that cannot change without another windower."""
        adaptive = self.events_per_pixel, self.shortest, self.longest
        trigger = self.trigger_edge, self.trigger_input, self.trigger_delay
        return self.windows, self.period, self.fps, self.count, *adaptive, self.sync_timeout, *trigger

    @property
    def filter_choice(self) -> tuple[str, str]:
        """Kind and mask of the noise filter, as make_noise_filter takes them."""
        return self.noise_filter, self.hot_pixel_mask

    @property
    def max_gap_ns(self) -> int | None:
        """`max_gap` as EventFilter takes it."""
        return round(self.max_gap * NS) or None

    def windower(
        self, height: int, width: int, stamps: SyncStamps, image_stamps: Mapping[int, int] | None = None
    ) -> Callable[[], Windower]:
        """Return a factory of windowers for a sensor size; the stamps are for windows=sync and trigger."""
        names = ("count", "events_per_pixel", "shortest", "longest", "sync_timeout")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        options |= {"period": 1 / self.fps if self.fps else self.period, "stamps": stamps, "image_stamps": image_stamps}
        return partial(make_windower, self.windows, height, width, **options)


def declare_settings(node: Node) -> Settings:
    """Declare all parameters and read them. Log a warning for every parameter that does not exist.

    Args:
        node: created with `automatically_declare_parameters_from_overrides`, which is how it knows all names that were
            given to it.
    Raises:
        SettingsError, rclpy.exceptions.ParameterException: a value of the wrong choice, type or range.
    """
    given: dict[str, Any] = {
        name: value for name, value in node.get_parameters_by_prefix("").items() if name not in _BUILT_IN
    }
    names = [item.name for item in fields(Settings)]
    for name in given:
        node.undeclare_parameter(name)  # to be declared with its description, or not at all
        if name not in names and not name.startswith("qos_overrides."):
            close = get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else "see docs/reference/parameters.md"
            node.get_logger().warning(f"Unknown parameter {name!r}: {hint}")
    for item in fields(Settings):
        value, override = item.default, item.name in given
        if override and isinstance(value, float) and given[item.name].type_ == Parameter.Type.INTEGER:
            value, override = float(given[item.name].value), False  # as in `period: 1`
        node.declare_parameter(item.name, value, _descriptor(item), ignore_override=not override)
    if hasattr(node, "add_pre_set_parameters_callback"):  # Iron and later
        node.add_pre_set_parameters_callback(_integers_to_floats)
    return Settings(**{name: node.get_parameter(name).value for name in names})


def changed_settings(settings: Settings, parameters: Iterable[Parameter]) -> Settings:
    """Return the settings after a change, leaving out parameters of other names. Errors as for Settings."""
    names = {item.name for item in fields(Settings)}
    return replace(settings, **{p.name: p.value for p in parameters if p.name in names})


def _integers_to_floats(parameters: list[Parameter]) -> list[Parameter]:
    floats = {item.name for item in fields(Settings) if isinstance(item.default, float)}
    return [
        Parameter(p.name, value=float(p.value)) if p.name in floats and p.type_ == Parameter.Type.INTEGER else p
        for p in parameters
    ]


def _descriptor(item: Field[Any]) -> ParameterDescriptor:
    choices, limits = item.metadata["choices"], item.metadata["limits"]
    descriptor = ParameterDescriptor(description=item.metadata["description"], read_only=item.metadata["read_only"])
    if choices:
        descriptor.additional_constraints = f"one of {', '.join(choices)}"
    if limits and isinstance(item.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(limits[0]), to_value=float(limits[1]))]
    elif limits:
        descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]), step=1)]
    return descriptor
