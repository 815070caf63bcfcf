"""The node killed (SIGKILL) at any moment and started again, many times, while a recording plays in a loop:

    PYTHONPATH=test/ros:test python test/soak/node_killed.py [TIMES]

With config/fastdds_large_messages.xml: each killed reader takes the buffers that it holds of the writer's shared memory
along for good (Fast DDS #5469), and Fast DDS's own segment of 512 KB is gone after five or so.

Held if each new node makes images and accounts for every event, and the player and the subscriber of the images, which
live through it all, do not grow.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
from harness import Process, module
from soak import accounted, conclude, ended_in_order, sample, say, soak
from test_fastdds_profile import ENVIRONMENT
from traffic import SAMPLE

# No image is to wait for others: a node that has just started may have much to catch up with.
PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"
SEEN = 5  # images of each node


def main(times: int) -> int:
    rng = np.random.default_rng(0)
    os.environ.update(ENVIRONMENT)
    with soak() as this:
        watcher = this.watcher
        player = Process(module("play", str(SAMPLE), "--loop"), this.domain)
        this.processes.append(player)
        rows, all_accounted, restart_s = [], True, []
        for i in range(times + 1):
            began = time.monotonic()
            node = this.start_node(*PARAMETERS)
            images = watcher.images
            if not watcher.until(lambda images=images: watcher.images >= images + SEEN):
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
            "images from every node": watcher.images >= SEEN * (times + 1),
            "identity, of every node": all_accounted and accounted(counts),
            "the last one lost nothing": counts["lost_messages"] == counts["dropped_events"] == 0,
            "the player went on, and ended in order": played and player_code == 0 and "Traceback" not in player_said,
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


if __name__ == "__main__":
    sys.exit(main(int((sys.argv[1:] or ["20"])[0])))
