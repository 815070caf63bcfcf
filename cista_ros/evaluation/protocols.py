"""Which frames of a recording are reconstructed and scored, and what is done to both images first.

Two protocols, whose numbers must not be mixed: that of the paper (ICASSP 2022, section 3, with what is left open there
taken from the code it compares with) and that of EVREAL (Ercan et al., CVPRW 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import CistaError
from ..events import NS

WARM_UP_S = 10.0  # before the scored part, EVREAL runs the network for this long
PAPER_FRAMES = 550
UNSPLIT = 1 << 62  # events: more than any window has


class EvaluationError(CistaError):
    """Something that makes an evaluation, or one of its sequences, impossible."""


@dataclass(frozen=True)
class Plan:
    """What is done with the frames of one recording.

    Attributes:
        stamps: int64 (N,), ns: the frames at which the network makes an image, in order.
        first: index of the first of them among all frames of the recording.
        scored: bool (N,): those whose image is compared with the frame.
        begin: events up to this stamp (ns) are left out; None to begin with the recording.
        note: what of the protocol this recording could not give; empty if nothing.
    """

    stamps: np.ndarray
    first: int
    scored: np.ndarray
    begin: int | None
    note: str = ""


@dataclass(frozen=True)
class Protocol:
    """How images are made and compared.

    Attributes:
        name: as printed in every table.
        tone_map: of both images, before they are compared.
        gaussian_ssim: SSIM under a Gaussian (sigma 1.5, no sample covariance), else under a 7x7 uniform window.
        lpips: LPIPS's network, alex or vgg.
        max_events: of one network step, as Reconstructor takes it; None for the paper's limit.
        empty_steps: a frame that no event precedes is a network step on an empty grid; else the last image stands.
        zero_padding: grids are extended by zeros to the multiple that EVREAL gives each network.
        native_scaling: images of weights that say so are stretched between their 1st and 99th percentile.
        counts: frames scored of sequences of that name.
        cuts: seconds of sequences of that name that are scored.
    """

    name: str
    tone_map: str
    gaussian_ssim: bool
    lpips: str
    max_events: int | None
    empty_steps: bool
    zero_padding: bool
    native_scaling: bool
    counts: Mapping[str, int] | None = None
    cuts: Mapping[str, tuple[float, float]] | None = None

    @property
    def description(self) -> str:
        """One line that says what numbers of this protocol mean."""
        images = {"none": "images as they are", "equalise": "both images stretched and histogram-equalised"}
        ssim = "Gaussian, σ 1.5" if self.gaussian_ssim else "7×7 uniform"
        frames = "time cuts of EVREAL" if self.cuts else f"first {PAPER_FRAMES} frames of each sequence"
        return (
            f"protocol {self.name}: {frames}; {images.get(self.tone_map, f'both images by {self.tone_map}')}; "
            f"SSIM {ssim}; LPIPS {self.lpips}; means weighted by frames"
        )

    def plan(self, sequence: str, stamps: np.ndarray, origin: int) -> Plan:
        """Choose among the frames of a recording.

        Args:
            sequence: its name; the names of the Event Camera Dataset have cuts of their own.
            stamps: int64 (N,), ns, of all its frames.
            origin: ns; the earlier of the first event and the first frame, where its time begins.
        Raises:
            EvaluationError: stamps that go back, or no frame left to score.
        """
        if (stamps[1:] < stamps[:-1]).any():
            raise EvaluationError(f"{sequence}: the stamps of its frames go back")
        plan = self._first_frames(sequence, stamps) if self.cuts is None else self._cut(sequence, stamps, origin)
        if not plan.scored.any():
            seconds = (stamps[-1] - origin) / NS if len(stamps) else 0
            raise EvaluationError(
                f"{sequence}: no frame to score: {self.name} wants {self._wanted(sequence)},"
                f" and its {len(stamps)} frames end after {seconds:.2f} s"
            )
        return plan

    def _wanted(self, sequence: str) -> str:
        if self.cuts is not None and sequence in self.cuts:
            return "{} s to {} s of it".format(*self.cuts[sequence])
        return "its frames but the last" if self.cuts is not None else "its first frames"

    def _first_frames(self, sequence: str, stamps: np.ndarray) -> Plan:
        nominal = (self.counts or {}).get(sequence)
        chosen = stamps[: nominal or PAPER_FRAMES]
        note = f"{len(chosen)} of the protocol's {nominal} frames" if nominal and len(chosen) < nominal else ""
        return Plan(chosen, 0, np.ones(len(chosen), bool), None, note)

    def _cut(self, sequence: str, stamps: np.ndarray, origin: int) -> Plan:
        seconds = (stamps - origin) / NS
        start, end = (self.cuts or {}).get(sequence, (0.0, np.inf))
        # EVREAL never uses a recording's last frame, and gives the first one an empty grid.
        usable = np.flatnonzero((seconds[:-1] >= start - WARM_UP_S) & (seconds[:-1] <= end))
        if not len(usable):
            return Plan(stamps[:0], 0, np.zeros(0, bool), None)
        first = int(usable[0])
        chosen = stamps[usable]
        scored = seconds[usable] >= start
        note = ""
        if np.isfinite(end) and seconds[-1] < end:
            note = f"its frames end at {seconds[-1]:.2f} s of the protocol's {end:g} s"
        return Plan(chosen, first, scored, int(stamps[max(first - 1, 0)]), note)


_SIX_DOF = ("boxes_6dof", "calibration", "dynamic_6dof", "poster_6dof", "shapes_6dof")
ECD_SEQUENCES = (
    "poster_6dof", "boxes_6dof", "calibration", "shapes_6dof", "slider_depth", "dynamic_6dof", "office_zigzag",
)  # fmt: skip

ICASSP2022 = Protocol(
    name="icassp2022",
    tone_map="equalise",
    gaussian_ssim=False,
    lpips="vgg",
    max_events=None,
    empty_steps=False,
    zero_padding=False,
    native_scaling=False,
    counts={**dict.fromkeys(_SIX_DOF, PAPER_FRAMES), "office_zigzag": 247, "slider_depth": 84},
)
EVREAL = Protocol(
    name="evreal",
    tone_map="none",
    gaussian_ssim=True,
    lpips="alex",
    max_events=UNSPLIT,
    empty_steps=True,
    zero_padding=True,
    native_scaling=True,
    cuts={**dict.fromkeys(_SIX_DOF, (5.0, 20.0)), "office_zigzag": (5.0, 12.0), "slider_depth": (1.0, 2.5)},
)
# The code that the paper's comparison builds on equalises in tiles, where the paper says no more than "equalisation".
ICASSP2022_CLAHE = replace(ICASSP2022, name="icassp2022-clahe", tone_map="clahe")
PROTOCOLS = {protocol.name: protocol for protocol in (ICASSP2022, ICASSP2022_CLAHE, EVREAL)}
