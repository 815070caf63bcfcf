"""The topics that the node publishes. Each form of an image is made only while it has subscribers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..reconstructor import Frame
from ..util.drawing import draw_activity, draw_events
from ..wire import cdr
from ..wire.ros_types import CameraInfoMessage, ImageMessage, Message
from .diagnostics import Warnings
from .images import ENCODERS, to_compressed
from .parameters import INFO_TOPIC, Settings
from .topics import create_publisher
from .worker import Job

DEPTH = 10
IMAGES = {
    "image_raw": Image,
    "image_raw/compressed": CompressedImage,
    "events_image": Image,
    "code_image": Image,
}


class Outputs:
    """Publishers of an image's forms and of its camera_info.

    No camera_info is published on the topic that the camera's own comes from.

    Args:
        node: the node that publishes.
        warnings: logs why a subscriber receives nothing.
    Raises:
        QosError: invalid qos_overrides.
    """

    def __init__(self, node: Node, warnings: Warnings) -> None:
        self._node, self._warnings = node, warnings
        self._images = {topic: create_publisher(node, kind, topic, DEPTH) for topic, kind in IMAGES.items()}
        self._info = self._info_publisher()

    @property
    def topic_name(self) -> str:
        """The images' resolved topic."""
        return str(self._images["image_raw"].topic_name)

    @property
    def wanted(self) -> bool:
        """Whether images of any form have subscribers."""
        return any(publisher.get_subscription_count() for publisher in self._images.values())

    def publish(self, frame: Frame, job: Job, settings: Settings, info: CameraInfoMessage | None) -> None:
        """Publish a frame and, if `info` is set, its camera_info, with the image's binning.

        Args:
            frame: the last frame of job.maker.
            job: its windows.
        """
        window, encoding, shown = job.windows[-1], settings.encoding, frame.shown
        header = frame.stamp, settings.frame_id or window.frame_id
        compression = encoding, settings.compression, settings.jpeg_quality
        forms: dict[str, Callable[[], Message | None]] = {
            "image_raw": lambda: ImageMessage(*header, encoding, ENCODERS[encoding](shown)),
            "image_raw/compressed": lambda: to_compressed(shown, *compression, *header),
            "events_image": lambda: ImageMessage(
                *header, "bgr8", draw_events(frame.events, window.height, window.width)
            ),
            "code_image": lambda: self._code_image(job, *header),
        }
        for topic, make in forms.items():
            if self._images[topic].get_subscription_count() and (message := make()):
                self._images[topic].publish(cdr.encode(message))
        if info and self._info:
            if (factor := job.maker.settings.downscale) > 1:
                # In a CameraInfo a binning of 0 means 1.
                x, y = (max(1, binning) * factor for binning in info.binning)
                info = replace(info, binning=(x, y))
            self._info.publish(cdr.encode(replace(info, stamp=header[0], frame_id=header[1])))

    def _code_image(self, job: Job, stamp: int, frame_id: str) -> ImageMessage | None:
        if (activity := job.maker.code_activity()) is not None:
            return ImageMessage(stamp, frame_id, "mono8", draw_activity(activity))
        reason = f"{job.maker.loaded.weights} is a network without a sparse code"
        self._warnings.log("code", f"No images on {self._images['code_image'].topic_name}: {reason}")
        return None

    def destroy(self) -> None:
        """Remove the topics."""
        for publisher in filter(None, (*self._images.values(), self._info)):
            self._node.destroy_publisher(publisher)

    def _info_publisher(self) -> Publisher | None:
        """Create the publisher of camera_info, or return None where its topic is the camera's own."""
        name = self._node.resolve_topic_name("camera_info")
        if name != self._node.resolve_topic_name(INFO_TOPIC):
            return create_publisher(self._node, CameraInfo, "camera_info", DEPTH)
        self._node.get_logger().warning(
            f"No camera_info is published with the images: {name} is the camera's own topic. Remap camera_info, or"
            " run this node in another namespace than the camera."
        )
        return None
