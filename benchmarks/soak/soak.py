"""Soak tests: real ROS 2 processes under load or faults, for minutes to hours.

    PYTHONPATH=test/ros:test python benchmarks/soak/soak.py SCENARIO [VALUE …]

SCENARIO is a function of this file; values are its arguments, in order. A run prints samples to stderr, and one line of
JSON to stdout: machine, command, counts, and which criteria held. The exit code is 1 if one did not. With PREFER=1 in
the environment (as root), the scheduler prefers the node and the camera to other programs, as on a robot.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from harness import Process, module, save_random, stamp_of
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image
from test_node_qos import WITH_PROFILE
from traffic import SAMPLE
from watch import NODE, Watcher, accounted, conclude, ended_in_order, quantiles, sample, say, slope, soak

from cista_ros.node.images import time_message

PARAMETERS, RATE = ("weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"), 200_000
# Four images per second: a third of a core.
STEADY_PARAMETERS = "weights:=cista-tc-small", "period:=0.25", "max_events:=1000000"
STEADY_WARM_UP = 0.1  # share of the time
STEADY_EVERY_S = 10.0


def steady(seconds: float = 3600, rate: float = 1e6) -> int:
    """Send events at a steady rate, with images subscribed.

    Holds if no event is lost or unaccounted for, and memory, threads, open files and latency do not grow.
    """
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*STEADY_PARAMETERS)
        camera = this.start_camera("--rate", rate, "--seconds", seconds)
        rows: list[dict[str, float]] = []
        parts: list[list[float]] = []
        seen = 0

        def each() -> None:
            nonlocal seen
            latencies, seen = watcher.latencies[seen:], len(watcher.latencies)
            parts.append(latencies)
            hours = (len(parts)) * STEADY_EVERY_S / 3600
            rows.append({"hours": round(hours, 4), **sample(node), "load": round(this.load[-1], 1)})
            shown = {name: watcher.counts.get(name) for name in ("queued_windows", "merged_windows", "lost_messages")}
            say(**rows[-1], latency_ms=quantiles(latencies), sent=this.sent()["sent_events"], **shown)

        this.spin_while(camera, each, STEADY_EVERY_S)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        warm = rows[int(STEADY_WARM_UP * len(rows)) :]
        growth = {
            name: slope([row["hours"] for row in warm], [row[name] for row in warm])
            for name in ("resident_mb", "threads", "open_files")
        }
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
        held = {
            "settled": settled,
            "every event received": counts["received_events"] == sent["sent_events"] == counts["used_events"],
            "identity": accounted(counts),
            "nothing lost": counts["lost_messages"] == counts["dropped_events"] == 0,
            "every image arrived": watcher.images == counts["images"] and watcher.stamps_back == 0,
            "memory slope below 1 % an hour": abs(growth["resident_mb"]) < 0.01 * warm[0]["resident_mb"],
            "threads and open files as they were": warm[0]["threads"] == warm[-1]["threads"]
            and warm[0]["open_files"] == warm[-1]["open_files"],
            "latency (p10) flat within 20 ms": last <= first + 20,
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"{rate / 1e6:g} Mev/s for {seconds / 60:g} minutes, 240x180, images subscribed",
            held,
            parameters=STEADY_PARAMETERS,
            growth_per_hour=growth,
            first_and_last=[warm[0], warm[-1]],
            resident_mb_max=max(row["resident_mb"] for row in rows),
            latency_ms_by_tenths=tenths,
            load_by_tenths=[round(float(np.median(part)), 1) for part in np.array_split(this.load, 10) if len(part)],
        )


BURSTS_PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=10000000", "idle_timeout:=1.0"


def bursts(seconds: float = 60, rate: float = 20e6, encoding: str = "evt3") -> int:
    """Send bursts of 0.5 s every 5 s, in messages of 30 ms, like a camera driver.

    Holds if every event is used and memory is bounded.
    """
    with soak() as this:
        node = this.start_node(*BURSTS_PARAMETERS)
        camera = this.start_camera(
            "--rate", rate, "--seconds", seconds, "--burst", "0.5,5", "--every-ms", 30, "--encoding", encoding
        )
        rows = []

        def each() -> None:
            rows.append(sample(node))
            say(**rows[-1], queued=this.watcher.counts["queued_windows"], images=this.watcher.images)

        this.spin_while(camera, each, 1.0)
        settled = this.watcher.settled(120)
        each()
        counts, sent = this.watcher.counts, this.sent()
        # A decoder cannot place events before the first words of time and row.
        arrived = counts["received_events"] + counts["unplaced_events"]
        held = {
            "settled": settled,
            "every event received": arrived == sent["sent_events"],
            "every event used": counts["received_events"] == counts["used_events"],
            "identity": accounted(counts),
            "no message lost": counts["lost_messages"]
            == counts["malformed_messages"]
            == counts["missing_packets"]
            == 0,
            "memory bounded (1.5 GiB)": max(row["resident_mb"] for row in rows) < 1536,
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"bursts of {rate / 1e6:g} Mev/s, 0.5 s in each 5, {encoding}",
            held,
            parameters=BURSTS_PARAMETERS,
            resident_mb=[rows[0]["resident_mb"], max(row["resident_mb"] for row in rows), rows[-1]["resident_mb"]],
        )


DAMAGED_EVERY_MS = 5.0


def damaged_messages(seconds: float = 120, encoding: str = "evt3") -> int:
    """Damage one message in a hundred: flipped bits, cuts, inserted bytes, random bytes, random encodings.

    Holds if the node continues, accounts for every intact message, and keeps publishing images.
    """
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        camera = this.start_camera(
            "--rate",
            RATE,
            "--seconds",
            seconds,
            "--every-ms",
            DAMAGED_EVERY_MS,
            "--damage",
            0.01,
            "--encoding",
            encoding,
        )
        rows = []

        def each() -> None:
            rows.append(sample(node))
            say(**rows[-1], images=watcher.images, malformed=watcher.counts["malformed_messages"])

        this.spin_while(camera, each, 5.0)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        unusable = counts["malformed_messages"] + counts["wrong_size_messages"]
        # A damaged message may still be readable, with other events or times.
        whole = sent["sent_events"] - counts["unplaced_events"]
        gone = counts["dropped_events"] + counts["unplaced_events"]
        held = {
            "settled": settled,
            "every message arrived": counts["messages"] == sent["sent_messages"] + sent["damaged_messages"],
            "none lost": counts["lost_messages"] == 0,
            "no whole message refused": unusable <= sent["damaged_messages"],
            "whole messages' events received": counts["received_events"] >= whole,
            "identity": accounted(counts),
            "at least 99 % used": counts["used_events"] >= 0.99 * sent["sent_events"],
            "images continue": watcher.images == counts["images"] > 0
            and counts["images"] + counts["merged_windows"] > seconds * 9,
            "no window failed": counts["failed_windows"] == counts["not_ready_windows"] == 0,
            "memory within 5 %": rows[-1]["resident_mb"] < 1.05 * rows[len(rows) // 4]["resident_mb"],
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"1 % of the messages damaged, {RATE / 1e6:g} Mev/s, {encoding}",
            held,
            parameters=PARAMETERS,
            not_used=gone,
            stamps_back=watcher.stamps_back,
            samples=[rows[len(rows) // 4], rows[-1]],
        )


CLOCK_JUMPS_PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000", "use_sim_time:=true"
JUMPS_EVERY_S = 2.0
# Successive errors of the events' clock, in seconds.
JUMPS = 0.0, 100.0, 0.0, -0.5, -3600.0, 86400.0, 0.0


def clock_jumps(seconds: float = 120) -> int:
    """Let the clock of the events, and /clock with use_sim_time, jump both ways.

    Holds if each jump starts a new stream, no event is lost, images continue, and reports carry the time of /clock.
    """
    rng = np.random.default_rng(0)
    with soak() as this:
        watcher, reports, times = this.watcher, [], [1_000_000_000]
        clock = watcher.node.create_publisher(ClockMessage, "/clock", 10)

        def tell_time() -> None:
            # Every 20th time on average, jump anywhere.
            jump = int(rng.integers(-(10**12), 10**12)) if rng.random() < 0.05 else 50_000_000
            times.append(max(0, times[-1] + jump))
            clock.publish(ClockMessage(clock=time_message(times[-1])))

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        watcher.node.create_timer(0.05, tell_time, clock=steady)
        watcher.node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda m: reports.append(m.header.stamp.sec * 10**9 + m.header.stamp.nanosec),
            100,
        )
        node = this.start_node(*CLOCK_JUMPS_PARAMETERS)
        jumps = ",".join(map(str, JUMPS))
        camera = this.start_camera(
            "--rate", RATE, "--seconds", seconds, f"--jumps={jumps}", "--jump-every", JUMPS_EVERY_S
        )
        first: list[dict[str, float]] = []

        def each() -> None:
            first.append(sample(node))
            say(**first[-1], images=watcher.images, jumps=watcher.counts["time_jumps"], gaps=watcher.counts["gaps"])

        this.spin_while(camera, each, 5.0)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        held_jumps = [JUMPS[i % len(JUMPS)] for i in range(int(np.ceil(seconds / JUMPS_EVERY_S)))]
        steps = np.diff(held_jumps) + 0.0
        back, forward = int((steps < 0).sum()), int((steps > 5).sum())
        known = set(times)
        held = {
            "settled": settled,
            "each jump begins a stream": (counts["time_jumps"], counts["gaps"]) == (back, forward),
            "every event used": sent["sent_events"] == counts["received_events"] == counts["used_events"],
            "identity": accounted(counts),
            "images continue": watcher.images == counts["images"] > 0
            and counts["images"] + counts["merged_windows"] > seconds * 9,
            "images' stamps go back only where the events do": watcher.stamps_back == back,
            "reports have the time of /clock": len(reports) > seconds / 2 and set(reports) - {0} <= known,
            "memory within 5 %": first[-1]["resident_mb"] < 1.05 * first[len(first) // 4]["resident_mb"],
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"events' clock jumps every {JUMPS_EVERY_S:g} s by up to 24 h, /clock by up to 1000 s, both ways",
            held,
            parameters=CLOCK_JUMPS_PARAMETERS,
            jumps_back_and_forward=[back, forward],
            counted_back_and_forward=[counts["time_jumps"], counts["gaps"]],
            stamps_back=watcher.stamps_back,
            reports=len(reports),
            samples=[first[len(first) // 4], first[-1]],
        )


CAMERA_EVERY_MS = 10
CAMERA_KILLED_SEEN = 3  # images per camera


def camera_killed(times: int = 100) -> int:
    """Kill the camera with SIGKILL and restart it, many times.

    Holds if images come from every camera, every received event is accounted for, and nothing grows.
    """
    rng = np.random.default_rng(0)
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        first = sample(node)
        for i in range(times):
            camera = this.start_camera("--rate", RATE, "--every-ms", CAMERA_EVERY_MS)
            images = watcher.images
            if not watcher.until(lambda images=images: watcher.images >= images + CAMERA_KILLED_SEEN):
                raise RuntimeError(f"no images of camera {i}: {watcher.counts}\n{camera.err}\n{node.err[-2000:]}")
            watcher.spin(rng.random() / 2)
            camera.stop(signal.SIGKILL)
            this.processes.remove(camera)
            if i == times // 10:
                first = sample(node)
            if i % 10 == 9:
                say(cameras=i + 1, **sample(node), images=watcher.images, sent=this.sent()["sent_events"])
        settled = watcher.settled()
        last, counts, sent = sample(node), watcher.counts, this.sent()
        held = {
            "settled": settled,
            "images from every camera": watcher.images >= CAMERA_KILLED_SEEN * times,
            "images' stamps always increase": watcher.stamps_back == 0,
            "identity": accounted(counts),
            # A killed camera may have had a message in flight.
            "at most 2 messages per camera are missing": sent["sent_events"] - counts["received_events"]
            <= 2 * times * RATE * CAMERA_EVERY_MS / 1000 * 3
            and sent["sent_messages"] - counts["messages"] <= 2 * times,
            "at most as many as were sent": counts["received_events"] <= sent["begun_events"],
            "nothing dropped": counts["received_events"] == counts["used_events"],
            "memory within 5 %": last["resident_mb"] < 1.05 * first["resident_mb"],
            "threads and open files as they were": last["threads"] <= first["threads"]
            and last["open_files"] <= first["open_files"],
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"camera killed (SIGKILL) and started again {times} times, {RATE / 1e6:g} Mev/s",
            held,
            parameters=PARAMETERS,
            node_messages=counts["messages"],
            held_back=sent["sent_events"] - counts["received_events"],
            first_and_last=[first, last],
        )


NODE_KILLED_SEEN = 5  # images per node


def node_killed(times: int = 20) -> int:
    """Kill the node with SIGKILL and restart it, many times, while a recording plays in a loop.

    Uses config/fastdds_large_messages.xml: a killed reader keeps its share of the writer's shared memory (Fast DDS
    #5469), and the default segment of 512 KB is exhausted after five. Holds if each node makes images and accounts for
    every event, and player and image subscriber do not grow.
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
            images = watcher.images
            if not watcher.until(lambda images=images: watcher.images >= images + NODE_KILLED_SEEN):
                raise RuntimeError(f"no images of node {i}: {watcher.counts}\n{node.err[-2000:]}\n{player.err[-2000:]}")
            restart_s.append(time.monotonic() - began)
            watcher.spin(rng.random())
            all_accounted &= accounted(watcher.counts)
            rows.append(sample(player))
            if i < times:
                node.stop(signal.SIGKILL)
                this.processes.remove(node)
            say(nodes=i + 1, **rows[-1], images=watcher.images)
        played = player.popen.poll() is None
        player_code, player_said = player.stop(), player.err
        settled = watcher.settled()
        counts = watcher.counts
        half = len(rows) // 2
        held = {
            "settled": settled,
            "images from every node": watcher.images >= NODE_KILLED_SEEN * (times + 1),
            "identity, of every node": all_accounted and accounted(counts),
            "the last one lost nothing": counts["lost_messages"] == counts["dropped_events"] == 0,
            "the player continued, and ended in order": played and player_code == 0 and "Traceback" not in player_said,
            "the player's memory within 5 %": rows[-1]["resident_mb"] < 1.05 * rows[half]["resident_mb"],
            "its threads and open files as they were": rows[-1]["threads"] <= rows[half]["threads"]
            and rows[-1]["open_files"] <= rows[half]["open_files"],
            "the last node ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"node killed (SIGKILL) and started again {times} times while a recording plays in a loop",
            held,
            parameters=PARAMETERS,
            images_seen=watcher.images,
            start_to_fifth_image_s=[round(float(q), 1) for q in np.quantile(restart_s, (0.5, 1))],
            player_samples=[rows[0], rows[half], rows[-1]],
        )


RELOADS_PARAMETERS = "period:=0.1", "max_events:=1000000"


def reloads(times: int = 1000) -> int:
    """Change the weights many times while events flow, every tenth time to an invalid file.

    Holds if valid weights are loaded, invalid ones refused with a reason, no event is lost, and nothing grows.
    """
    with soak() as this:
        watcher = this.watcher
        good = [str(save_random(this.folder / f"{i}.safetensors", channels=8, iterations=2)[0]) for i in range(2)]
        bad = this.folder / "bad.safetensors"
        bad.write_bytes(b"\xff" * 4096)
        node = this.start_node(f"weights:={good[0]}", *RELOADS_PARAMETERS)
        camera = this.start_camera("--rate", RATE)
        watcher.until(lambda: watcher.images)
        taken = refused = 0
        seconds: list[float] = []
        rows: list[dict[str, float]] = []
        reasons: set[str] = set()
        for i in range(times):
            wrong = i % 10 == 9
            # Alternate, so that each is a change.
            weights = str(bad) if wrong else good[(taken + 1) % 2]
            began = time.monotonic()
            request = SetParameters.Request(parameters=[Parameter("weights", value=weights).to_parameter_msg()])
            (result,) = watcher.call(SetParameters, f"{NODE}/set_parameters", request).results
            seconds.append(time.monotonic() - began)
            images = watcher.images
            if not watcher.until(lambda images=images: watcher.images > images):
                raise RuntimeError(f"no images after reload {i}: {watcher.counts}\n{node.err[-2000:]}")
            taken += result.successful
            refused += wrong and not result.successful
            if wrong:
                reasons.add(result.reason)
            if i % 50 == 49:
                rows.append({"reloads": i + 1, **sample(node)})
                say(**rows[-1], images=watcher.images, ms=round(1000 * float(np.median(seconds[-50:]))))
        camera.stop()
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        half = len(rows) // 2
        held = {
            "settled": settled,
            "good ones taken": taken == times - times // 10,
            "bad ones refused, with the reason": refused == times // 10
            and all("bad.safetensors" in reason for reason in reasons),
            "identity": accounted(counts),
            # The camera was stopped: its last message may be in flight.
            "every event received and used": sent["sent_events"] <= counts["received_events"] <= sent["begun_events"]
            and counts["received_events"] == counts["used_events"],
            "no window failed": counts["failed_windows"] == counts["not_ready_windows"] == counts["lost_messages"] == 0,
            "images' stamps always increase": watcher.stamps_back == 0,
            "memory within 5 % from half way on": rows[-1]["resident_mb"] < 1.05 * rows[half]["resident_mb"],
            "threads and open files as they were": rows[-1]["threads"] <= rows[half]["threads"]
            and rows[-1]["open_files"] <= rows[half]["open_files"],
            "ended in order": ended_in_order(node),
        }
        return conclude(
            this,
            f"weights reloaded {times} times (each tenth: a bad file) while {RATE / 1e6:g} Mev/s flow",
            held,
            parameters=RELOADS_PARAMETERS,
            reload_ms_p50_max=[round(1000 * float(q)) for q in np.quantile(seconds, (0.5, 1))],
            reasons=sorted(reasons),
            samples=[rows[0], rows[half], rows[-1]],
        )


STUCK = """
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
            "the subscriber stayed stopped": state == "T",
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


TWO_NODES_PARAMETERS = "weights:=cista-tc-small", "period:=0.2", "max_events:=1000000", "max_queued_windows:=1000"


def two_nodes(seconds: float = 60) -> int:
    """Reconstruct one topic in two nodes, one of them in a namespace.

    Holds if both use every event and publish the same images.
    """
    with soak() as this:
        names = "", "/second"
        images: dict[str, dict[int, int]] = {name: {} for name in names}
        watcher = this.watcher
        second = Watcher(this.domain, "/second/cista_reconstruct", "second_watcher")
        try:
            for name in names:
                watcher.node.create_subscription(
                    Image,
                    f"{name}/image_raw",
                    lambda m, seen=images[name]: seen.update({stamp_of(m): zlib.crc32(m.data)}),
                    QoSProfile(depth=1000),
                )
            node = this.start_node(*TWO_NODES_PARAMETERS)
            other = this.start_node(*TWO_NODES_PARAMETERS, arguments=("-r", "__ns:=/second"), wait=False)
            second.until(lambda: second.counts.get("state") == "active")
            camera = this.start_camera("--rate", RATE, "--seconds", seconds, "--subscribers", 2)
            this.spin_while(camera, lambda: say(images=[len(seen) for seen in images.values()]), 5.0)
            # One watcher receives nothing while the other waits, so wait for the first one again.
            settled = watcher.settled() and second.settled() and watcher.settled()
            sent, both = this.sent(), (watcher.counts, second.counts)
            held = {
                "settled": settled,
                "every event used by both": all(
                    sent["sent_events"] == counts["received_events"] == counts["used_events"] for counts in both
                ),
                "identity": all(map(accounted, both)),
                "the same images": images[""] == images["/second"] and len(images[""]) == both[0]["images"] > 0,
                "both ended in order": ended_in_order(node) and ended_in_order(other),
            }
            return conclude(
                this,
                f"two nodes on one topic, {RATE / 1e6:g} Mev/s, 240x180",
                held,
                parameters=TWO_NODES_PARAMETERS,
                images_of_each=[len(seen) for seen in images.values()],
            )
        finally:
            second.close()


SCENARIOS = (
    steady, bursts, damaged_messages, clock_jumps, camera_killed, node_killed, reloads, stuck_subscriber, two_nodes
)  # fmt: skip


def main() -> int:
    """Run the scenario named on the command line."""
    scenarios = {scenario.__name__: scenario for scenario in SCENARIOS}
    if len(sys.argv) < 2 or sys.argv[1] not in scenarios:
        print(__doc__, *(inspect.getdoc(s) and f"{n}{inspect.signature(s)}" for n, s in scenarios.items()), sep="\n")
        return 2
    scenario = scenarios[sys.argv[1]]
    kinds = [type(parameter.default) for parameter in inspect.signature(scenario).parameters.values()]
    values: list[Any] = [kind(value) for kind, value in zip(kinds, sys.argv[2:], strict=False)]
    return int(scenario(*values))


if __name__ == "__main__":
    sys.exit(main())
