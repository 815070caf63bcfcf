"""Metadata of trained weights, and the model card that comes with them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from ..networks import Network, count_parameters, load_network
from .config_files import to_yaml
from .start import thresholds, unused_settings
from .state import TrainingState

# Windows that the authors' network was trained on: 60 epochs of 1,000 sequences of 15 windows.
_RELEASED_WINDOWS = 60 * 1000 * 15


@dataclass(frozen=True)
class WeightsSummary:
    """The training metadata of a weights file; None for what it does not contain."""

    parameters: int
    iterations: int | None
    hours: float | None
    machine: str | None
    scores: dict[str, float]


def weights_metadata(state: TrainingState) -> dict[str, str]:
    """Return the metadata to store in a weights file."""
    return {
        "name": state.config.name,
        "iterations": str(state.iteration),
        "sequences": str(state.sequences),
        "hours": f"{state.seconds / 3600:.3f}",
        "machine": state.machine,
        "scores": json.dumps(state.history[-1] if state.history else {}),
        "training": to_yaml(state.config),
    }


def read_summary(path: Path) -> WeightsSummary:
    """Read the training metadata of a weights file.

    Raises:
        CheckpointError: not a weights file of this package.
    """
    network = load_network(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return WeightsSummary(
            count_parameters(network),
            int(metadata["iterations"]) if "iterations" in metadata else None,
            float(metadata["hours"]) if "hours" in metadata else None,
            metadata.get("machine"),
            json.loads(metadata.get("scores", "{}")),
        )
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a weights file of cista_ros ({error})") from None


def model_card(state: TrainingState, network: Network) -> str:
    """Return Markdown: architecture, training, scores and limits of a network, and how to continue its training."""
    config = state.config
    architecture = ", ".join(f"{key} {str(value).lower()}" for key, value in asdict(config.network).items())
    if thresholds(network):
        architecture += "; θ ≥ 0" if config.optimiser.theta == "nonnegative" else "; θ free"
    unused = unused_settings(config, network)
    rows = [f"| {name} | {value:.4g} |" for name, value in (state.history[-1] if state.history else {}).items()]
    scores = ["| held-out | |", "|---|---|", *rows] if rows else ["Not validated yet."]
    return "\n".join(
        [
            f"# {config.name}",
            "",
            f"Architecture {network.name} ({architecture}): {count_parameters(network):,} parameters.",
            "",
            "## Training",
            "",
            f"- **Iterations:** {state.iteration:,} of the {config.iterations:,} planned:"
            f" {state.sequences:,} sequences, {state.windows:,} windows.",
            f"- **Time and machine:** {state.seconds / 3600:.2f} hours; {state.machine or 'unknown'}.",
            f"- **Data:** simulated during training (`cista_ros/simulation`) from {state.pictures:,} grey photos"
            f"{f' ({config.pictures_note})' if config.pictures_note else ''}, which are not part of this package."
            " No recordings of real event cameras.",
            f"- **Initial weights:** {state.origin}.",
            *([f"- **Teacher:** {state.teacher}; see `loss.distillation`."] if state.teacher else []),
            *([f"- **Settings without effect** on this architecture: {', '.join(unused)}."] if unused else []),
            f"- **Weights:** exponential moving average, decay {config.optimiser.ema}"
            f"{', kernels rounded to bfloat16' if config.amp else ''}.",
            "",
            "## Scores",
            "",
            f"{config.validation.sequences} simulated sequences of {config.validation.windows} windows at"
            f" {config.validation.size}x{config.validation.size} pixels, from photos not used for training."
            " `_equalised`: both images after histogram equalisation. `zeros`: share of exact zeros in the codes.",
            "",
            *scores,
            "",
            "## Limits",
            "",
            *_limits(state),
            "",
            "## Continue training",
            "",
            "```",
            "# from the training state",
            "cista train --resume state.pt --pictures PICTURES -o FOLDER --set iterations=N",
            "# from the weights alone; RECIPE is a name, or a file with the configuration below",
            f"cista train RECIPE --model {config.model} --from {config.name}.safetensors --pictures PICTURES -o FOLDER",
            "```",
            "",
            *_changes(state),
            "## Configuration",
            "",
            "```yaml",
            to_yaml(config).rstrip(),
            "```",
            "",
        ]
    )


def _limits(state: TrainingState) -> list[str]:
    data = state.config.data
    share = state.windows / _RELEASED_WINDOWS
    limits = [
        f"- Trained on {state.windows:,} windows of {data.size}x{data.size} pixels, {share:.1%} of those that the"
        f" authors' network was trained on ({_RELEASED_WINDOWS:,}).",
        "- Events do not carry absolute brightness: the mean brightness of images is that of typical camera frames.",
    ]
    if state.iteration < state.config.iterations:
        limits.append("- **The training is not finished**: these weights are from its last saved state.")
    return limits


def _changes(state: TrainingState) -> list[str]:
    if not state.changes:
        return []
    return ["## Changes during training", "", *(f"- {change}" for change in state.changes), ""]
