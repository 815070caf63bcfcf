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
    """Read the training metadata of a weights file; CheckpointError if cista_ros did not write it."""
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
    config, v = state.config, state.config.validation
    architecture = ", ".join(f"{key} {str(value).lower()}" for key, value in asdict(config.network).items())
    if thresholds(network):
        architecture += "; θ ≥ 0" if config.optimiser.theta == "nonnegative" else "; θ free"
    note = f" ({config.pictures_note})" if config.pictures_note else ""
    teacher = f"\n- **Teacher:** {state.teacher}; see `loss.distillation`." if state.teacher else ""
    unused = unused_settings(config, network)
    without_effect = f"\n- **Settings without effect** on this architecture: {', '.join(unused)}." if unused else ""
    rounded = ", kernels rounded to bfloat16" if config.amp else ""
    rows = [f"| {name} | {value:.4g} |" for name, value in (state.history[-1] if state.history else {}).items()]
    scores = "\n".join(["| held-out | |", "|---|---|", *rows]) if rows else "Not validated yet."
    share = state.windows / _RELEASED_WINDOWS
    unfinished = "\n- **The training is not finished**: these weights are from its last saved state."
    changes = "".join(f"- {change}\n" for change in state.changes)
    changes = f"## Changes during training\n\n{changes}\n" if changes else ""
    return f"""\
# {config.name}

Architecture {network.name} ({architecture}): {count_parameters(network):,} parameters.

## Training

- **Iterations:** {state.iteration:,} of the {config.iterations:,} planned:\
 {state.sequences:,} sequences, {state.windows:,} windows.
- **Time and machine:** {state.seconds / 3600:.2f} hours; {state.machine or "unknown"}.
- **Data:** simulated during training (`cista_ros/simulation`) from {state.pictures:,} grey photos{note},\
 which are not part of this package. No recordings of real event cameras.
- **Initial weights:** {state.origin}.{teacher}{without_effect}
- **Weights:** exponential moving average, decay {config.optimiser.ema}{rounded}.

## Scores

{v.sequences} simulated sequences of {v.windows} windows at {v.size}x{v.size} pixels, from photos not used for\
 training. `_equalised`: both images after histogram equalisation. `zeros`: share of exact zeros in the codes.

{scores}

## Limits

- Trained on {state.windows:,} windows of {config.data.size}x{config.data.size} pixels, {share:.1%} of those that the\
 authors' network was trained on ({_RELEASED_WINDOWS:,}).
- Events do not carry absolute brightness: the mean brightness of images is that of typical camera frames.\
{unfinished if state.iteration < config.iterations else ""}

## Continue training

```
# from the training state
cista train --resume state.pt --pictures PICTURES -o FOLDER --set iterations=N
# from the weights alone; RECIPE is a name, or a file with the configuration below
cista train RECIPE --model {config.model} --from {config.name}.safetensors --pictures PICTURES -o FOLDER
```

{changes}## Configuration

```yaml
{to_yaml(config).rstrip()}
```
"""
