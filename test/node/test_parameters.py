"""The node's settings as one checked value, and the files that are made from their description."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
from rclpy.parameter import Parameter

from cista_ros.commands.options import ToneMapName
from cista_ros.errors import CistaError
from cista_ros.node.parameters import Settings, SettingsError, changed_settings
from cista_ros.sync_stamps import SyncStamps
from cista_ros.windows import AdaptiveWindows, CountWindows, PeriodWindows, SyncWindows

STAMPS = SyncStamps()


@pytest.mark.parametrize(
    ("name", "value"), [("windows", "frames"), ("tone_map", ""), ("encoding", "rgb8"), ("overload_policy", "wait")]
)
def test_a_value_that_is_no_choice_is_an_error_that_lists_them(name, value):
    with pytest.raises(SettingsError, match=f"{name} is '{value}'; expected one of \\w+, \\w+"):
        Settings(**{name: value})
    assert issubclass(SettingsError, CistaError)


def test_every_setting_is_described_and_defaults_lie_within_their_limits():
    for item in fields(Settings):
        assert len(item.metadata["description"]) > 20
        if item.metadata["limits"]:
            low, high = item.metadata["limits"]
            assert low <= item.default <= high


def test_tone_maps_are_those_of_the_command():
    for tone_map in get_args(ToneMapName):
        assert Settings(tone_map=tone_map).tone_map == tone_map


def test_changes_of_other_parameters_are_left_out():
    changed = changed_settings(Settings(), [Parameter("period", value=0.5), Parameter("use_sim_time", value=True)])
    assert changed == Settings(period=0.5)


def test_windowers_follow_the_settings():
    by_period = Settings(period=0.25).windower(180, 240, STAMPS)()
    assert isinstance(by_period, PeriodWindows) and by_period.period_ns == 250_000_000
    by_rate = Settings(period=0.25, fps=50.0).windower(180, 240, STAMPS)()
    assert isinstance(by_rate, PeriodWindows) and by_rate.period_ns == 20_000_000
    by_count = Settings(windows="count", count=7).windower(180, 240, STAMPS)()
    assert isinstance(by_count, CountWindows) and by_count.count == 7
    assert Settings(windows="count").windower(180, 240, STAMPS)().count == 15_000
    adaptive = Settings(windows="adaptive", shortest=0.001, longest=0.5).windower(180, 240, STAMPS)()
    assert isinstance(adaptive, AdaptiveWindows) and (adaptive.shortest_ns, adaptive.longest_ns) == (10**6, 5 * 10**8)
    sync = Settings(windows="sync", sync_timeout=0.3).windower(180, 240, STAMPS)()
    assert isinstance(sync, SyncWindows) and (sync.timeout_ns, sync.stamps) == (300_000_000, STAMPS)
    trigger = Settings(windows="trigger").windower(180, 240, STAMPS, {5: 7})()
    assert isinstance(trigger, SyncWindows) and trigger.image_stamps == {5: 7}


@pytest.mark.parametrize("longest", [0.1, 0.2, 0.2000000001])
def test_a_shortest_time_that_is_not_below_the_longest_is_refused(longest):
    with pytest.raises(SettingsError, match=rf"shortest is 0\.2 s; expected less than longest, {longest} s"):
        Settings(shortest=0.2, longest=longest)


@pytest.mark.parametrize(
    "size", [{"sensor_width": 640}, {"sensor_height": 480}, dict(sensor_width=8, sensor_height=480)]
)
def test_half_a_sensor_size_or_an_impossible_one_is_refused(size):
    with pytest.raises(SettingsError, match=r"sensor_width is \d+, sensor_height is \d+; expected both"):
        Settings(**size)
    assert Settings(sensor_width=640, sensor_height=480).sensor_size == (480, 640)
    assert Settings().sensor_size is None
