"""One camera at a steady rate for long, with images subscribed:

    PYTHONPATH=test/ros:test python test/soak/steady.py [SECONDS] [EVENTS_A_SECOND] [NODE_PARAMETER:=VALUE …]

Held if no event is lost, none is unaccounted for, and neither memory, threads, open files nor latency grow.
"""

from __future__ import annotations

import sys

import numpy as np
from soak import accounted, conclude, ended_in_order, quantiles, sample, say, slope, soak

# Four images a second: a third of a core.
PARAMETERS = "weights:=cista-tc-small", "period:=0.25", "max_events:=1000000"
WARM_UP = 0.1  # of the time
EVERY_S = 10.0


def main(seconds: float, rate: float, parameters: tuple[str, ...]) -> int:
    with soak() as this:
        watcher = this.watcher
        node = this.start_node(*parameters)
        camera = this.start_camera("--rate", rate, "--seconds", seconds)
        rows: list[dict[str, float]] = []
        parts: list[list[float]] = []
        seen = 0

        def each() -> None:
            nonlocal seen
            latencies, seen = watcher.latencies[seen:], len(watcher.latencies)
            parts.append(latencies)
            hours = (len(parts)) * EVERY_S / 3600
            rows.append({"hours": round(hours, 4), **sample(node), "load": round(this.load[-1], 1)})
            told = {name: watcher.counts.get(name) for name in ("queued_windows", "merged_windows", "lost_messages")}
            say(**rows[-1], latency_ms=quantiles(latencies), sent=this.sent()["sent_events"], **told)

        this.spin_while(camera, each, EVERY_S)
        settled = watcher.settled()
        counts, sent = watcher.counts, this.sent()
        warm = rows[int(WARM_UP * len(rows)) :]
        growth = {
            name: slope([row["hours"] for row in warm], [row[name] for row in warm])
            for name in ("resident_mb", "threads", "open_files")
        }
        # p10 tells of the node; p50 and p95 of what else the machine had to do, too.
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
            parameters=parameters,
            growth_per_hour=growth,
            first_and_last=[warm[0], warm[-1]],
            resident_mb_max=max(row["resident_mb"] for row in rows),
            latency_ms_by_tenths=tenths,
            load_by_tenths=[round(float(np.median(part)), 1) for part in np.array_split(this.load, 10) if len(part)],
        )


if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [float(word) for word in words if ":=" not in word]
    seconds, rate = (*numbers, *(3600.0, 1e6)[len(numbers) :])
    sys.exit(main(seconds, rate, tuple(word for word in words if ":=" in word) or PARAMETERS))
