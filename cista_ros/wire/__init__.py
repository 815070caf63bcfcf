"""Bytes of ROS messages <-> events, images and camera infos. `cdr` is ROS 2's serialization, `ros1` that of ROS 1."""

from .codec import Codec, cdr, ros1

__all__ = ["Codec", "cdr", "ros1"]
