"""Protocols: which frames of a recording are reconstructed and scored, and how both images are prepared.

Two protocols, whose numbers must not be mixed: that of the paper (ICASSP 2022, section 3, with what is left open there
taken from the code it compares with) and that of EVREAL (Ercan et al., CVPRW 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import CistaError
from ..events import NS

WARM_UP_S = 10.0  # before the scored part, EVREAL runs the network for this long
PAPER_FRAMES = 550
UNSPLIT = 1 << 62  # more events than any window has


class EvaluationError(CistaError):
    """An evaluation, or one of its sequences, is impossible."""


@dataclass(frozen=True)
class Plan:
    """The use of the frames of one recording."""

    stamps: np.ndarray  # int64 (N,), ns: the frames at which the network makes an image, in order
    first: int  # index of the first of them among all frames of the recording
    scored: np.ndarray  # bool (N,): those whose image is compared with the frame
    begin: int | None  # events up to this stamp (ns) are left out; None to begin with the recording
    note: str = ""  # what of the protocol this recording could not give


@dataclass(frozen=True)
class Protocol:
    """How images are made and compared."""

    name: str  # as printed in every table
    summary: str  # in words, what is scored and how
    metrics: tuple[str, ...]  # keys of scores, in the order of the tables; pictures are shown in the first one's view
    max_events: int | None = None  # of one network step, as Reconstructor takes it; None for the paper's limit
    empty_steps: bool = False  # a frame that no event precedes is a step on an empty grid; else the last image stays
    zero_padding: bool = False  # grids are extended by zeros to the multiple that EVREAL gives each network
    native_scaling: bool = False  # images of weights that say so are stretched between their 1st and 99th percentile
    rest: bool = False  # the rest test follows the last event (rest.py)
    # By the name of a sequence: frames scored; seconds scored; first column that counts (sensors with other pixels).
    counts: Mapping[str, int] = field(default_factory=dict)
    cuts: Mapping[str, tuple[float, float]] | None = None
    first_columns: Mapping[str, int] = field(default_factory=dict)

    @property
    def view(self) -> str:
        """The view of scores.VIEWS in which pictures are shown."""
        return self.metrics[0].partition(":")[2]

    @property
    def description(self) -> str:
        """A one-line description for tables."""
        return f"protocol {self.name}: {self.summary}; means weighted by frames"

    def mask(self, sequence: str, height: int, width: int) -> np.ndarray | None:
        """Return the pixels (H, W) of a sequence that count; None for all."""
        first = self.first_columns.get(sequence)
        return None if first is None else np.broadcast_to(np.arange(width) >= first, (height, width))

    def plan(self, sequence: str, stamps: np.ndarray, origin: int) -> Plan:
        """Choose among the frames of a recording, given their stamps, int64 (N,) ns.

        Args:
            sequence: its name; the names of the Event Camera Dataset have cuts of their own.
            origin: ns; the earlier of the first event and the first frame, where its time begins.

        EvaluationError for stamps that go back, or no frame left to score.
        """
        if (stamps[1:] < stamps[:-1]).any():
            raise EvaluationError(f"{sequence}: the stamps of its frames go back")
        seconds = (stamps - origin) / NS
        begin, note = None, ""
        if self.cuts is None:
            nominal = self.counts.get(sequence)
            wanted = "its first frames"
            chosen = np.arange(len(stamps))[: nominal or PAPER_FRAMES]
            scored = np.ones(len(chosen), bool)
            if nominal and len(chosen) < nominal:
                note = f"{len(chosen)} of the protocol's {nominal} frames"
        else:
            start, end = self.cuts.get(sequence, (0.0, np.inf))
            wanted = f"{start} s to {end} s of it" if sequence in self.cuts else "its frames but the last"
            # EVREAL never uses a recording's last frame, and gives the first one an empty grid.
            chosen = np.flatnonzero((seconds[:-1] >= start - WARM_UP_S) & (seconds[:-1] <= end))
            scored = seconds[chosen] >= start
            if len(chosen):
                begin = int(stamps[max(chosen[0] - 1, 0)])
                if np.isfinite(end) and seconds[-1] < end:
                    note = f"its frames end at {seconds[-1]:.2f} s of the protocol's {end:g} s"
        if not scored.any():
            last = seconds[-1] if len(stamps) else 0
            raise EvaluationError(
                f"{sequence}: no frame to score: {self.name} wants {wanted}, and its {len(stamps)} frames end after"
                f" {last:.2f} s"
            )
        return Plan(stamps[chosen], int(chosen[0]), scored, begin, note)


_SIX_DOF = ("boxes_6dof", "calibration", "dynamic_6dof", "poster_6dof", "shapes_6dof")

_FRAMES = f"first {PAPER_FRAMES} frames of each sequence"
_PAPER_METRICS = ("mse", "psnr", "ssim_7x7", "lpips_vgg", "lpips_squeeze_keras", "temporal")

ICASSP2022 = Protocol(
    name="icassp2022",
    summary=f"{_FRAMES}; both images stretched and histogram-equalised; SSIM 7×7 uniform; LPIPS vgg",
    metrics=tuple(f"{metric}:equalised" for metric in _PAPER_METRICS),
    counts={**dict.fromkeys(_SIX_DOF, PAPER_FRAMES), "office_zigzag": 247, "slider_depth": 84},
)
# The code that the paper's comparison builds on equalises in tiles, where the paper says no more than "equalisation".
ICASSP2022_CLAHE = replace(
    ICASSP2022,
    name="icassp2022-clahe",
    summary=f"{_FRAMES}; both images stretched and equalised in tiles (CLAHE); SSIM 7×7 uniform; LPIPS vgg",
    metrics=tuple(f"{metric}:clahe" for metric in _PAPER_METRICS),
)
EVREAL = Protocol(
    name="evreal",
    summary="time cuts of EVREAL; images as they are; SSIM Gaussian, σ 1.5, v1 with a data range of 2 and v2 of 1;"
    " LPIPS alex",
    metrics=(
        *("mse:raw", "psnr:raw", "ssim_evreal_v1:raw", "ssim_evreal_v2:raw"),
        *("lpips_alex:raw", "lpips_squeeze_keras:raw", "temporal:raw"),
    ),
    max_events=UNSPLIT,
    empty_steps=True,
    zero_padding=True,
    native_scaling=True,
    cuts={**dict.fromkeys(_SIX_DOF, (5.0, 20.0)), "office_zigzag": (5.0, 12.0), "slider_depth": (1.0, 2.5)},
)
# For choosing and reporting weights on short real clips.
REAL = Protocol(
    name="real",
    summary=f"{_FRAMES}; raw: images as they are; affine: a·image + b fitted to each frame (structure alone); equalised"
    " and clahe: both images stretched, then equalised; SSIM Gaussian, σ 1.5 (raw: that of EVREAL v2)",
    metrics=(
        *(f"{metric}:{view}" for view in ("raw", "affine", "equalised", "clahe") for metric in ("mse", "ssim")),
        "ssim_evreal_v1:raw",
    ),
    rest=True,
    # Barranco's evbench recordings (DAVIS240b): the left 20 columns of this sensor are pixels of another kind.
    first_columns={f"real_evbench_{i}": 20 for i in range(1, 10)},
)
PROTOCOLS = {protocol.name: protocol for protocol in (ICASSP2022, ICASSP2022_CLAHE, EVREAL, REAL)}
