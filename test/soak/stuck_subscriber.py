"""A subscriber of the images that never reads: a process that subscribes them reliably and is then stopped (SIGSTOP):

    PYTHONPATH=test/ros:test python test/soak/stuck_subscriber.py [SECONDS]

Held if another subscriber goes on to get every image, no event is lost, and the node's memory does not grow.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from harness import Process
from soak import accounted, conclude, ended_in_order, quantiles, sample, say, soak

PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"
RATE = 200_000
STUCK = """
import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("stuck")
for topic in ("image_raw", "events_image"):
    node.create_subscription(Image, topic, lambda image: print("image", flush=True), QoSProfile(depth=1000))
rclpy.spin(node)
"""


def main(seconds: float) -> int:
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        stuck = Process(["-c", STUCK], this.domain)
        this.processes.append(stuck)
        camera = this.start_camera("--rate", RATE, "--seconds", seconds)
        if not watcher.until(lambda: "image" in stuck.out):
            raise RuntimeError(f"the subscriber got no image\n{stuck.err}")
        stuck.popen.send_signal(signal.SIGSTOP)
        before, images, seen = sample(node), watcher.images, len(watcher.latencies)
        rows = []

        def each() -> None:
            rows.append(sample(node))
            say(**rows[-1], images=watcher.images)

        this.spin_while(camera, each, 5.0)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        state = Path(f"/proc/{stuck.popen.pid}/stat").read_text().split()[2]
        held = {
            "settled": settled,
            "it stayed stopped": state == "T",
            "every image arrived at the other subscriber": watcher.images == counts["images"]
            and images < watcher.images,
            "images' stamps always increase": watcher.stamps_back == 0,
            "every event used": sent["sent_events"] == counts["received_events"] == counts["used_events"],
            "identity": accounted(counts),
            "memory within 30 MiB": max(row["resident_mb"] for row in rows) < before["resident_mb"] + 30,
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"a subscriber of the images that is stopped for {seconds:g} s, {RATE / 1e6:g} Mev/s",
            held,
            parameters=PARAMETERS,
            first_and_last=[before, rows[-1]],
            latency_ms_while_stuck=quantiles(watcher.latencies[seen:]),
        )


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:] or ["60"])[0])))
