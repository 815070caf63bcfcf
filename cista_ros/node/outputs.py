"""What the node publishes of its images."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from ..pipeline import Picture
from .images import to_message


class Outputs:
    """Publishers of image_raw and, where a camera_info came in, of one beside each image."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._image = node.create_publisher(Image, "image_raw", 10)
        self._info = node.create_publisher(CameraInfo, "camera_info", 10)

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

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in (self._image, self._info):
            self._node.destroy_publisher(publisher)
