"""Bytes of ROS messages <-> events, images and camera infos: `cdr` for ROS 2, `ros1` for ROS 1 bags."""
