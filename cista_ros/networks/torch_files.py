"""Read files of torch.save without running code from them: numbers, text, and dictionaries and lists of these.

torch's weights-only reader refuses every other object. But it unpacks records of any size, and accepts tensor shapes
with more elements than the file contains; this module checks both.
"""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

# Dtypes of weights. For others (bool, complex, 8 bits) torch does not always support even equality.
NUMBERS = frozenset((torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64))


MAX_UNKNOWN_CLASSES = 100


class Inert:
    """A placeholder for an object of the unknown class `of`. It keeps no data of the file and runs no code."""

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
        unknown_classes: read objects of other programs' classes, each as an `Inert`, without importing or running
            these classes. Python's builtins and modules that torch blocks are refused in any case.

    ValueError (one line) for a file that is damaged, not written by torch.save, or contains refused objects.
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
    """Describe a read error; by default by the name of its type."""
    if isinstance(error, EOFError) or "unexpected EOF" in str(error):
        return "it is truncated or empty"
    if isinstance(error, zipfile.BadZipFile):
        return "it is a damaged or truncated archive"
    if isinstance(error, UnpicklingError):
        return "it is not a plain file of torch.save"
    return type(error).__name__


def plain_tensors(values: Any) -> bool:
    """Return whether this is a dictionary of text -> tensors of NUMBERS with memory for all their elements."""
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
    """Copy an archive whose records together are no larger than the file: torch.save does not compress.

    torch reads archives with another library, to which an archive might show other records than those checked here.
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
