"""Soak tests: real ROS 2 processes under load or faults, for minutes to hours.

    PYTHONPATH=test/ros:test python benchmarks/soak/soak.py SCENARIO [VALUE …]

SCENARIO is a function of this file or of faults.py; values are its arguments, in order. A run prints samples to stderr,
and one line of JSON to stdout: machine, command, counts, and which criteria held. The exit code is 1 if one did not.
With PREFER=1 in the environment (as root), the scheduler prefers the node and the camera to other programs, as on a
robot.

Every scenario requires that the node comes to rest, accounts for every received event, and ends with code 0.
"""

from __future__ import annotations

import inspect
import sys
import time
import zlib
from typing import Any

import numpy as np
from faults import camera_killed, clock_jumps, damaged_messages, node_killed, stuck_subscriber
from harness import save_random, stamp_of
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from watch import (
    NODE,
    PARAMETERS,
    RATE,
    Watcher,
    accounted,
    all_used,
    conclude,
    ended_in_order,
    quantiles,
    sample,
    say,
    slope,
    soak,
    unchanged,
)

STEADY_EVERY_S = 10.0
STEADY_WARM_UP = 0.1  # share of the time


def steady(seconds: float = 3600, rate: float = 1e6) -> int:
    """Send events at a steady rate, with images subscribed.

    Holds if no event is lost, and memory, threads, open files and latency do not grow.
    """
    # Four images per second: a third of a core.
    parameters = PARAMETERS[0], "period:=0.25", PARAMETERS[2]
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*parameters)
        camera = this.start_camera("--rate", rate, "--seconds", seconds)
        parts: list[list[float]] = []
        loads: list[float] = []

        def latencies() -> list[float]:
            parts.append(watcher.latencies[sum(map(len, parts)) :])
            loads.append(this.load[-1])
            return quantiles(parts[-1])

        named = {n: (lambda n=n: watcher.counts.get(n)) for n in ("queued_windows", "merged_windows", "lost_messages")}
        rows = this.watch(node, camera, STEADY_EVERY_S, latency_ms=latencies, **named)
        counts, sent, held = this.settle()
        warm = rows[int(STEADY_WARM_UP * len(rows)) :]
        hours = [i * STEADY_EVERY_S / 3600 for i in range(len(warm))]
        growth = {name: slope(hours, [row[name] for row in warm]) for name in warm[0]}
        # p10 depends on the node; p50 and p95 also on the other load of the machine.
        tenths = {
            f"p{q}": [
                round(float(np.median(part)))
                for part in np.array_split([np.percentile(part, q) for part in parts if part], 10)
                if len(part)
            ]
            for q in (10, 50, 95)
        }
        first, last = np.median(tenths["p10"][1:4]), np.median(tenths["p10"][-3:])
        held |= {
            "every event received": all_used(counts, sent),
            "nothing lost": counts["lost_messages"] == counts["dropped_events"] == 0,
            "every image arrived": watcher.images == counts["images"] and watcher.stamps_back == 0,
            "memory slope below 1 % an hour": abs(growth["resident_mb"]) < 0.01 * warm[0]["resident_mb"],
            "threads and open files as they were": all(warm[0][n] == warm[-1][n] for n in ("threads", "open_files")),
            "latency (p10) flat within 20 ms": bool(last <= first + 20),
        }
        return conclude(
            this,
            node,
            f"{rate / 1e6:g} Mev/s for {seconds / 60:g} minutes, 240x180, images subscribed",
            held,
            parameters=parameters,
            growth_per_hour=growth,
            first_and_last=[warm[0], warm[-1]],
            resident_mb_max=max(row["resident_mb"] for row in rows),
            latency_ms_by_tenths=tenths,
            load_by_tenths=[round(float(np.median(part)), 1) for part in np.array_split(loads, 10) if len(part)],
        )


def bursts(seconds: float = 60, rate: float = 20e6, encoding: str = "evt3") -> int:
    """Send bursts of 0.5 s every 5 s, in messages of 30 ms, like a camera driver.

    Holds if every event is used and memory is bounded.
    """
    parameters = *PARAMETERS[:2], "max_events:=10000000", "idle_timeout:=1.0"
    with soak() as this:
        node = this.start_node(*parameters)
        camera = this.start_camera(
            *("--rate", rate, "--seconds", seconds, "--burst", "0.5,5", "--every-ms", 30, "--encoding", encoding)
        )
        rows = this.watch(node, camera, 1.0, queued=lambda: this.watcher.counts["queued_windows"])
        counts, sent, held = this.settle(120)
        memory = [row["resident_mb"] for row in (*rows, sample(node))]
        # A decoder cannot place events before the first words of time and row.
        arrived = counts["received_events"] + counts["unplaced_events"]
        lost = counts["lost_messages"], counts["malformed_messages"], counts["missing_packets"]
        held |= {
            "every event received": arrived == sent["sent_events"],
            "every event used": counts["received_events"] == counts["used_events"],
            "no message lost": not any(lost),
            "memory bounded (1.5 GiB)": max(memory) < 1536,
        }
        idea = f"bursts of {rate / 1e6:g} Mev/s, 0.5 s in each 5, {encoding}"
        return conclude(this, node, idea, held, parameters=parameters, resident_mb=[memory[0], max(memory), memory[-1]])


def reloads(times: int = 1000) -> int:
    """Change the weights many times while events flow, every tenth time to an invalid file.

    Holds if valid weights are loaded, invalid ones refused with a reason, no event is lost, and nothing grows.
    """
    parameters = PARAMETERS[1:]
    with soak() as this:
        watcher = this.watcher
        good = [str(save_random(this.folder / f"{i}.safetensors", channels=8, iterations=2)[0]) for i in range(2)]
        bad = this.folder / "bad.safetensors"
        bad.write_bytes(b"\xff" * 4096)
        node = this.start_node(f"weights:={good[0]}", *parameters)
        camera = this.start_camera("--rate", RATE)
        watcher.until(lambda: watcher.images)
        taken, reasons, seconds, rows = 0, [], [], []
        for i in range(times):
            # Alternate, so that each is a change.
            weights = str(bad) if i % 10 == 9 else good[(taken + 1) % 2]
            began = time.monotonic()
            request = SetParameters.Request(parameters=[Parameter("weights", value=weights).to_parameter_msg()])
            (result,) = watcher.call(SetParameters, f"{NODE}/set_parameters", request).results
            seconds.append(time.monotonic() - began)
            this.wait_for_images(1, f"after reload {i}", node)
            taken += result.successful
            reasons += [] if result.successful else [result.reason]
            if i % 50 == 49:
                rows.append(sample(node))
                say(reloads=i + 1, **rows[-1], images=watcher.images, ms=round(1000 * float(np.median(seconds[-50:]))))
        camera.stop()
        counts, sent, held = this.settle()
        half = rows[len(rows) // 2]
        held |= {
            "valid ones loaded": taken == times - times // 10,
            "invalid ones refused, with the reason": len(reasons) == times // 10
            and all("bad.safetensors" in reason for reason in reasons),
            # The camera was stopped: its last message may be in flight.
            "every event received and used": sent["sent_events"] <= counts["received_events"] <= sent["begun_events"]
            and counts["received_events"] == counts["used_events"],
            "no window failed": counts["failed_windows"] == counts["not_ready_windows"] == counts["lost_messages"] == 0,
            "images' stamps always increase": watcher.stamps_back == 0,
            **unchanged(half, rows[-1]),
        }
        return conclude(
            this,
            node,
            f"weights reloaded {times} times (each tenth: a bad file) while {RATE / 1e6:g} Mev/s flow",
            held,
            parameters=parameters,
            reload_ms_p50_max=[round(1000 * float(q)) for q in np.quantile(seconds, (0.5, 1))],
            reasons=sorted(set(reasons)),
            samples=[rows[0], half, rows[-1]],
        )


def two_nodes(seconds: float = 60) -> int:
    """Reconstruct one topic in two nodes, one of them in a namespace.

    Holds if both use every event and publish the same images.
    """
    # Unlimited latency: merged windows would be other images.
    parameters = PARAMETERS[0], "period:=0.2", PARAMETERS[2], "max_latency:=0.0"
    with soak() as this:
        images: dict[str, dict[int, int]] = {"": {}, "/second": {}}
        watcher = this.watcher
        second = Watcher(this.domain, "/second/cista_reconstruct", "second_watcher")
        try:
            for name, seen in images.items():
                watcher.node.create_subscription(
                    Image,
                    f"{name}/image_raw",
                    lambda message, seen=seen: seen.update({stamp_of(message): zlib.crc32(message.data)}),
                    QoSProfile(depth=1000),
                )
            node = this.start_node(*parameters)
            other = this.start_node(*parameters, arguments=("-r", "__ns:=/second"), wait=False)
            second.until(lambda: second.counts.get("state") == "active")
            camera = this.start_camera("--rate", RATE, "--seconds", seconds, "--subscribers", 2)
            this.watch(node, camera, of_each=lambda: [*map(len, images.values())])
            # One watcher receives nothing while the other waits: the second has old reports now, the first after that.
            second.spin(2.0)
            settled = second.settled()
            counts, sent, held = this.settle()
            held |= {
                "the second settled": settled,
                "every event used by both": all_used(counts, sent) and all_used(second.counts, sent),
                "identity of the second": accounted(second.counts),
                "the same images": images[""] == images["/second"] and len(images[""]) == counts["images"] > 0,
                "the second ended in order": ended_in_order(other),
            }
            idea, each = f"two nodes on one topic, {RATE / 1e6:g} Mev/s, 240x180", [*map(len, images.values())]
            return conclude(this, node, idea, held, parameters=parameters, images_of_each=each)
        finally:
            second.close()


SCENARIOS = (
    steady, bursts, damaged_messages, clock_jumps, camera_killed, node_killed, reloads, stuck_subscriber, two_nodes
)  # fmt: skip


def main() -> int:
    """Run the scenario named on the command line."""
    scenarios = {scenario.__name__: scenario for scenario in SCENARIOS}
    if len(sys.argv) < 2 or sys.argv[1] not in scenarios:
        print(__doc__, *(f"{name}{inspect.signature(scenario)}" for name, scenario in scenarios.items()), sep="\n")
        return 2
    scenario = scenarios[sys.argv[1]]
    kinds = [type(parameter.default) for parameter in inspect.signature(scenario).parameters.values()]
    values: list[Any] = [kind(value) for kind, value in zip(kinds, sys.argv[2:], strict=False)]
    return int(scenario(*values))


if __name__ == "__main__":
    sys.exit(main())
