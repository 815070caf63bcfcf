"""The node's settings as one checked value."""

from __future__ import annotations

import pytest
from rclpy.parameter import Parameter

from cista_ros.commands.reconstruct import ToneMapName
from cista_ros.errors import CistaError
from cista_ros.node.parameters import _DESCRIPTIONS, _RANGES, Settings, SettingsError, changed_settings
from cista_ros.windows import AdaptiveWindows, CountWindows, PeriodWindows, SyncStamps, SyncWindows

STAMPS = SyncStamps()


@pytest.mark.parametrize(
    ("name", "value"), [("windows", "frames"), ("tone_map", ""), ("encoding", "rgb8"), ("overload_policy", "wait")]
)
def test_a_value_that_is_no_choice_is_an_error_that_lists_them(name, value):
    with pytest.raises(SettingsError, match=f"{name} is '{value}'; expected one of \\w+, \\w+"):
        Settings(**{name: value})
    assert issubclass(SettingsError, CistaError)


def test_every_setting_is_described_and_defaults_lie_in_their_ranges():
    assert list(_DESCRIPTIONS) == list(Settings.__dataclass_fields__)
    for name, (low, high) in _RANGES.items():
        assert low <= getattr(Settings(), name) <= high


def test_tone_maps_are_those_of_the_command():
    for tone_map in ToneMapName:
        assert Settings(tone_map=tone_map.value).tone_map == tone_map.value


def test_changes_apply_to_our_parameters_only():
    changed = changed_settings(Settings(), [Parameter("period", value=0.5), Parameter("use_sim_time", value=True)])
    assert changed == Settings(period=0.5)


def test_windowers_follow_the_settings():
    by_period = Settings(period=0.25).windower(180, 240, STAMPS)()
    assert isinstance(by_period, PeriodWindows) and by_period.period_ns == 250_000_000
    by_count = Settings(windows="count", count=7).windower(180, 240, STAMPS)()
    assert isinstance(by_count, CountWindows) and by_count.count == 7
    assert Settings(windows="count").windower(180, 240, STAMPS)().count == 15_000
    adaptive = Settings(windows="adaptive", shortest=0.001, longest=0.5).windower(180, 240, STAMPS)()
    assert isinstance(adaptive, AdaptiveWindows) and (adaptive.shortest_ns, adaptive.longest_ns) == (10**6, 5 * 10**8)
    sync = Settings(windows="sync", sync_timeout=0.3).windower(180, 240, STAMPS)()
    assert isinstance(sync, SyncWindows) and (sync.timeout_ns, sync.stamps) == (300_000_000, STAMPS)


def test_a_shortest_time_above_the_longest_is_refused():
    with pytest.raises(SettingsError, match=r"shortest is 0\.3 s; expected less than longest, 0\.2 s"):
        Settings(shortest=0.3)
    with pytest.raises(SettingsError, match=r"shortest is 0\.2 s; expected less than longest, 0\.2000000001 s"):
        Settings(shortest=0.2, longest=0.2000000001)
