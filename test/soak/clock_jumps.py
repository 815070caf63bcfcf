"""The clock of the events jumps both ways, and /clock does too, of which the node takes its time (use_sim_time):

    PYTHONPATH=test/ros:test python test/soak/clock_jumps.py [SECONDS]

Held if each jump begins a new stream, no event is lost, images go on, and the reports' stamps are those of /clock.
"""

from __future__ import annotations

import sys

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from soak import accounted, conclude, ended_in_order, sample, say, soak

from cista_ros.node.images import time_message

PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000", "use_sim_time:=true"
RATE, EVERY_S = 200_000, 2.0
# Seconds that the events' clock is wrong by, in turn: far ahead, back, a little back, a day ahead and back.
JUMPS = 0.0, 100.0, 0.0, -0.5, -3600.0, 86400.0, 0.0


def main(seconds: float) -> int:
    rng = np.random.default_rng(0)
    with soak() as this:
        watcher, told, times = this.watcher, [], [1_000_000_000]
        clock = watcher.node.create_publisher(ClockMessage, "/clock", 10)

        def tell_time() -> None:
            # Jumps anywhere each 20th time.
            jump = int(rng.integers(-(10**12), 10**12)) if rng.random() < 0.05 else 50_000_000
            times.append(max(0, times[-1] + jump))
            clock.publish(ClockMessage(clock=time_message(times[-1])))

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        watcher.node.create_timer(0.05, tell_time, clock=steady)
        watcher.node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda m: told.append(m.header.stamp.sec * 10**9 + m.header.stamp.nanosec),
            100,
        )
        node = this.start_node(*PARAMETERS)
        jumps = ",".join(map(str, JUMPS))
        camera = this.start_camera("--rate", RATE, "--seconds", seconds, f"--jumps={jumps}", "--jump-every", EVERY_S)
        first: list[dict[str, float]] = []

        def each() -> None:
            first.append(sample(node))
            say(**first[-1], images=watcher.images, jumps=watcher.counts["time_jumps"], gaps=watcher.counts["gaps"])

        this.spin_while(camera, each, 5.0)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        held_jumps = [JUMPS[i % len(JUMPS)] for i in range(int(np.ceil(seconds / EVERY_S)))]
        # Each step of EVERY_S lets time go on by as much.
        steps = np.diff(held_jumps) + 0.0
        back, forward = int((steps < 0).sum()), int((steps > 5).sum())
        known = set(times)
        held = {
            "settled": settled,
            "each jump begins a stream": (counts["time_jumps"], counts["gaps"]) == (back, forward),
            "every event used": sent["sent_events"] == counts["received_events"] == counts["used_events"],
            "identity": accounted(counts),
            "images go on": watcher.images == counts["images"] > 0
            and counts["images"] + counts["merged_windows"] > seconds * 9,
            "images' stamps go back only where the events do": watcher.stamps_back == back,
            "reports bear the time of /clock": len(told) > seconds / 2 and set(told) - {0} <= known,
            "memory within 5 %": first[-1]["resident_mb"] < 1.05 * first[len(first) // 4]["resident_mb"],
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"events' clock jumping each {EVERY_S:g} s by -24 h to +24 h, /clock jumping by up to 1000 s both ways",
            held,
            parameters=PARAMETERS,
            jumps_back_and_forward=[back, forward],
            counted_back_and_forward=[counts["time_jumps"], counts["gaps"]],
            stamps_back=watcher.stamps_back,
            reports=len(told),
            samples=[first[len(first) // 4], first[-1]],
        )


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:] or ["120"])[0])))
