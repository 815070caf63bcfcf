"""The Event Camera Dataset (Mueggler et al., IJRR 36, 2017): its sequences and the authors' download addresses.

The dataset is not part of this package. Its page, rpg.ifi.uzh.ch/davis_data.html, as others quote it: "released under
the Creative Commons license (CC BY-NC-SA 3.0), which is free for non-commercial use (including research)".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordingError
from ..util.download import Checksum, Progress, download

BASE = "https://rpg.ifi.uzh.ch/datasets/davis/"
PAGE = "https://rpg.ifi.uzh.ch/davis_data.html"
LICENCE = "CC BY-NC-SA 3.0 (non-commercial use, including research)"

# The seven of Table 1 of the paper (ICASSP 2022), in its order.
ECD_SEQUENCES = (
    "poster_6dof", "boxes_6dof", "calibration", "shapes_6dof", "slider_depth", "dynamic_6dof", "office_zigzag",
)  # fmt: skip
# For each sequence the approximate size of its bag in MiB and the bag's MD5, as the library tonic publishes it. No MD5
# of the two simulated ones or of the text archives is published.
_BAGS: dict[str, tuple[int, str | None]] = {
    "boxes_6dof": (1741, "c919cebc25e564935abfc0a3954bf016"),
    "boxes_rotation": (2396, "1ec1ef4f354ce1908ed091703c1f98d0"),
    "boxes_translation": (1485, "4fd11a69015022c72b375a4d000ee8cd"),
    "calibration": (351, "6e67817c7b6d2e95ca5796e89d219bac"),
    "dynamic_6dof": (791, "16e8cb3b151da15ff1fe6019b517e695"),
    "dynamic_rotation": (968, "77a2b0a87582e10e702365a38dc0c93c"),
    "dynamic_translation": (525, "2db36fd0c2945cbace48735f0416c506"),
    "hdr_boxes": (1556, "67661ed4b472189432e35e8849faf200"),
    "hdr_poster": (1372, "b59e37b616a3eda81184183b12b0dce5"),
    "office_spiral": (89, "60fe934450c558aff90ff5ba6b370a05"),
    "office_zigzag": (107, "3eba8fc8f42adbfd394b630852ce1f78"),
    "outdoors_running": (1362, "7db2de811cb22b71fa34abd4ab1bba6b"),
    "outdoors_walking": (1001, "2ef9b03c87d3c565d30211b7dcfaabc5"),
    "poster_6dof": (1751, "e42ef11f523a52f11921cdb4a0fca231"),
    "poster_rotation": (2191, "abcd843a894546775e5dda3560979edf"),
    "poster_translation": (1331, "bb6736c56ff38f07cbe72613b72d25ed"),
    "shapes_6dof": (307, "9b9495ace2dd82881bcc5c0620dd595f"),
    "shapes_rotation": (371, "ee436cfe74b545fa25a2534f3ef021df"),
    "shapes_translation": (299, "2a805ba32671b237e4e13c023f276be9"),
    "simulation_3planes": (102, None),
    "simulation_3walls": (68, None),
    "slider_close": (57, "9426bbb70334c7b849dd5dd38eb7f2a9"),
    "slider_depth": (17, "b38a7a373f170f4b6aeca4f36e06f71a"),
    "slider_far": (49, "0f341da6aec0fd1801129e3d3a9981fa"),
    "slider_hdr_close": (48, "34cc10dd212ca1fddd3a8584046d5d1c"),
    "slider_hdr_far": (36, "c310f4f2d62cdf7b8d1c0a49315fb253"),
    "urban": (79, "c22db0b3ecbcbba8d282b0d8c3393851"),
}


@dataclass(frozen=True)
class EcdSequence:
    """A sequence of the dataset: its name, the approximate size of its bag in MiB, and the bag's MD5 if known."""

    name: str
    mebibytes: int
    md5: str | None

    def file(self, text: bool) -> str:
        """Return the file name of the ROS 1 bag, or of the archive in the text layout."""
        return f"{self.name}.{'zip' if text else 'bag'}"

    def checksum(self, text: bool) -> Checksum | None:
        """Return the checksum of that file; None if none is published (an archive has CRCs, checked when read)."""
        return Checksum("md5", self.md5) if self.md5 and not text else None


SEQUENCES = {name: EcdSequence(name, *bag) for name, bag in _BAGS.items()}


def choose_sequences(names: Iterable[str]) -> list[EcdSequence]:
    """Return sequences by name; `paper` stands for ECD_SEQUENCES, `all` for all.

    Raises:
        RecordingError: unknown name.
    """
    groups = {"paper": ECD_SEQUENCES, "all": SEQUENCES}
    chosen = dict.fromkeys(one for name in names for one in groups.get(name, [name]))
    if unknown := [name for name in chosen if name not in SEQUENCES]:
        raise RecordingError(
            f"the dataset has no sequence {unknown[0]!r}; expected one of {', '.join(SEQUENCES)}, paper, or all"
        )
    return [SEQUENCES[name] for name in chosen]


def fetch_sequence(sequence: EcdSequence, folder: Path, text: bool = False, progress: Progress | None = None) -> Path:
    """Download a sequence into a folder, unless it is already there; return its file. Errors as for `download`."""
    file = sequence.file(text)
    return download(BASE + file, folder / file, sequence.checksum(text), progress)
