"""The numbers that the paper publishes (Liu, Alexandru, Dragotti, ICASSP 2022), to stand beside ours."""

from __future__ import annotations

MEAN, PAPER_MEAN = "mean", "mean of the paper's seven"
PAPER_METRICS = ("mse:equalised", "psnr:equalised", "ssim_7x7:equalised", "lpips_vgg:equalised")

# Model, as cista_ros names it -> its name in the paper.
PAPER_NAMES = {
    "cista": "CISTA",
    "cista-d": "CISTA-D",
    "cista-tc": "CISTA-TC",
    "e2vid": "E2VID",
    "firenet": "FireNet",
    "spade-e2vid": "SPADE-E2VID",
}
_TABLE_1_MODELS = ("e2vid", "firenet", "spade-e2vid", "cista-tc")

# Table 1: sequence -> for each of PAPER_METRICS the values of _TABLE_1_MODELS.
_TABLE_1 = {
    "poster_6dof": "0.048 0.057 0.026 0.033 13.29 12.54 15.98 15.00 0.502 0.478 0.554 0.549 0.330 0.376 0.276 0.303",
    "boxes_6dof": "0.040 0.057 0.046 0.043 14.11 12.52 13.59 13.88 0.521 0.474 0.524 0.533 0.298 0.364 0.283 0.296",
    "calibration": "0.034 0.060 0.031 0.032 14.82 12.58 15.36 15.31 0.486 0.437 0.496 0.506 0.245 0.318 0.249 0.248",
    "shapes_6dof": "0.035 0.033 0.028 0.026 14.73 14.95 15.71 15.98 0.620 0.648 0.581 0.633 0.447 0.430 0.383 0.367",
    "slider_depth": "0.055 0.064 0.055 0.044 12.85 12.11 12.96 13.87 0.443 0.441 0.464 0.487 0.357 0.400 0.332 0.342",
    "dynamic_6dof": "0.115 0.152 0.072 0.081 9.636 8.265 11.65 11.29 0.368 0.362 0.421 0.415 0.369 0.391 0.322 0.313",
    "office_zigzag": "0.043 0.112 0.051 0.048 13.82 9.621 13.17 13.47 0.409 0.353 0.418 0.424 0.303 0.393 0.291 0.297",
}
# The means of Tables 1 and 2 over real and over simulated data: for each of PAPER_METRICS.
PAPER_MEANS = {
    "real": {
        "cista": (0.054, 13.24, 0.504, 0.321),
        "cista-d": (0.049, 13.93, 0.510, 0.306),
        "cista-tc": (0.043, 14.21, 0.518, 0.306),
        "e2vid": (0.053, 13.34, 0.491, 0.336),
        "firenet": (0.075, 11.97, 0.469, 0.378),
        "spade-e2vid": (0.042, 14.31, 0.5059, 0.303),
    },
    "simulated": {
        "cista": (0.034, 15.09, 0.491, 0.349),
        "cista-d": (0.033, 15.47, 0.508, 0.336),
        "cista-tc": (0.030, 15.78, 0.511, 0.330),
        "e2vid": (0.036, 15.17, 0.494, 0.318),
        "firenet": (0.054, 13.32, 0.463, 0.394),
        "spade-e2vid": (0.034, 15.50, 0.510, 0.316),
    },
}


def published(metric: str) -> dict[str, dict[str, float]]:
    """Table 1: model -> sequence (or PAPER_MEAN) -> the published value; empty for a metric that it does not give."""
    if metric not in PAPER_METRICS:
        return {}
    position = PAPER_METRICS.index(metric)
    table: dict[str, dict[str, float]] = {model: {} for model in _TABLE_1_MODELS}
    for sequence, line in _TABLE_1.items():
        values = [float(value) for value in line.split()][4 * position : 4 * position + 4]
        for model, value in zip(_TABLE_1_MODELS, values, strict=True):
            table[model][sequence] = value
    for model in table:
        table[model][PAPER_MEAN] = PAPER_MEANS["real"][model][position]
    return table
