"""Run a network of your own in the pipeline: here, one that adds up events, with a leak and no learned weights.

python examples/own_network.py [RECORDING]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import cista_ros
from cista_ros.event_filter import EventFilter
from cista_ros.networks import Conventions, Network
from cista_ros.pipeline import choose_windows, reconstruct_recording
from cista_ros.window_maker import WindowMaker

SAMPLE = Path(cista_ros.__file__).parent / "samples" / "landscape.bag"


@dataclass(frozen=True)
class LeakyConfig:
    bins: int = 5
    leak: float = 0.1
    contrast: float = 0.2


class Leaky(Network):
    """Integrates polarity: a log image that fades to grey."""

    name = "leaky"

    def __init__(self, config: LeakyConfig) -> None:
        super().__init__()
        self.config = config
        self.conventions = Conventions(normalise=False)  # raw voxel grids

    def forward(self, voxel: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image (N, 1, H, W) in [0, 1] of voxel grids (N, B, H, W), and the state for the next call."""
        before = torch.zeros_like(voxel[:, :1]) if state is None else state
        state = (1 - self.config.leak) * before + self.config.contrast * voxel.sum(1, keepdim=True)
        return torch.sigmoid(state), state


def main(path: str = str(SAMPLE)) -> None:
    with cista_ros.open_recording(path) as recording:
        height, width = recording.height, recording.width
        _, make_windower, _ = choose_windows(recording, "period", period=0.02)
        windows = WindowMaker(EventFilter(height, width), make_windower)
        reconstructor = cista_ros.Reconstructor(
            Leaky(LeakyConfig()), height, width, "cpu", windows=windows, runtime="eager"
        )
        for frame in reconstruct_recording(recording, reconstructor, end=0.3):
            print(f"{frame.stamp / 1e9:.3f} s: mean {frame.image.mean():.3f}, contrast {frame.shown.std():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
