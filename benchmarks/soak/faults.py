"""Soak tests with faults: damaged messages, clocks that jump, killed and stopped processes. Run by soak.py."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from harness import Process, module, stamp_of
from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from test_node_qos import WITH_PROFILE
from traffic import SAMPLE
from watch import (
    PARAMETERS,
    RATE,
    accounted,
    all_used,
    conclude,
    ended_in_order,
    quantiles,
    sample,
    say,
    soak,
    unchanged,
)

from cista_ros.node.images import time_message

DAMAGED_EVERY_MS, CAMERA_EVERY_MS = 5.0, 10.0
# Successive errors of the events' clock, in seconds.
JUMPS, JUMPS_EVERY_S = (0.0, 100.0, 0.0, -0.5, -3600.0, 86400.0, 0.0), 2.0
CAMERA_IMAGES, NODE_IMAGES = 3, 5  # images to wait for, of each camera or node


def damaged_messages(seconds: float = 120, encoding: str = "evt3") -> int:
    """Damage one message in a hundred: flipped bits, cuts, inserted bytes, random bytes, random encodings.

    Holds if the node continues, receives every intact message, and keeps publishing images.
    """
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        camera = this.start_camera(
            *("--rate", RATE, "--seconds", seconds, "--every-ms", DAMAGED_EVERY_MS, "--damage", 0.01),
            *("--encoding", encoding),
        )
        rows = this.watch(node, camera, malformed=lambda: watcher.counts["malformed_messages"])
        counts, sent, held = this.settle()
        unusable = counts["malformed_messages"] + counts["wrong_size_messages"]
        made = counts["images"] + counts["merged_windows"]
        first, last = rows[len(rows) // 4], rows[-1]
        held |= {
            "every message arrived": counts["messages"] == sent["sent_messages"] + sent["damaged_messages"],
            "none lost": counts["lost_messages"] == 0,
            # A damaged message may still be readable, with other events or times.
            "no intact message refused": unusable <= sent["damaged_messages"],
            "intact messages' events received": counts["received_events"]
            >= sent["sent_events"] - counts["unplaced_events"],
            "at least 99 % used": counts["used_events"] >= 0.99 * sent["sent_events"],
            "images continue": watcher.images == counts["images"] > 0 and made > seconds * 9,
            "no window failed": counts["failed_windows"] == counts["not_ready_windows"] == 0,
            "memory within 5 %": last["resident_mb"] < 1.05 * first["resident_mb"],
        }
        return conclude(
            this,
            node,
            f"1 % of the messages damaged, {RATE / 1e6:g} Mev/s, {encoding}",
            held,
            parameters=PARAMETERS,
            not_used=counts["dropped_events"] + counts["unplaced_events"],
            stamps_back=watcher.stamps_back,
            samples=[first, last],
        )


def clock_jumps(seconds: float = 120) -> int:
    """Let the clock of the events, and /clock with use_sim_time, jump both ways.

    Holds if each jump starts a new stream, no event is lost, images continue, and reports carry the time of /clock.
    """
    rng = np.random.default_rng(0)
    parameters = *PARAMETERS, "use_sim_time:=true"
    with soak() as this:
        watcher, reports, times = this.watcher, [], [1_000_000_000]
        clock = watcher.node.create_publisher(ClockMessage, "/clock", 10)

        def publish_clock() -> None:
            # One time in twenty on average, jump anywhere.
            jump = int(rng.integers(-(10**12), 10**12)) if rng.random() < 0.05 else 50_000_000
            times.append(max(0, times[-1] + jump))
            clock.publish(ClockMessage(clock=time_message(times[-1])))

        watcher.node.create_timer(0.05, publish_clock, clock=Clock(clock_type=ClockType.STEADY_TIME))
        watcher.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda message: reports.append(stamp_of(message)), 100
        )
        node = this.start_node(*parameters)
        jumps = f"--jumps={','.join(map(str, JUMPS))}", "--jump-every", JUMPS_EVERY_S
        camera = this.start_camera("--rate", RATE, "--seconds", seconds, *jumps)
        counted = {name: (lambda name=name: watcher.counts[name]) for name in ("time_jumps", "gaps")}
        rows = this.watch(node, camera, **counted)
        counts, sent, held = this.settle()
        steps = np.diff([JUMPS[i % len(JUMPS)] for i in range(int(np.ceil(seconds / JUMPS_EVERY_S)))])
        expected = int((steps < 0).sum()), int((steps > 5).sum())
        made = counts["images"] + counts["merged_windows"]
        first, last = rows[len(rows) // 4], rows[-1]
        held |= {
            "each jump begins a stream": (counts["time_jumps"], counts["gaps"]) == expected,
            "every event used": all_used(counts, sent),
            "images continue": watcher.images == counts["images"] > 0 and made > seconds * 9,
            "images' stamps go back only where the events do": watcher.stamps_back == expected[0],
            "reports have the time of /clock": len(reports) > seconds / 2 and set(reports) - {0} <= set(times),
            "memory within 5 %": last["resident_mb"] < 1.05 * first["resident_mb"],
        }
        return conclude(
            this,
            node,
            f"events' clock jumps every {JUMPS_EVERY_S:g} s by up to 24 h, /clock by up to 1000 s, both ways",
            held,
            parameters=parameters,
            jumps_back_and_forward=expected,
            counted_back_and_forward=[counts["time_jumps"], counts["gaps"]],
            stamps_back=watcher.stamps_back,
            reports=len(reports),
            samples=[first, last],
        )


def camera_killed(times: int = 100) -> int:
    """Kill the camera with SIGKILL and restart it, many times.

    Holds if images come from every camera, and nothing grows.
    """
    rng = np.random.default_rng(0)
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        first = sample(node)
        for i in range(times):
            camera = this.start_camera("--rate", RATE, "--every-ms", CAMERA_EVERY_MS)
            this.wait_for_images(CAMERA_IMAGES, f"of camera {i}", camera, node)
            watcher.spin(rng.random() / 2)
            camera.stop(signal.SIGKILL)
            this.processes.remove(camera)
            first = sample(node) if i == times // 10 else first
            if i % 10 == 9:
                say(cameras=i + 1, **sample(node), images=watcher.images, sent=this.sent()["sent_events"])
        counts, sent, held = this.settle()
        last, missing = sample(node), sent["sent_events"] - counts["received_events"]
        held |= {
            "images from every camera": watcher.images >= CAMERA_IMAGES * times,
            "images' stamps always increase": watcher.stamps_back == 0,
            # A killed camera may have had a message in flight.
            "at most 2 messages per camera are missing": sent["sent_messages"] - counts["messages"] <= 2 * times
            and missing <= 2 * times * RATE * CAMERA_EVERY_MS / 1000 * 3,
            "at most as many as were sent": counts["received_events"] <= sent["begun_events"],
            "nothing dropped": counts["received_events"] == counts["used_events"],
            **unchanged(first, last),
        }
        idea = f"camera killed (SIGKILL) and started again {times} times, {RATE / 1e6:g} Mev/s"
        more = {"node_messages": counts["messages"], "missing_events": missing, "first_and_last": [first, last]}
        return conclude(this, node, idea, held, parameters=PARAMETERS, **more)


def node_killed(times: int = 20) -> int:
    """Kill the node with SIGKILL and restart it, many times, while a recording plays in a loop.

    Uses config/fastdds_large_messages.xml: a killed reader keeps its share of the writer's shared memory (Fast DDS
    #5469), and the default segment of 512 KB is exhausted after five. Holds if each node makes images, and player and
    image subscriber do not grow.
    """
    rng = np.random.default_rng(0)
    os.environ.update(WITH_PROFILE)
    with soak() as this:
        watcher = this.watcher
        player = Process(module("play", str(SAMPLE), "--loop"), this.domain)
        this.processes.append(player)
        rows, all_accounted, restart_s = [], True, []
        for i in range(times + 1):
            began = time.monotonic()
            node = this.start_node(*PARAMETERS)
            this.wait_for_images(NODE_IMAGES, f"of node {i}", node, player)
            restart_s.append(time.monotonic() - began)
            watcher.spin(rng.random())
            all_accounted &= accounted(watcher.counts)
            rows.append(sample(player))
            if i < times:
                node.stop(signal.SIGKILL)
                this.processes.remove(node)
            say(nodes=i + 1, **rows[-1], images=watcher.images)
        played = player.popen.poll() is None
        played &= ended_in_order(player)
        counts, _, held = this.settle()
        half = rows[len(rows) // 2]
        held |= {
            "images from every node": watcher.images >= NODE_IMAGES * (times + 1),
            "identity, of every node": all_accounted,
            "the last one lost nothing": counts["lost_messages"] == counts["dropped_events"] == 0,
            "the player continued, and ended in order": played,
            **unchanged(half, rows[-1], "the player's "),
        }
        return conclude(
            this,
            node,
            f"node killed (SIGKILL) and started again {times} times while a recording plays in a loop",
            held,
            parameters=PARAMETERS,
            images_seen=watcher.images,
            start_to_fifth_image_s=[round(float(q), 1) for q in np.quantile(restart_s, (0.5, 1))],
            player_samples=[rows[0], half, rows[-1]],
        )


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


def stuck_subscriber(seconds: float = 60) -> int:
    """Stop a reliable subscriber of the images with SIGSTOP.

    Holds if another subscriber receives every image, no event is lost, and the node's memory does not grow.
    """
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
        rows = this.watch(node, camera)
        counts, sent, held = this.settle()
        state = Path(f"/proc/{stuck.popen.pid}/stat").read_text().split()[2]
        held |= {
            "the subscriber stayed stopped": state == "T",
            "every image arrived at the other subscriber": images < watcher.images == counts["images"],
            "images' stamps always increase": watcher.stamps_back == 0,
            "every event used": all_used(counts, sent),
            "memory within 30 MiB": max(row["resident_mb"] for row in rows) < before["resident_mb"] + 30,
        }
        idea = f"a subscriber of the images that is stopped for {seconds:g} s, {RATE / 1e6:g} Mev/s"
        latency = quantiles(watcher.latencies[seen:])
        more = {"first_and_last": [before, rows[-1]], "latency_ms_while_stuck": latency}
        return conclude(this, node, idea, held, parameters=PARAMETERS, **more)
