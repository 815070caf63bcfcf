"""Weights by name: the shipped ones, and checkpoints published elsewhere, which `cista weights get` downloads.

Addresses of published checkpoints name a commit, so their content cannot change. Where no SHA-256 is known, the file is
checked by its id in that commit (see download.Checksum).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..util.cache import cache_folder
from ..util.download import Checksum, Progress, download

WEIGHTS_FOLDER = Path(__file__).parent.parent / "weights"
DEFAULT_WEIGHTS, SMALL_WEIGHTS = "cista-tc", "cista-tc-small"


@dataclass(frozen=True)
class PublishedWeights:
    """A checkpoint that others published."""

    address: str
    checksum: Checksum
    about: str


# Name, path in the repository, kind and value of the checksum; what it is.
_REPOSITORY = (
    "https://raw.githubusercontent.com/lsying009/CISTA-EVREAL/26eedb7db1238160288910f33d844325387a8c40/pretrained/"
)
_TABLE = """\
authors-cista-tc CISTA-TC/cista-tc.pth.tar sha256 fcc16e6f582e905968516541766008f9ca50be7ed2993e4f7e198eb608116491
    CISTA-TC as released (ICASSP 2022)
authors-cista-lstc CISTA-LSTC/cista-lstc.pth.tar git a676d97d718b02d79d0ed0130245009a019dc918
    CISTA-LSTC, for a fixed number of events a reconstruction
authors-cista-lstc-rand CISTA-LSTC/cista-lstc-randNE.pth.tar git ebd2eef5c62675900d60b2da1a2a8e4b37681ef8
    CISTA-LSTC, for any number of events a reconstruction
authors-cista-lstc-old CISTA-LSTC/cista-lstc-old.pth.tar git 8c68e37b7295b27ff4c7f4de9d4eaee029efb3eb
    CISTA-LSTC of the TPAMI 2023 paper
authors-e2vid myE2VID/my_e2vid.pth.tar git 7c9bc6530527e5b96620b7bf17f416743ff22bf6
    E2VID, trained by the CISTA-TC paper's authors
authors-firenet myFireNet/my_firenet.pth.tar sha256 6a0f1eec132bdf43de163ffd5665c15835d23362e0c63810089383bb692c3a17
    FireNet, trained by the CISTA-TC paper's authors
authors-spade-e2vid mySPADE/my_spade.pth.tar git 3d5b4994883c83290ed6f257a6499dbb23b429fa
    SPADE-E2VID, trained by the CISTA-TC paper's authors
e2vid E2VID/model.pth git 21b384198806a89c7b8426522e4b439f49def5c1
    E2VID by its own authors (TPAMI 2019)
firenet FireNet/model.pth sha256 a64af3191a00e9f01cd47d086d9a88c35ff1e63756566ca44b4ff02301ca696e
    FireNet by its own authors (WACV 2020)
spade-e2vid SPADE-E2VID/model.pth git 229cec1aeb15fc419371d143258128cf45af90fb
    SPADE-E2VID by its own authors (TIP 2021)
"""
_LINES = _TABLE.splitlines()
PUBLISHED = {
    name: PublishedWeights(_REPOSITORY + path, Checksum(kind, value), about.strip())
    for (name, path, kind, value), about in zip(map(str.split, _LINES[::2]), _LINES[1::2], strict=True)
}


def shipped_weights() -> dict[str, Path]:
    """Return name -> safetensors file of every network shipped with this package."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"), key=lambda path: path.stem)}


def choose_weights(name: str, device: torch.device) -> tuple[str, str]:
    """Return the name of the weights to use on a device, and a sentence that says which, and for `auto` why.

    `auto` is cista-tc on a GPU. On a CPU it is cista-tc-small, whose images are almost as good
    (docs/howto/train.md) and take half the time (docs/reference/performance.md). Any other name is returned as it is.
    """
    if name != "auto":
        return name, f"weights {name}"
    if device.type == "cpu":
        return SMALL_WEIGHTS, f"weights {SMALL_WEIGHTS} (auto: on a CPU, where {DEFAULT_WEIGHTS} takes twice as long)"
    return DEFAULT_WEIGHTS, f"weights {DEFAULT_WEIGHTS} (auto: on a GPU)"


def find_weights(name: str) -> Path:
    """Return the file of shipped or downloaded weights by name, or `name` itself if it is a file.

    CheckpointError if it is neither; the message lists the known names.
    """
    shipped = shipped_weights()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    if name in PUBLISHED:
        if (cached := cached_weights(name)).is_file():
            return cached
        raise CheckpointError(f"weights {name!r}: not downloaded yet (run: cista weights get {name})")
    known = f"shipped with this version: {', '.join(shipped)}" if shipped else "this version ships none: give a file"
    raise CheckpointError(f"weights {name!r}: neither a file nor the name of shipped weights ({known})")


def cached_weights(name: str) -> Path:
    """Return where a published checkpoint is kept once downloaded."""
    suffix = ".pth.tar" if PUBLISHED[name].address.endswith(".tar") else ".pth"
    return cache_folder() / "weights" / (name + suffix)


def fetch_weights(name: str, progress: Progress | None = None) -> Path:
    """Download a published checkpoint, unless it is already there; return its file.

    CheckpointError lists the known names; DownloadError if that fails.
    """
    if name not in PUBLISHED:
        raise CheckpointError(f"no published weights are called {name!r}; expected one of {', '.join(PUBLISHED)}")
    return download(PUBLISHED[name].address, cached_weights(name), PUBLISHED[name].checksum, progress)
