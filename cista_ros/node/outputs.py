"""What the node publishes of its images. Each is made only while somebody subscribes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..reconstructor import Frame
from ..util.drawing import draw_activity, draw_events
from .images import pixels_message, time_message, to_compressed, to_message
from .inputs import INFO_TOPIC
from .parameters import Settings
from .qos import PublisherEventCallbacks, UnsupportedEventTypeError, unmet_subscriber

if TYPE_CHECKING:
    from .backlog import Job
    from .diagnostics import Troubles

IMAGES = {
    "image_raw": Image,
    "image_raw/compressed": CompressedImage,
    "events_image": Image,
    "code_image": Image,
}


class Outputs:
    """Publishers of an image's forms, and, where a camera_info came in (elsewhere than ours goes), of one beside it.

    Args:
        node: whose publishers these are.
        troubles: is told if there is nothing to publish for somebody who subscribes.
    """

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._node, self._troubles = node, troubles
        self._images = {topic: self._publisher(kind, topic) for topic, kind in IMAGES.items()}
        self._info = self._info_publisher()

    @property
    def topic_name(self) -> str:
        """The images' resolved topic."""
        return self._images["image_raw"].topic_name

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to images of any form."""
        return any(publisher.get_subscription_count() for publisher in self._images.values())

    def publish(
        self, picture: Frame, job: Job, settings: Settings, info: CameraInfo | None, binning: tuple[int, int]
    ) -> None:
        """A picture, what it was made of, and beside it `info`, if there is one, with this binning.

        Args:
            picture: the last that job.images made.
            job: its events, at the sensor's resolution, and its frame_id.
        """
        header = picture.stamp, job.frame_id
        if publisher := self._subscribed("image_raw"):
            publisher.publish(to_message(picture.shown, settings.encoding, *header))
        if publisher := self._subscribed("image_raw/compressed"):
            compression = settings.encoding, settings.compression, settings.jpeg_quality
            publisher.publish(to_compressed(picture.shown, *compression, *header))
        if publisher := self._subscribed("events_image"):
            drawn = draw_events(job.window.events, job.images.height, job.images.width)
            publisher.publish(pixels_message(drawn, "bgr8", *header))
        if publisher := self._subscribed("code_image"):
            activity = job.images.code_activity()
            if activity is None:
                lack = f"{settings.weights} is a network without a sparse code"
                self._troubles.tell("code", f"Nothing comes on {publisher.topic_name}: {lack}")
            else:
                publisher.publish(pixels_message(draw_activity(activity), "mono8", *header))
        if info and self._info:
            info.header.stamp, info.header.frame_id = time_message(picture.stamp), job.frame_id
            info.binning_x, info.binning_y = binning
            self._info.publish(info)

    def _info_publisher(self) -> Publisher | None:
        """None where the camera's own camera_info goes: ours would come back as the camera's, and be changed again."""
        name = self._node.resolve_topic_name("camera_info")
        if name != self._node.resolve_topic_name(INFO_TOPIC):
            return self._publisher(CameraInfo, "camera_info")
        self._node.get_logger().warning(
            f"No camera_info is published beside the images: it would go to the camera's own topic, {name}."
            " Remap camera_info, or give this node another namespace than the camera's."
        )
        return None

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
        for publisher in filter(None, (*self._images.values(), self._info)):
            self._node.destroy_publisher(publisher)

    def _subscribed(self, topic: str) -> Publisher | None:
        """The publisher of a topic, if somebody listens."""
        publisher = self._images[topic]
        return publisher if publisher.get_subscription_count() else None
