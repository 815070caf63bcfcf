"""The topics that the node publishes. Each form of an image is made only while it has subscribers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import InvalidQosOverridesError
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..reconstructor import Frame
from ..util.drawing import draw_activity, draw_events
from ..wire import cdr
from ..wire.ros_types import CameraInfoMessage, ImageMessage, Message
from .diagnostics import Warnings
from .images import ENCODERS, to_compressed
from .parameters import INFO_TOPIC, Settings
from .topics import PublisherEventCallbacks, QosError, UnsupportedEventTypeError, incompatible_qos, qos_overrides
from .worker import Job

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
        self._images = {topic: self._publisher(kind, topic) for topic, kind in IMAGES.items()}
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
        window, encoding = job.windows[-1], settings.encoding
        header = frame.stamp, settings.frame_id or window.frame_id
        if self._has_subscribers("image_raw"):
            self._send("image_raw", ImageMessage(*header, encoding, ENCODERS[encoding](frame.shown)))
        if self._has_subscribers("image_raw/compressed"):
            compression = encoding, settings.compression, settings.jpeg_quality
            self._send("image_raw/compressed", to_compressed(frame.shown, *compression, *header))
        if self._has_subscribers("events_image"):
            drawn = draw_events(frame.events, window.height, window.width)
            self._send("events_image", ImageMessage(*header, "bgr8", drawn))
        if self._has_subscribers("code_image"):
            activity = job.maker.code_activity()
            if activity is None:
                reason = f"{job.maker.loaded.weights} is a network without a sparse code"
                self._warnings.log("code", f"No images on {self._images['code_image'].topic_name}: {reason}")
            else:
                self._send("code_image", ImageMessage(*header, "mono8", draw_activity(activity)))
        if info and self._info:
            if (factor := job.maker.downscale) > 1:
                # In a CameraInfo a binning of 0 means 1.
                x, y = (max(1, binning) * factor for binning in info.binning)
                info = replace(info, binning=(x, y))
            self._info.publish(cdr.encode(replace(info, stamp=header[0], frame_id=header[1])))

    def _has_subscribers(self, topic: str) -> bool:
        return bool(self._images[topic].get_subscription_count())

    def _send(self, topic: str, message: Message) -> None:
        self._images[topic].publish(cdr.encode(message))

    def destroy(self) -> None:
        """Remove the topics."""
        for publisher in filter(None, (*self._images.values(), self._info)):
            self._node.destroy_publisher(publisher)

    def _info_publisher(self) -> Publisher | None:
        """Create the publisher of camera_info, or return None where its topic is the camera's own."""
        name = self._node.resolve_topic_name("camera_info")
        if name != self._node.resolve_topic_name(INFO_TOPIC):
            return self._publisher(CameraInfo, "camera_info")
        self._node.get_logger().warning(
            f"No camera_info is published with the images: {name} is the camera's own topic. Remap camera_info, or"
            " run this node in another namespace than the camera."
        )
        return None

    def _publisher(self, message_type: type, topic: str) -> Publisher:
        qos = QoSProfile(depth=10)
        name = self._node.resolve_topic_name(topic)

        def on_incompatible(event: Any) -> None:
            self._node.get_logger().warning(incompatible_qos(self._node, name, qos, event, publishing=True))

        callbacks = PublisherEventCallbacks(incompatible_qos=on_incompatible)
        try:
            return self._create(message_type, topic, qos, callbacks)
        except UnsupportedEventTypeError:
            return self._create(message_type, topic, qos, None)

    def _create(
        self, message_type: type, topic: str, qos: QoSProfile, callbacks: PublisherEventCallbacks | None
    ) -> Publisher:
        try:
            return self._node.create_publisher(
                message_type, topic, qos, event_callbacks=callbacks, qos_overriding_options=qos_overrides()
            )
        except InvalidQosOverridesError as error:
            raise QosError(f"{error}; see qos_overrides in docs/reference/parameters.md") from None
