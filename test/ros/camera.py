"""A camera in a process of its own: python camera.py MESSAGES EVENTS_EACH RATE [RELIABILITY].

Prints how many messages it published.

Like a driver it sends on its own time, whether or not anybody keeps up.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import rclpy
from dvs_msgs.msg import EventArray
from harness import cut, stream
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from cista_ros.wire import cdr


def main(messages: int, events: int, rate: float, reliability: str) -> None:
    rclpy.init()
    node = rclpy.create_node("camera")
    qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy[reliability])
    publisher = node.create_publisher(EventArray, "/dvs/events", qos)
    (message,) = cut(stream(events, 0.99 / rate, 180, 240), 1000, 180, 240)
    while not publisher.get_subscription_count():
        time.sleep(0.02)
    step = round(1e9 / rate)
    due = time.monotonic()
    for i in range(messages):
        later = message.events.copy()
        later["t"] += i * step
        data = cdr.encode(replace(message, events=later))
        time.sleep(max(0.0, due + i / rate - time.monotonic()))
        publisher.publish(data)
    publisher.wait_for_all_acked()
    print(i + 1, flush=True)
    rclpy.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *(sys.argv[4:] or ["RELIABLE"]))
