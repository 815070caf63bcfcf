"""The ROS 2 processes: the only modules that import ROS."""
