"""The node `cista_calibrate`: calibrates an event camera from reconstructions while the user moves a target."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ..calibration.report import in_words, summary_of
from ..calibration.solve import MODELS, calibrate, missing
from ..calibration.targets import parse_target
from ..calibration.views import Schedule, Search, View
from ..calibration.write import write_calibration
from ..errors import CistaError, DecodeError
from ..wire import cdr
from ..wire.ros_types import IMAGE, ImageMessage
from .diagnostics import Warnings

CELLS = 4, 3  # columns and rows of the image that corners should reach
SHOWN_SIDE = 640  # least width of the coverage image
PARAMETERS: dict[str, tuple[Any, str]] = {
    "target": ("", "Calibration target, as for `cista calibrate`, such as checkerboard:9x6:0.03."),
    "output": ("calibration", "Folder for camera_info.yaml, camchain.yaml and report.html."),
    "model": ("plumb_bob", "Lens model: plumb_bob, rational_polynomial or equidistant."),
    "camera_name": ("event_camera", "Name of the camera in camera_info.yaml."),
    "search_rate": (10.0, "Images per second of image time that are searched for the target."),
    "queue": (1, "Images that may wait to be searched; the oldest is dropped."),
    "node": ("cista_reconstruct", "Node whose camera_info_url is set to the result. Empty: none."),
}


class Calibrator(Node):
    """Searches the images on `image_raw` for the target, shows on `coverage` what it found, and calibrates on request.

    The service `~/calibrate` (std_srvs/Trigger) first waits until waiting images have been searched.

    Raises:
        CistaError: a parameter that is not a target, a lens model or a rate.
    """

    def __init__(self) -> None:
        super().__init__("cista_calibrate")
        self._values = {
            name: self.declare_parameter(name, default, ParameterDescriptor(description=text, read_only=True)).value
            for name, (default, text) in PARAMETERS.items()
        }
        if (model := self._values["model"]) not in MODELS:
            raise CistaError(f"model {model!r}: expected {', '.join(MODELS)}")
        if not (rate := self._values["search_rate"]) > 0:
            raise CistaError(f"search_rate {rate:g}: expected more than 0")
        self._search, self._is_due = Search(parse_target(self._values["target"])), Schedule(rate)
        self._warnings = Warnings(self.get_logger().warning)
        self._waiting: deque[ImageMessage] = deque()
        self._changed, self._lock = threading.Condition(), threading.Lock()
        self._busy = self._closed = False
        self._coverage = self.create_publisher(Image, "coverage", 1)
        self._settings_client: Client = self.create_client(
            SetParameters, f"{self._values['node'] or 'none'}/set_parameters"
        )
        self.create_service(Trigger, "~/calibrate", self._on_calibrate)
        self.create_subscription(Image, "image_raw", self._on_image, 100, raw=True)
        self._thread = threading.Thread(target=self._work, name="search")
        self._thread.start()

    def close(self) -> None:
        """End the thread that searches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _on_image(self, data: bytes) -> None:
        """Queue an image if the next one is due."""
        try:
            message: ImageMessage = cdr.decode(IMAGE, data)
        except DecodeError as error:
            self._warnings.add("image", f"Skipped an image: {error}")
            return
        if not self._is_due(message.stamp):
            return
        with self._changed:
            self._waiting.append(message)
            while len(self._waiting) > max(1, self._values["queue"]):
                self._waiting.popleft()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                message = self._waiting.popleft()
                self._busy = True
            try:
                self._look(message)
            except Exception as error:  # another size, channels that are not a colour, or OpenCV's; the node continues
                self._warnings.add("size", f"{error}; views so far are dropped")
                with self._lock:
                    self._search = Search(self._search.target)

    def _look(self, message: ImageMessage) -> None:
        grey = message.grey8()
        with self._lock:
            view = self._search.look(message.stamp, grey)
        if self._coverage.get_subscription_count():
            shown = draw_coverage(grey, self._search, view)
            self._coverage.publish(cdr.encode(ImageMessage(message.stamp, message.frame_id, "bgr8", shown)))

    def _on_calibrate(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Calibrate from the views so far, write the files, and let the reconstruction node publish the result."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._busy) or self._closed)
        try:
            path, text = self._write()
        except (CistaError, OSError) as error:
            response.message = str(error)
            self.get_logger().error(f"No calibration: {error}")
            return response
        response.success = True
        if name := self._values["node"]:
            if self._settings_client.wait_for_service(timeout_sec=5.0):
                url = Parameter("camera_info_url", value=f"file://{path.resolve()}").to_parameter_msg()
                future = self._settings_client.call_async(SetParameters.Request(parameters=[url]))
                future.add_done_callback(self._on_set)
                text += f"; {name} is asked to publish it"
            else:
                text += f"; no node {name} to publish it"
        response.message = text
        self.get_logger().info(text)
        return response

    def _on_set(self, future: Future) -> None:
        answer = future.result()
        assert answer is not None
        if (result := answer.results[0]).successful:
            self.get_logger().info(f"{self._values['node']} publishes the calibration")
        else:
            self.get_logger().error(f"{self._values['node']} does not publish the calibration: {result.reason}")

    def _write(self) -> tuple[Path, str]:
        """Solve and write the files; return the path of camera_info.yaml and a summary."""
        with self._lock:
            search, folder = self._search, Path(self._values["output"])
            search.require_views(folder / "not_found.png")
            result = calibrate(search.views, search.target, *search.shape, self._values["model"])
            lacking = missing(result)
            summary = summary_of(result, search, self.resolve_topic_name("image_raw")) | {"missing": lacking}
        notes = write_calibration(folder, result, summary, self._values["camera_name"])
        text = "; ".join([in_words(summary), f"written to {folder.resolve()}", *lacking, *notes])
        return folder / "camera_info.yaml", text


def draw_coverage(grey: np.ndarray, search: Search, view: View | None) -> np.ndarray:
    """Draw an image uint8 (H, W) with all corners so far, empty parts in red, and what is missing; bgr8 (H', W', 3).

    Args:
        view: what was found in this image.
    """
    height, width = grey.shape
    scale = max(1, -(-SHOWN_SIDE // width))
    shown = cv2.cvtColor(
        cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR
    )
    views, (columns, rows) = search.views, CELLS
    corners = np.concatenate([view.corners for view in views]) if views else np.zeros((0, 2))
    count, _, _ = np.histogram2d(corners[:, 1], corners[:, 0], (rows, columns), ((0, height), (0, width)))
    tint = cv2.resize((count == 0).astype(np.uint8), shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    shown[tint > 0] = shown[tint > 0] // 2 + np.array([0, 0, 90], np.uint8)
    for x, y in np.rint((corners + 0.5) * scale).astype(int).tolist():
        cv2.circle(shown, (x, y), 1, (0, 200, 0), -1)
    if view:
        outline = np.rint((view.outline + 0.5) * scale).astype(np.int32)
        cv2.polylines(shown, [outline], True, (0, 220, 255), 2)
    lines = [
        f"{search.target}: in {search.found} of {search.searched} images",
        *hints(views, int((count == 0).sum()), grey),
    ]
    for i, line in enumerate(lines):
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            place = 8, 20 + 20 * i
            cv2.putText(shown, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA)
    return shown


def hints(views: list[View], empty: int, grey: np.ndarray) -> Iterator[str]:
    """Yield what the user should still do; empty: number of parts of the image without corners."""
    if empty:
        yield "move the target into the red parts"
    outlines = np.array([view.outline for view in views]).reshape(-1, 4, 2)
    sides = np.linalg.norm(outlines - np.roll(outlines, 1, axis=1), axis=2)
    sizes = np.sqrt(np.ptp(outlines, axis=1).prod(1) / grey.size)
    if not (sizes > 0.5).any():
        yield "bring it closer"
    if not (sizes < 0.5).any():
        yield "move it away"
    # Of opposite sides of a tilted board, the nearer one is longer.
    ratios = np.log(sides[:, :2] / np.maximum(sides[:, 2:], 1e-6))
    if min((abs(ratio) > 0.15).sum() for ratio in ratios.T) < 3:
        yield "tilt it by 20 to 45 degrees, to all sides"
