"""The weights changed while events flow, many times, each tenth time to a file that is none:

    PYTHONPATH=test/ros:test python test/soak/reloads.py [TIMES]

With two small networks (8 channels, 2 iterations), so that it is the reloading that takes the time. After each an image
is waited for. Held if the good ones are taken, the bad ones refused with the reason, no event is lost, and nothing
grows.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from harness import save_random
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from soak import NODE, accounted, conclude, ended_in_order, sample, say, soak

RATE = 200_000
PARAMETERS = "period:=0.1", "max_events:=1000000"


def main(times: int) -> int:
    with soak() as this:
        watcher = this.watcher
        good = [str(save_random(this.folder / f"{i}.safetensors", channels=8, iterations=2)[0]) for i in range(2)]
        bad = this.folder / "bad.safetensors"
        bad.write_bytes(b"\xff" * 4096)
        node = this.start_node(f"weights:={good[0]}", *PARAMETERS)
        camera = this.start_camera("--rate", RATE)
        watcher.until(lambda: watcher.images)
        taken = refused = 0
        seconds: list[float] = []
        rows: list[dict[str, float]] = []
        reasons: set[str] = set()
        for i in range(times):
            wrong = i % 10 == 9
            # In turn, so that each is a change.
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
            # The camera was told to end: its last message may be under way.
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
            parameters=PARAMETERS,
            reload_ms_p50_max=[round(1000 * float(q)) for q in np.quantile(seconds, (0.5, 1))],
            reasons=sorted(reasons),
            samples=[rows[0], rows[half], rows[-1]],
        )


if __name__ == "__main__":
    sys.exit(main(int((sys.argv[1:] or ["1000"])[0])))
