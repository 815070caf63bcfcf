"""Python interface of kernels.cpp. Each kernel uses as many threads as torch."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .library import load_library

_SUFFIXES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


class Bordered:
    """A feature map (h, w, C) with a border of one that reflects it, padded with zeros to whole tiles.

    Attributes:
        storage: the padded map (rows, columns, C), input of convolutions without padding.
        inner: the map itself.
    """

    def __init__(self, h: int, w: int, channels: int, dtype: torch.dtype, tile: int = 1) -> None:
        rows, columns = (-(-n // tile) * tile + 2 for n in (h, w))
        self.storage = torch.zeros(rows, columns, channels, dtype=dtype)
        self.inner = self.storage[1 : h + 1, 1 : w + 1]
        self.whole = self.channels(0, channels)

    def channels(self, first: int, last: int) -> Channels:
        """Return a range of channels in the form that the kernels write to."""
        return Channels(self.storage[:, :, first:last], *self.inner.shape[:2])


class Channels(ctypes.Structure):
    """The struct `Bordered` of kernels.cpp."""

    _fields_ = (("data", ctypes.c_void_p), *((n, ctypes.c_int64) for n in ("row", "pixel", "h", "w", "c")))

    def __init__(self, storage: Tensor, h: int, w: int) -> None:
        super().__init__(storage.data_ptr(), storage.stride(0), storage.stride(1), h, w, storage.shape[2])
        self._keep = storage  # keeps the memory alive


class Kernels:
    """Kernels for feature maps of one dtype, float32 or bfloat16. Other arguments are float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        library, self.dtype = load_library(), dtype
        names = "write", "write_floats", "subtract", "iterate", "remember", "gather"
        self._run = {name: getattr(library, f"{name}_{_SUFFIXES[dtype]}") for name in names}
        for function in self._run.values():
            function.restype = None

    def write(self, source: Tensor, out: Channels, rectify: bool = False) -> None:
        """Set out = source (h or more, w or more, C), or its positive part."""
        self._run["write"](*self._map(source, out.h, out.w, out.c), ctypes.byref(out), ctypes.c_int64(rectify))

    def write_floats(self, source: Tensor, out: Channels) -> None:
        """Set out = source, float32 (h, w, C)."""
        row = ctypes.c_int64(out.w * out.c)
        self._run["write_floats"](_floats(source, out.h * out.w * out.c), row, ctypes.byref(out))

    def subtract(self, a: Tensor, b: Tensor, out: Channels) -> None:
        """Set out = a - b, with a float32 (h, w, C) and b (h or more, w or more, C)."""
        self._run["subtract"](_floats(a, out.h * out.w * out.c), *self._map(b, out.h, out.w, out.c), ctypes.byref(out))

    def iterate(
        self,
        update: Tensor,
        code: Channels,
        before: Channels,
        attention: tuple[Tensor, Tensor] | None,
        alpha: Tensor | None,
        theta: Tensor,
    ) -> None:
        """Run one ISTA iteration: code = soft(code + update + sigmoid(a b) alpha (before - code), theta).

        Args:
            update: (h or more, w or more, C).
            attention: a and b, float32 (h, w, 1). If it and alpha are None, that term is omitted.
            alpha, theta: float32 (C,).
        """
        n = code.h * code.w
        maps = (None, None) if attention is None else tuple(_floats(a, n) for a in attention)
        values = (None if alpha is None else _floats(alpha, code.c)), _floats(theta, code.c)
        self._run["iterate"](
            *self._map(update, code.h, code.w, code.c), ctypes.byref(code), ctypes.byref(before), *maps, *values
        )

    def remember(self, gates: Tensor, cell: Tensor, hidden: Channels, held: Tensor) -> None:
        """Run a ConvLSTM step: gates (h or more, w or more, 4C) before sigmoid and tanh; cell float32 (h, w, C).

        The new hidden state goes to `hidden`, and as float32 to `held` (h + 4, w + 4, C) (see linear_chain.Ends).
        """
        h, w, c = hidden.h, hidden.w, hidden.c
        addresses = _floats(cell, h * w * c), ctypes.byref(hidden), _floats(held, (h + 4) * (w + 4) * c)
        self._run["remember"](*self._map(gates, h, w, 4 * c), *addresses)

    def gather(self, shares: Tensor, taps: int, bias: Tensor, out: Tensor) -> Tensor:
        """Set out (h, w, outputs), float32, to bias plus the contributions of the taps x taps neighbours.

        Args:
            shares: (h + taps - 1 or more, w + taps - 1 or more, taps * taps * outputs).
        """
        h, w, outputs = out.shape
        numbers = ctypes.c_int64(outputs), _floats(out, h * w * outputs), ctypes.c_int64(h), ctypes.c_int64(w)
        source = self._map(shares, h + taps - 1, w + taps - 1, taps * taps * outputs)
        self._run["gather"](*source, ctypes.c_int64(taps), _floats(bias, outputs), *numbers)
        return out

    def _map(self, values: Tensor, h: int, w: int, channels: int) -> tuple[ctypes.c_void_p, ctypes.c_int64]:
        row, pixel, step = values.stride()
        rows, columns, width = values.shape
        if (pixel, step, width, values.dtype) != (channels, 1, channels, self.dtype) or rows < h or columns < w:
            raise ValueError(
                f"feature map of {values.dtype} {tuple(values.shape)}:"
                f" expected {self.dtype} {(h, w, channels)} or larger"
            )
        return ctypes.c_void_p(values.data_ptr()), ctypes.c_int64(row)


def _floats(values: Tensor, count: int) -> ctypes.c_void_p:
    if values.dtype != torch.float32 or not values.is_contiguous() or values.numel() != count:
        raise ValueError(f"tensor of {values.dtype} {tuple(values.shape)}: expected {count} contiguous float32")
    return ctypes.c_void_p(values.data_ptr())
