"""The node through its life cycle many times, with images each time:

    PYTHONPATH=test/ros:test python test/soak/lifecycle.py [TIMES] [WEIGHTS]

Prints a JSON line each ten rounds: threads, resident MiB, subscriptions and publishers of the node. Ends with code 1 if
any of them grew after the first ten rounds (memory: by more than 5 %).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from harness import Client, offline, save_random, stream
from test_node_lifecycle import FAST, cycle, start

from cista_ros.networks import load_network
from cista_ros.node.process import free_domain


def main(times: int, weights: str | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path, network = (
            (weights, load_network(weights))
            if weights
            else save_random(Path(folder) / "small.safetensors", channels=8, iterations=2)
        )
        client = Client(free_domain())
        try:
            process = start(client, "autostart:=false", f"weights:={path}", *FAST)
            expected, began, rows = offline(network, stream()), time.monotonic(), []
            for i in range(1, times + 1):
                cycle(client, expected)
                if i % 10 == 0:
                    ours = ("cista_reconstruct", "/")
                    rows.append(
                        {
                            "rounds": i,
                            "seconds": round(time.monotonic() - began, 1),
                            "threads": process.threads(),
                            "resident_mb": round(process.resident_mb(), 1),
                            "subscriptions": len(client.node.get_subscriber_names_and_types_by_node(*ours)),
                            "publishers": len(client.node.get_publisher_names_and_types_by_node(*ours)),
                            "open_files": len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir())),
                        }
                    )
                    print(json.dumps(rows[-1]), flush=True)
            assert process.stop() == 0, process.err
        finally:
            client.close()
    first, last = rows[0], rows[-1]
    same = all(last[name] <= first[name] for name in ("threads", "subscriptions", "publishers", "open_files"))
    return int(not (same and last["resident_mb"] <= 1.05 * first["resident_mb"]))


if __name__ == "__main__":
    sys.exit(main(int((sys.argv[1:] or ["100"])[0]), (sys.argv[2:] or [None])[0]))
