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

# What weights are made of; for other kinds (truth values, complex numbers, 8 bits) torch has not even equality always.
NUMBERS = frozenset((torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64))


def read_torch_file(path: Path) -> Any:
    """What a file of torch.save holds, on the CPU.

    Raises:
        ValueError: it cannot be read, is no such file, or holds other than plain values; the message says which.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        return torch.load(_stored(path) if is_zip else path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError on foreign bytes
        code = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        why = f"it holds objects of another program, {code[1]}, whose code is not run" if code else type(error).__name__
        raise ValueError(why) from None


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
