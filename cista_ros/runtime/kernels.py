"""The operations of a CISTA step between its convolutions: in torch, and as the C++ kernels of kernels.cpp."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .base import DTYPES
from .library import load_library

Constraint = tuple[Tensor, Tensor, Tensor] | None


class _Struct(ctypes.Structure):
    """The struct `Bordered` of kernels.cpp."""

    _fields_ = (("data", ctypes.c_void_p), *((n, ctypes.c_int64) for n in ("row", "pixel", "h", "w", "c")))


class Bordered:
    """A feature map (h, w, C), `inner`, with a border of one that reflects it, padded with zeros to whole tiles.

    `storage` is the padded map (rows, columns, C), input of convolutions without padding.
    """

    def __init__(self, storage: Tensor, h: int, w: int) -> None:
        self.storage, self.h, self.w, self.c = storage, h, w, storage.shape[2]
        self.inner = storage[1 : h + 1, 1 : w + 1]
        self.struct = _Struct(storage.data_ptr(), storage.stride(0), storage.stride(1), h, w, self.c)

    @classmethod
    def zeros(cls, h: int, w: int, channels: int, dtype: torch.dtype, tile: int = 1) -> Bordered:
        """Return a map of zeros."""
        rows, columns = (-(-n // tile) * tile + 2 for n in (h, w))
        return cls(torch.zeros(rows, columns, channels, dtype=dtype), h, w)

    def channels(self, first: int, last: int) -> Bordered:
        """Return a range of channels, in the same memory."""
        return Bordered(self.storage[:, :, first:last], self.h, self.w)


class Kernels:
    """Kernels of torch operations, in float32; feature maps have exactly the sizes (h, w)."""

    dtype = torch.float32

    def write(self, source: Tensor, out: Bordered, rectify: bool = False) -> None:
        """Set out = source (h or more, w or more, C), or its positive part."""
        if rectify:
            torch.clamp(source, min=0, out=out.inner)
        else:
            out.inner.copy_(source)
        _reflect(out)

    def write_floats(self, source: Tensor, out: Bordered) -> None:
        """Set out = source, float32 (h, w, C)."""
        self.write(source, out)

    def subtract(self, a: Tensor, b: Tensor, out: Bordered) -> None:
        """Set out = a - b, with a float32 (h, w, C) and b (h or more, w or more, C)."""
        torch.sub(a, b, out=out.inner)
        _reflect(out)

    def iterate(
        self, update: Tensor, code: Bordered, before: Bordered, theta: Tensor, constraint: Constraint = None
    ) -> None:
        """Run one ISTA iteration: code = soft(code + update + sigmoid(a b) alpha (before - code), theta).

        update: (h or more, w or more, C); theta: float32 (C,); constraint: a and b, float32 (h, w, 1), and alpha,
        float32 (C,), or None to omit that term.
        """
        change = torch.empty_like(update)
        if constraint is not None:
            a, b, alpha = constraint
            torch.sub(before.inner, code.inner, out=change).mul_(torch.sigmoid(a * b))
            update.addcmul_(change, alpha)
        update.add_(code.inner)
        # v - sign(theta) clamp(v, -|theta|, |theta|): two passes, correct for negative theta too.
        torch.clamp(update, -theta.abs(), theta.abs(), out=change)
        torch.addcmul(update, change, theta.sign(), value=-1, out=code.inner)
        _reflect(code)

    def remember(self, gates: Tensor, cell: Tensor, hidden: Bordered, held: Tensor) -> None:
        """Run a ConvLSTM step: gates (h or more, w or more, 4C) before sigmoid and tanh; cell float32 (h, w, C).

        The new hidden state goes to `hidden`, and as float32 to `held` (see `hold`).
        """
        enter, forget, out, candidate = gates.chunk(4, -1)
        candidate.mul_(2)  # tanh(v) = 2 sigmoid(2 v) - 1 is several times as fast
        gates.sigmoid_()
        candidate.mul_(2).sub_(1)
        cell.mul_(forget).addcmul_(enter, candidate)
        torch.mul(cell, 2, out=candidate).sigmoid_().mul_(2).sub_(1)
        torch.mul(out, candidate, out=hidden.inner)
        _reflect(hidden)
        hold(hidden.inner, held)

    def gather(self, shares: Tensor, taps: int, bias: Tensor, out: Tensor) -> Tensor:
        """Set out (h, w, outputs), float32, to bias plus the contributions of the taps x taps neighbours.

        shares: (h + taps - 1 or more, w + taps - 1 or more, taps * taps * outputs).
        """
        row, place, _ = shares.stride()
        outputs = out.shape[2]
        # Tap (i, j) of output n of pixel (y, x) is at (y + i, x + j), column (i taps + j) outputs + n.
        strides = (row, place, 1, row + taps * outputs, place + outputs)
        return torch.sum(shares.as_strided((*out.shape, taps, taps), strides), (3, 4), out=out).add_(bias)


def _reflect(out: Bordered) -> None:
    """Update the border of a map after a write to `inner`."""
    a = out.storage
    a[0, 1:-1], a[-1, 1:-1] = a[2, 1:-1], a[-3, 1:-1]
    a[:, 0], a[:, -1] = a[:, 2], a[:, -3]


def hold(features: Tensor, held: Tensor) -> None:
    """Write features (h, w, C) into the middle of `held` (h + 4, w + 4, C), and replicate their outermost pixels."""
    held[2:-2, 2:-2] = features
    held[1, 2:-2], held[-2, 2:-2] = held[2, 2:-2], held[-3, 2:-2]
    held[:, 1], held[:, -2] = held[:, 2], held[:, -3]


class NativeKernels(Kernels):
    """The C++ kernels, for feature maps of a precision, fp32 or bf16, each with as many threads as torch uses."""

    def __init__(self, precision: str) -> None:
        library, self.dtype = load_library(), DTYPES[precision]
        kinds = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "m": ctypes.POINTER(_Struct)}
        # m: a map, p: an address, n: a number.
        signatures = {
            "write": "pnmn",
            "write_floats": "pnm",
            "subtract": "ppnm",
            "iterate": "pnmmpppp",
            "remember": "pnpmp",
            "gather": "pnnpnpnn",
        }
        self._run = {name: getattr(library, f"{name}_{precision}") for name in signatures}
        for name, function in self._run.items():
            function.restype, function.argtypes = None, [kinds[kind] for kind in signatures[name]]

    def write(self, source: Tensor, out: Bordered, rectify: bool = False) -> None:
        self._run["write"](*self._map(source, out.h, out.w, out.c), out.struct, rectify)

    def write_floats(self, source: Tensor, out: Bordered) -> None:
        self._run["write_floats"](_floats(source, out.h * out.w * out.c), out.w * out.c, out.struct)

    def subtract(self, a: Tensor, b: Tensor, out: Bordered) -> None:
        self._run["subtract"](_floats(a, out.h * out.w * out.c), *self._map(b, out.h, out.w, out.c), out.struct)

    def iterate(
        self, update: Tensor, code: Bordered, before: Bordered, theta: Tensor, constraint: Constraint = None
    ) -> None:
        a, b, alpha = constraint or (None, None, None)
        sizes = (a, code.h * code.w), (b, code.h * code.w), (alpha, code.c), (theta, code.c)
        values = (None if value is None else _floats(value, size) for value, size in sizes)
        self._run["iterate"](*self._map(update, code.h, code.w, code.c), code.struct, before.struct, *values)

    def remember(self, gates: Tensor, cell: Tensor, hidden: Bordered, held: Tensor) -> None:
        h, w, c = hidden.h, hidden.w, hidden.c
        addresses = _floats(cell, h * w * c), hidden.struct, _floats(held, (h + 4) * (w + 4) * c)
        self._run["remember"](*self._map(gates, h, w, 4 * c), *addresses)

    def gather(self, shares: Tensor, taps: int, bias: Tensor, out: Tensor) -> Tensor:
        h, w, outputs = out.shape
        source = self._map(shares, h + taps - 1, w + taps - 1, taps * taps * outputs)
        self._run["gather"](*source, taps, _floats(bias, outputs), outputs, _floats(out, h * w * outputs), h, w)
        return out

    def _map(self, values: Tensor, h: int, w: int, channels: int) -> tuple[int, int]:
        row, pixel, step = values.stride()
        rows, columns, width = values.shape
        if (pixel, step, width, values.dtype) != (channels, 1, channels, self.dtype) or rows < h or columns < w:
            raise ValueError(
                f"feature map of {values.dtype} {tuple(values.shape)}:"
                f" expected {self.dtype} {(h, w, channels)} or larger"
            )
        return values.data_ptr(), row


def _floats(values: Tensor, count: int) -> int:
    if values.dtype != torch.float32 or not values.is_contiguous() or values.numel() != count:
        raise ValueError(f"tensor of {values.dtype} {tuple(values.shape)}: expected {count} contiguous float32")
    return values.data_ptr()
