"""Exchange one message between a publisher and a subscriber of this process, for `cista doctor`.

`python -m cista_ros.node.self_test` prints "received" or "lost", then the middleware.
"""

from __future__ import annotations

import time

import rclpy
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import String

TIMEOUT_S = 20


def main() -> None:
    """Publish until the message arrives, for at most TIMEOUT_S."""
    rclpy.init()
    node = rclpy.create_node("cista_doctor")
    seen: list[String] = []
    node.create_subscription(String, "cista_doctor", seen.append, 1)
    publisher = node.create_publisher(String, "cista_doctor", 1)
    end = time.monotonic() + TIMEOUT_S
    while not seen and time.monotonic() < end:
        publisher.publish(String(data="hello"))
        rclpy.spin_once(node, timeout_sec=0.1)
    print("received" if seen else "lost", get_rmw_implementation_identifier())


if __name__ == "__main__":
    main()
