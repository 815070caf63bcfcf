"""Checkpoints that others published: where each lies, whose it is, and what it hashes to.

Addresses name a commit, so that what they give cannot change. Where the SHA-256 is not given below, the file was never
at hand here, and is checked by the id that this very commit has for it (see download.Checksum). E2VID+, FireNet+ and
ET-Net are not here: their files hold pickled objects of their authors' code, which cista_ros does not run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from ..util.cache import cache_folder
from ..util.download import SCHEMES, Checksum, Progress, download

_EVREAL = (
    "https://raw.githubusercontent.com/lsying009/CISTA-EVREAL/26eedb7db1238160288910f33d844325387a8c40/pretrained/"
)
_CISTA_AUTHORS = "trained by the CISTA-TC paper's authors"


@dataclass(frozen=True)
class PublishedWeights:
    """A checkpoint: its address, its checksum, and who trained what."""

    address: str
    checksum: Checksum
    about: str


def _git(value: str) -> Checksum:
    return Checksum("git", value)


PUBLISHED = {
    "authors-cista-tc": PublishedWeights(
        _EVREAL + "CISTA-TC/cista-tc.pth.tar",
        Checksum("sha256", "fcc16e6f582e905968516541766008f9ca50be7ed2993e4f7e198eb608116491"),
        "CISTA-TC as released (ICASSP 2022)",
    ),
    "authors-cista-lstc": PublishedWeights(
        _EVREAL + "CISTA-LSTC/cista-lstc.pth.tar",
        _git("a676d97d718b02d79d0ed0130245009a019dc918"),
        "CISTA-LSTC, for a fixed number of events a reconstruction",
    ),
    "authors-cista-lstc-rand": PublishedWeights(
        _EVREAL + "CISTA-LSTC/cista-lstc-randNE.pth.tar",
        _git("ebd2eef5c62675900d60b2da1a2a8e4b37681ef8"),
        "CISTA-LSTC, for any number of events a reconstruction",
    ),
    "authors-cista-lstc-old": PublishedWeights(
        _EVREAL + "CISTA-LSTC/cista-lstc-old.pth.tar",
        _git("8c68e37b7295b27ff4c7f4de9d4eaee029efb3eb"),
        "CISTA-LSTC of the TPAMI 2023 paper",
    ),
    "authors-e2vid": PublishedWeights(
        _EVREAL + "myE2VID/my_e2vid.pth.tar",
        _git("7c9bc6530527e5b96620b7bf17f416743ff22bf6"),
        f"E2VID, {_CISTA_AUTHORS}",
    ),
    "authors-firenet": PublishedWeights(
        _EVREAL + "myFireNet/my_firenet.pth.tar",
        Checksum("sha256", "6a0f1eec132bdf43de163ffd5665c15835d23362e0c63810089383bb692c3a17"),
        f"FireNet, {_CISTA_AUTHORS}",
    ),
    "authors-spade-e2vid": PublishedWeights(
        _EVREAL + "mySPADE/my_spade.pth.tar",
        _git("3d5b4994883c83290ed6f257a6499dbb23b429fa"),
        f"SPADE-E2VID, {_CISTA_AUTHORS}",
    ),
    "e2vid": PublishedWeights(
        _EVREAL + "E2VID/model.pth",
        _git("21b384198806a89c7b8426522e4b439f49def5c1"),
        "E2VID by its own authors (TPAMI 2019)",
    ),
    "firenet": PublishedWeights(
        _EVREAL + "FireNet/model.pth",
        Checksum("sha256", "a64af3191a00e9f01cd47d086d9a88c35ff1e63756566ca44b4ff02301ca696e"),
        "FireNet by its own authors (WACV 2020)",
    ),
    "spade-e2vid": PublishedWeights(
        _EVREAL + "SPADE-E2VID/model.pth",
        _git("229cec1aeb15fc419371d143258128cf45af90fb"),
        "SPADE-E2VID by its own authors (TIP 2021)",
    ),
}


def cached_weights(name: str) -> Path:
    """Where a published checkpoint is kept once it was fetched."""
    suffix = ".pth.tar" if PUBLISHED[name].address.endswith(".tar") else ".pth"
    return cache_folder() / "weights" / (name + suffix)


def fetch_weights(
    name: str,
    progress: Progress | None = None,
    weights: dict[str, PublishedWeights] | None = None,
    to: Callable[[str], Path] = cached_weights,
    schemes: frozenset[str] = SCHEMES,
) -> Path:
    """Fetch a published checkpoint, unless it was already; returns its file.

    Args:
        weights, to, schemes: other lists, places and kinds of address, for tests.
    Raises:
        CheckpointError: no such name; the message lists those there are.
        DownloadError: it cannot be had, or is not the published file.
    """
    known = PUBLISHED if weights is None else weights
    if name not in known:
        raise CheckpointError(f"no published weights are called {name!r}; there are {', '.join(known)}")
    return download(known[name].address, to(name), known[name].checksum, progress, schemes)
