"""The camera's process killed (SIGKILL) at any moment and started again, many times:

    PYTHONPATH=test/ros:test python test/soak/camera_killed.py [TIMES]

Held if images come from every one of them, everything that reached the node is accounted for, what did not is at most
what a process that dies holds back, and nothing grows.
"""

from __future__ import annotations

import signal
import sys

import numpy as np
from soak import accounted, conclude, ended_in_order, sample, say, soak

PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"
RATE, EVERY_MS = 200_000, 10
SEEN = 3  # images of each camera


def main(times: int) -> int:
    rng = np.random.default_rng(0)
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        first = None
        for i in range(times):
            camera = this.start_camera("--rate", RATE, "--every-ms", EVERY_MS)
            images = watcher.images
            if not watcher.until(lambda images=images: watcher.images >= images + SEEN):
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
            "images from every camera": watcher.images >= SEEN * times,
            "images' stamps always increase": watcher.stamps_back == 0,
            "identity": accounted(counts),
            # One message may have been in each one's hands.
            "what did not arrive: at most 2 messages a camera": sent["sent_events"] - counts["received_events"]
            <= 2 * times * RATE * EVERY_MS / 1000 * 3
            and sent["sent_messages"] - counts["messages"] <= 2 * times,
            "no more than was sent": counts["received_events"] <= sent["begun_events"],
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


if __name__ == "__main__":
    sys.exit(main(int((sys.argv[1:] or ["100"])[0])))
