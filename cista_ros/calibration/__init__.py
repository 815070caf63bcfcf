"""Calibrate an event camera from images of a target: the lens's parameters, and a report of how well they are known."""
