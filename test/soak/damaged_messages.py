"""One message in a hundred damaged (bits flipped, cut, bytes put in, random, random encodings), see damage.py:

    PYTHONPATH=test/ros:test python test/soak/damaged_messages.py [SECONDS] [ENCODING]

Held if the node goes on, every message of the camera that is whole is accounted for, and images go on coming.
"""

from __future__ import annotations

import sys

from soak import accounted, conclude, ended_in_order, sample, say, soak

PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"
RATE, EVERY_MS = 200_000, 5.0


def main(seconds: float, encoding: str) -> int:
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*PARAMETERS)
        camera = this.start_camera(
            "--rate", RATE, "--seconds", seconds, "--every-ms", EVERY_MS, "--damage", 0.01, "--encoding", encoding
        )
        rows = []

        def each() -> None:
            rows.append(sample(node))
            say(**rows[-1], images=watcher.images, malformed=watcher.counts["malformed_messages"])

        this.spin_while(camera, each, 5.0)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        unusable = counts["malformed_messages"] + counts["wrong_size_messages"]
        # Damage may be such that a message can still be read, and then tells of other events or times.
        whole = sent["sent_events"] - counts["unplaced_events"]
        gone = counts["dropped_events"] + counts["unplaced_events"]
        held = {
            "settled": settled,
            "every message came": counts["messages"] == sent["sent_messages"] + sent["damaged_messages"],
            "none lost": counts["lost_messages"] == 0,
            "no whole message refused": unusable <= sent["damaged_messages"],
            "whole messages' events received": counts["received_events"] >= whole,
            "identity": accounted(counts),
            "used, but for 1 %": counts["used_events"] >= 0.99 * sent["sent_events"],
            "images go on": watcher.images == counts["images"] > 0
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


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    sys.exit(main(float(given.get(1, 120)), given.get(2, "evt3")))
