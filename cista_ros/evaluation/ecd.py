"""The Event Camera Dataset (Mueggler et al., IJRR 36, 2017): its sequences and where its authors offer them.

The dataset is not part of this package and is for non-commercial use: CC BY-NC-SA 3.0, rpg.ifi.uzh.ch/davis_data.html
(known from what others quote of that page).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..download import SCHEMES, Checksum, Progress, download
from .protocols import ECD_SEQUENCES, EvaluationError

BASE = "https://rpg.ifi.uzh.ch/datasets/davis/"
PAGE = "https://rpg.ifi.uzh.ch/davis_data.html"
LICENCE = "CC BY-NC-SA 3.0"

# MD5 of the bags as the library tonic publishes them. Of the text archives nobody has published any.
_BAGS_MD5 = {
    "boxes_6dof": "c919cebc25e564935abfc0a3954bf016",
    "boxes_rotation": "1ec1ef4f354ce1908ed091703c1f98d0",
    "boxes_translation": "4fd11a69015022c72b375a4d000ee8cd",
    "calibration": "6e67817c7b6d2e95ca5796e89d219bac",
    "dynamic_6dof": "16e8cb3b151da15ff1fe6019b517e695",
    "dynamic_rotation": "77a2b0a87582e10e702365a38dc0c93c",
    "dynamic_translation": "2db36fd0c2945cbace48735f0416c506",
    "hdr_boxes": "67661ed4b472189432e35e8849faf200",
    "hdr_poster": "b59e37b616a3eda81184183b12b0dce5",
    "office_spiral": "60fe934450c558aff90ff5ba6b370a05",
    "office_zigzag": "3eba8fc8f42adbfd394b630852ce1f78",
    "outdoors_running": "7db2de811cb22b71fa34abd4ab1bba6b",
    "outdoors_walking": "2ef9b03c87d3c565d30211b7dcfaabc5",
    "poster_6dof": "e42ef11f523a52f11921cdb4a0fca231",
    "poster_rotation": "abcd843a894546775e5dda3560979edf",
    "poster_translation": "bb6736c56ff38f07cbe72613b72d25ed",
    "shapes_6dof": "9b9495ace2dd82881bcc5c0620dd595f",
    "shapes_rotation": "ee436cfe74b545fa25a2534f3ef021df",
    "shapes_translation": "2a805ba32671b237e4e13c023f276be9",
    "slider_close": "9426bbb70334c7b849dd5dd38eb7f2a9",
    "slider_depth": "b38a7a373f170f4b6aeca4f36e06f71a",
    "slider_far": "0f341da6aec0fd1801129e3d3a9981fa",
    "slider_hdr_close": "34cc10dd212ca1fddd3a8584046d5d1c",
    "slider_hdr_far": "c310f4f2d62cdf7b8d1c0a49315fb253",
    "urban": "c22db0b3ecbcbba8d282b0d8c3393851",
}


@dataclass(frozen=True)
class EcdSequence:
    """A sequence of the dataset; `evaluated`: it is one of the seven of the paper's Table 1."""

    name: str
    evaluated: bool

    def file(self, text: bool) -> str:
        """Its file's name: the ROS 1 bag, or the archive of the text layout."""
        return f"{self.name}.{'zip' if text else 'bag'}"

    def address(self, text: bool) -> str:
        """Its public address."""
        return BASE + self.file(text)

    def checksum(self, text: bool) -> Checksum | None:
        """What its bag must hash to; None for the archive, whose own CRCs are checked as it is read."""
        return None if text else Checksum("md5", _BAGS_MD5[self.name])


SEQUENCES = {name: EcdSequence(name, name in ECD_SEQUENCES) for name in _BAGS_MD5}


def choose_sequences(names: Iterable[str]) -> list[EcdSequence]:
    """Sequences by name; `paper` stands for the seven of Table 1, `all` for all. EvaluationError for other names."""
    chosen: dict[str, EcdSequence] = {}
    for name in names:
        groups = {"paper": ECD_SEQUENCES, "all": SEQUENCES}
        for one in groups.get(name, [name]):
            if one not in SEQUENCES:
                raise EvaluationError(
                    f"the dataset has no sequence {one!r}; it has {', '.join(SEQUENCES)}; or say paper, or all"
                )
            chosen[one] = SEQUENCES[one]
    return list(chosen.values())


def fetch_sequence(
    sequence: EcdSequence,
    folder: Path,
    text: bool = False,
    progress: Progress | None = None,
    base: str = BASE,
    schemes: frozenset[str] = SCHEMES,
) -> Path:
    """Fetch a sequence into a folder, unless it is there whole; returns its file. DownloadError as `download` says.

    base, schemes: another place, for mirrors and tests.
    """
    address = base + sequence.file(text)
    return download(address, folder / sequence.file(text), sequence.checksum(text), progress, schemes)
