"""An independent CISTA-TC in float64 numpy, from the paper's equations and the authors' key names alone."""

from __future__ import annotations

import numpy as np

# Module names of the package -> those of the authors' code.
_AUTHORS_NAMES = {
    "events_head": "We.conv2d",
    "image_head": "Wi.conv2d",
    "fusion": "W0.conv2d",
    "first_code": "P0.conv2d",
    "attend_previous": "one_conv_for_prev.conv2d",
    "attend_current": "one_conv_for_cur.conv2d",
    "dictionary": "Dg.conv.conv2d",
    "memory.gates": "Dg.recurrent_block.Gates",
    "upsampled": "upsamp_conv.conv2d",
    "prediction": "final_conv.conv2d",
}


def authors_layout(weights: dict, iterations: int = 5) -> dict:
    """Return weights of a CISTA-TC with a shared block under the authors' key names, the block once per iteration."""
    theirs = {}
    for key, value in weights.items():
        module, _, leaf = key.rpartition(".")
        if module in _AUTHORS_NAMES:
            theirs[f"{_AUTHORS_NAMES[module]}.{leaf}"] = value
            continue
        part = key.removeprefix("blocks.0.")
        for k in range(iterations):
            if part == "alpha":
                theirs[f"alpha.{k}"] = value
            else:
                name = "Lambda" if part == "theta" else f"{module[-1]}.conv2d.{leaf}"
                theirs[f"lista_blocks.{k}.{name}"] = value
    return theirs


def voxel_grid(x, y, t, p, height, width, bins=5):
    """Loop over the events, by the formula of the paper's reference [16]."""
    grid = np.zeros((bins, height, width))
    span = int(t[-1]) - int(t[0])
    for i in range(len(t)):
        when = (bins - 1) * (int(t[i]) - int(t[0])) / span if span else (bins - 1) * i / max(len(t) - 1, 1)
        lower = int(np.floor(when))
        polarity = 1.0 if p[i] else -1.0
        grid[lower, y[i], x[i]] += polarity * (1 - (when - lower))
        if lower + 1 < bins:
            grid[lower + 1, y[i], x[i]] += polarity * (when - lower)
    return grid


def normalised(grid):
    cells = grid[grid != 0]
    if not len(cells):
        return grid
    return np.where(grid != 0, (grid - cells.mean()) / (cells.std() + 1e-8), 0)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def doubled(image):
    """Double (C, h, w) to (C, 2h, 2w): bilinear, pixel centres at half-integers, edges repeated."""
    for axis in (1, 2):
        n = image.shape[axis]
        where = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        low = np.floor(where).astype(int)
        high = np.minimum(low + 1, n - 1)
        share = (where - low).reshape([-1 if a == axis else 1 for a in range(3)])
        image = np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share
    return image


class ReferenceCistaTC:
    """Reconstructs one sequence of even size: `step(grid) -> image`."""

    def __init__(self, released: dict) -> None:
        self.w = {key: value.numpy().astype(np.float64) for key, value in released.items()}
        self.image = self.code = self.hidden = self.cell = None

    def conv(self, name, x, stride=1):
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="reflect")
        h, w = x.shape[1:]
        out = sum(
            np.tensordot(weight[:, :, i, j], padded[:, i : i + h, j : j + w], 1) for i in range(3) for j in range(3)
        )
        return (out + bias[:, None, None])[:, ::stride, ::stride]

    def step(self, grid):
        grid = normalised(grid)
        image = np.zeros((1, *grid.shape[1:])) if self.image is None else self.image
        heads = np.concatenate([self.conv("We.conv2d", grid), self.conv("Wi.conv2d", image)])
        x = self.conv("W0.conv2d", heads, stride=2)
        z = self.conv("P0.conv2d", x)
        previous = np.zeros_like(z) if self.code is None else self.code
        for k in range(5):
            similarity = sigmoid(
                self.conv("one_conv_for_prev.conv2d", previous) * self.conv("one_conv_for_cur.conv2d", z)
            )
            block = f"lista_blocks.{k}"
            v = z + self.conv(f"{block}.P.conv2d", x - self.conv(f"{block}.D.conv2d", z))
            v = v + similarity * self.w[f"alpha.{k}"][0] * (previous - z)
            theta = self.w[f"{block}.Lambda"][0]
            z = np.maximum(v - theta, 0) - np.maximum(-v - theta, 0)
        features = np.maximum(self.conv("Dg.conv.conv2d", z), 0)
        hidden = np.zeros_like(features) if self.hidden is None else self.hidden
        cell = np.zeros_like(features) if self.cell is None else self.cell
        gates = self.conv("Dg.recurrent_block.Gates", np.concatenate([features, hidden]))
        enter, forget, out, candidate = np.split(gates, 4)
        self.cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
        self.hidden = sigmoid(out) * np.tanh(self.cell)
        up = self.conv("upsamp_conv.conv2d", doubled(self.hidden))
        self.image, self.code = sigmoid(self.conv("final_conv.conv2d", up)), z
        return self.image[0]
