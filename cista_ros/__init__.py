"""cista_ros: ordinary video from event cameras, by the CISTA-TC network, with and without ROS 2."""

__version__ = "0.1.0"
