"""Two nodes reconstruct one topic, one of them in a namespace:

    PYTHONPATH=test/ros:test python test/soak/two_nodes.py [SECONDS]

Held if both use every event, make images of the same stamps and pixels, and both report.
"""

from __future__ import annotations

import sys
import zlib

from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from soak import Watcher, accounted, conclude, ended_in_order, say, soak, stamp_of

PARAMETERS = "weights:=cista-tc-small", "period:=0.2", "max_events:=1000000", "max_queued_windows:=1000"
RATE = 200_000


def main(seconds: float) -> int:
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
            node = this.start_node(*PARAMETERS)
            other = this.start_node(*PARAMETERS, arguments=("-r", "__ns:=/second"), wait=False)
            second.until(lambda: second.counts.get("state") == "active")
            camera = this.start_camera("--rate", RATE, "--seconds", seconds, "--subscribers", 2)
            this.spin_while(camera, lambda: say(images=[len(seen) for seen in images.values()]), 5.0)
            # Each is listened to while the other is waited for: what one heard last may be old.
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
                parameters=PARAMETERS,
                images_of_each=[len(seen) for seen in images.values()],
            )
        finally:
            second.close()


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:] or ["60"])[0])))
