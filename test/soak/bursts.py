"""Bursts of 20 Mev/s, 0.5 s in each 5, as packets of a driver (30 ms of events each, evt3) and as dvs_msgs:

    PYTHONPATH=test/ros:test python test/soak/bursts.py [SECONDS] [EVENTS_A_SECOND] [ENCODING]

Held if every event is used or dropped by the declared policy and counted, and memory is bounded. With `merge`, the
default, no event may be lost.
"""

from __future__ import annotations

import sys

from soak import accounted, conclude, ended_in_order, sample, say, soak

PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=10000000", "idle_timeout:=1.0"


def main(seconds: float, rate: float, encoding: str) -> int:
    with soak() as this:
        node = this.start_node(*PARAMETERS)
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
        # The decoder of a packet's place and time needs a first word of each.
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
            parameters=PARAMETERS,
            resident_mb=[rows[0]["resident_mb"], max(row["resident_mb"] for row in rows), rows[-1]["resident_mb"]],
        )


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    sys.exit(main(float(given.get(1, 60)), float(given.get(2, 20e6)), given.get(3, "evt3")))
