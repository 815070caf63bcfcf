"""What a training says about the weights that it made: metadata in their file, and a model card to read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from ..networks import Network, count_parameters, load_network
from .beginning import thresholds, without_effect
from .config_files import to_yaml
from .state import TrainingState

# Training seen by the released network: 60 epochs of 1 000 sequences of 15 windows, one at a time.
_RELEASED_WINDOWS = 60 * 1000 * 15


@dataclass(frozen=True)
class WeightsSummary:
    """What the metadata of a weights file tell about how it was made; None where they do not."""

    parameters: int
    iterations: int | None
    hours: float | None
    machine: str | None
    scores: dict[str, float]


def weights_metadata(state: TrainingState) -> dict[str, str]:
    """Text to keep beside the weights."""
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
    """Read what a weights file of ours tells about itself.

    Raises:
        CheckpointError: not a file of ours.
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
        raise CheckpointError(f"{path}: not a weights file of ours ({error})") from None


def model_card(state: TrainingState, network: Network) -> str:
    """Markdown: what the network is, how it was trained and for how long, what it scored, and where its limits are."""
    config = state.config
    architecture = ", ".join(f"{key} {str(value).lower()}" for key, value in asdict(config.network).items())
    if thresholds(network):
        architecture += "; θ ≥ 0" if config.optimiser.theta == "nonnegative" else "; θ free"
    in_vain = without_effect(config, network)
    rows = [f"| {name} | {value:.4g} |" for name, value in (state.history[-1] if state.history else {}).items()]
    scores = ["| held-out | |", "|---|---|", *rows] if rows else ["Not validated yet."]
    return "\n".join(
        [
            f"# {config.name}",
            "",
            f"A network of the kind {network.name} ({architecture}): {count_parameters(network):,} parameters.",
            "",
            "## Training",
            "",
            f"- **Iterations:** {state.iteration:,} of the {config.iterations:,} planned:"
            f" {state.sequences:,} sequences, {state.windows:,} windows.",
            f"- **Time and machine:** {state.seconds / 3600:.2f} hours; {state.machine or 'unknown'}.",
            f"- **Data:** simulated while training (`cista_ros/simulation`) from {state.pictures:,} grey pictures"
            f"{f' ({config.pictures_note})' if config.pictures_note else ''}, which are not part of this package; no"
            " recording of a real event camera.",
            f"- **Began with:** {state.origin}.",
            *([f"- **Tutor:** {state.tutor}; see `loss.distilled`."] if state.tutor else []),
            *([f"- **Without effect** on this kind of network: {', '.join(in_vain)}."] if in_vain else []),
            f"- **Weights:** exponential moving average, decay {config.optimiser.ema}"
            f"{', kernels rounded to bfloat16' if config.amp else ''}.",
            "",
            "## Scores",
            "",
            f"{config.validation.sequences} simulated sequences of {config.validation.windows} windows at"
            f" {config.validation.size}x{config.validation.size}, made of pictures that training never saw."
            " `_equalised`: both images after global histogram equalisation. `zeros`: exact zeros in the codes.",
            "",
            *scores,
            "",
            "## Limits",
            "",
            *_limits(state),
            "",
            "## Going on",
            "",
            "```",
            "# with the training's state",
            "cista train --resume state.pt --pictures PICTURES -o FOLDER --set iterations=N",
            "# with these weights alone; RECIPE: a name, or a file with the configuration below",
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
        f"- {state.windows:,} windows of {data.size}x{data.size} pixels were seen: {share:.1%} of the number that the"
        f" released network's training saw ({_RELEASED_WINDOWS:,}).",
        "- Brightness is relative: images are those of scenes stretched to [0, 1].",
    ]
    if state.iteration < state.config.iterations:
        limits.append("- **The training is not finished**: these are the weights of the last saved state.")
    return limits


def _changes(state: TrainingState) -> list[str]:
    if not state.changes:
        return []
    return ["## Changes on the way", "", *(f"- {change}" for change in state.changes), ""]
