"""What the node publishes of its images."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from ..pipeline import Picture
from .images import to_message
from .qos import PublisherEventCallbacks, UnsupportedEventTypeError, unmet_subscriber


class Outputs:
    """Publishers of image_raw and, where a camera_info came in, of one beside each image."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._image = self._publisher(Image, "image_raw")
        self._info = self._publisher(CameraInfo, "camera_info")

    @property
    def topic_name(self) -> str:
        """The images' resolved topic."""
        return self._image.topic_name

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to images."""
        return self._image.get_subscription_count() > 0

    def publish(
        self, picture: Picture, encoding: str, frame_id: str, info: CameraInfo | None, binning: tuple[int, int]
    ) -> None:
        """A picture, encoded as one of images.ENCODERS, and beside it `info`, if there is one, with this binning."""
        image = to_message(picture.shown, encoding, picture.stamp, frame_id)
        self._image.publish(image)
        if info:
            info.header = image.header
            info.binning_x, info.binning_y = binning
            self._info.publish(info)

    def _publisher(self, message_type: type, topic: str) -> Publisher:
        qos = QoSProfile(depth=10)
        name = self._node.resolve_topic_name(topic)

        def on_incompatible(event: Any) -> None:
            self._node.get_logger().warning(unmet_subscriber(self._node, name, qos, event))

        callbacks = PublisherEventCallbacks(incompatible_qos=on_incompatible)
        try:
            return self._node.create_publisher(message_type, topic, qos, event_callbacks=callbacks)
        except UnsupportedEventTypeError:
            return self._node.create_publisher(message_type, topic, qos)

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in (self._image, self._info):
            self._node.destroy_publisher(publisher)
