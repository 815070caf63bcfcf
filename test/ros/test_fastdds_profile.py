"""config/fastdds_large_messages.xml: Fast DDS reads it, and large best-effort messages arrive."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import ROOT
from rclpy.qos import QoSReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier

CAMERA = str(Path(__file__).with_name("camera.py"))
PROFILE = str(ROOT / "config" / "fastdds_large_messages.xml")
# Fast DDS 3 (Kilted) reads the first variable, Fast DDS 2 the second.
ENVIRONMENT = {name: PROFILE for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")}


@pytest.mark.skipif("fastrtps" not in get_rmw_implementation_identifier(), reason="needs the middleware Fast DDS")
def test_large_best_effort_messages_arrive_with_the_profile(client, small_weights):
    override = "qos_overrides./dvs/events.subscription.reliability:=best_effort"
    process = client.start_node(
        f"weights:={small_weights[0]}", override, "max_latency:=0", "idle_timeout:=0.3", **ENVIRONMENT
    )
    (subscription,) = client.node.get_subscriptions_info_by_topic("/dvs/events")
    assert subscription.qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT
    camera = client.start(CAMERA, "30", "75000", "30", "BEST_EFFORT", **ENVIRONMENT)
    client.until(lambda: camera.popen.poll() is not None)
    counts = client.counts(lambda c: c["messages"] + c["lost_messages"] >= 30 and c["pending_events"] == 0)
    assert counts["messages"] == 30
    assert counts["lost_messages"] == 0
    for said in (process.err, camera.err):
        assert "XMLPARSER" not in said, said
    assert process.stop() == 0
