"""Files of torch.save, read without running anything that they hold: numbers, text, and dictionaries and lists of them.

torch's weights-only reader refuses every other object. It unpacks a file's records however large they become, and takes
a tensor's shape as the file has it, which may be far more elements than it holds; both are looked at here.
"""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

# What weights are made of; for other kinds (truth values, complex numbers, 8 bits) torch has not even equality always.
NUMBERS = frozenset((torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64))


MAX_UNKNOWN_CLASSES = 100


class Inert:
    """Stands for an object of the class `of`, unknown here. It keeps nothing of the file's, and runs nothing."""

    of = ""

    def __new__(cls, *_: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def read_torch_file(path: Path, unknown_classes: bool = False) -> Any:
    """Return the content of a file of torch.save, with all tensors on the CPU.

    Args:
        unknown_classes: read files that hold objects of other programs' classes, each as an `Inert`. Nothing of those
            classes is imported or run. Python's builtins, and modules that torch blocks, are refused all the same.
    Raises:
        ValueError: the file is damaged, is not of torch.save, or holds refused objects; the message is one line.
    """
    unknown: dict[str, type[Inert]] = {}
    while True:
        try:
            with safe_globals([(kind, name) for name, kind in unknown.items()]):
                return _load(path)
        except Exception as error:  # torch raises anything from EOFError to UnpicklingError on foreign bytes
            found = re.search(r"(?i)unsupported global: GLOBAL (\S+)|unsupported GLOBAL (\S+) whose", str(error))
            if not found:
                raise ValueError(_explain(error)) from None
            name = found[1] or found[2]
            if not unknown_classes or "." not in name or found[2] or len(unknown) >= MAX_UNKNOWN_CLASSES:
                raise ValueError(f"it holds objects of another program ({name}), whose code is not run") from None
            unknown[name] = type("Inert", (Inert,), {"of": name})


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return torch.load(_stored(path) if is_zip else path, map_location="cpu", weights_only=True)


def _explain(error: Exception) -> str:
    """Return what is wrong with a file, in words; the name of the error if its kind says no more."""
    if isinstance(error, EOFError) or "unexpected EOF" in str(error):
        return "it is truncated or empty"
    if isinstance(error, zipfile.BadZipFile):
        return "it is a damaged or truncated archive"
    return type(error).__name__


def plain_tensors(values: Any) -> bool:
    """Whether this is a dictionary of text -> tensors of NUMBERS, each with memory for all its elements."""
    return isinstance(values, dict) and all(isinstance(k, str) and _is_plain(v) for k, v in values.items())


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype in NUMBERS
        and value.numel() * value.itemsize <= value.untyped_storage().nbytes()
    )


def _stored(path: Path) -> BytesIO:
    """The archive anew, from records that together are no larger than it is: torch.save does not compress.

    torch reads archives by another library, which an archive might show other records than those looked at.
    """
    left = path.stat().st_size
    copy = BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as stored:
        for record in archive.infolist():
            left -= record.file_size
            if left < 0:
                raise ValueError("records larger than the file")
            stored.writestr(record.filename, archive.read(record))
    copy.seek(0)
    return copy
