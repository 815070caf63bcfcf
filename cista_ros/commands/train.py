"""`cista train`: train a network on simulated sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DeviceOption

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ..networks import Network
    from ..training.config import TrainingConfig
    from ..training.state import TrainingState


def train(
    pictures: Annotated[Path, typer.Option(help="Folder of photos to build scenes from.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for state, weights, card and pictures.")],
    config: Annotated[str | None, typer.Argument(help="Recipe name, such as cista-tc, or YAML file.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Train this architecture instead of the recipe's: firenet, e2vid, …")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: data.batch=64."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue from this state, with its configuration.")] = None,
    begin_from: Annotated[
        Path | None, typer.Option("--from", help="Initial weights, by name or file. Default: random.")
    ] = None,
    widened: Annotated[
        bool,
        typer.Option(
            "--widen", help="Initialise a network with twice the channels from --from, preserving its output (Net2Net)."
        ),
    ] = False,
    adapted: Annotated[
        bool, typer.Option("--adapt", help="Load only the weights from --from that match the new architecture.")
    ] = False,
    teacher: Annotated[
        str | None, typer.Option(help="Name or file of the weights for loss.distillation.", metavar="WEIGHTS")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Save and stop after this many minutes.", min=0)] = None,
    device: DeviceOption = "auto",
    backbone: Annotated[Path | None, typer.Option(help="SqueezeNet 1.1 (Keras .h5) for loss.perceptual.")] = None,
    heads: Annotated[Path | None, typer.Option(help="LPIPS-squeeze heads for --backbone.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves to OUTPUT/tensorboard.")] = False,
) -> None:
    """Train a network on sequences that are simulated during training.

    Networks: cista, cista-d, cista-tc, cista-lstc, e2vid, firenet, pie-net, pie-net-lite, spade-e2vid.

    On several GPUs: torchrun --nproc-per-node N -m cista_ros.commands.main train …
    """
    from ..reconstructor import choose_device
    from ..simulation.pictures import load_pictures
    from ..training.config_files import load_config, to_yaml
    from ..training.loop import train as run
    from ..training.perceptual import load_distance
    from ..training.start import unused_settings
    from ..training.state import TrainingError, TrainingState, load_state
    from ..training.trainer import STATE, Trainer, join_workers
    from ..util.atomic import prepare_folder

    changes = [f"model={model}", f"name={model}"] * bool(model) + (overrides or [])
    if resume:
        state = _resumed(load_state(resume), config, changes)
    else:
        state = TrainingState(load_config(config, changes))
        if (output / STATE).exists():
            there = output / STATE
            raise TrainingError(f"{there} exists; continue with --resume {there}, or choose another -o")
        if begin_from:
            state.network = _fitting_weights(begin_from, state.config, widened, adapted)
            state.origin = f"the weights {begin_from}" + (", widened to twice the channels" if widened else "")
            state.origin += ", as far as they fit" if adapted else ""
    workers = join_workers(choose_device(device))
    try:
        wants_distance = state.config.loss.perceptual > 0 or backbone or heads
        distance = load_distance(backbone, heads, workers.device) if wants_distance else None
        trainer = Trainer(state, load_pictures(pictures), workers, distance, _teacher(teacher, state))
        prepare_folder(output)
        say = typer.echo if workers.leads else (lambda line: None)
        say(to_yaml(state.config))
        if unused := unused_settings(state.config, trainer.network):
            say(f"settings without effect on {trainer.network.name}: {', '.join(unused)}")
        held_out = len(trainer.held_out)
        say(f"pictures: {len(trainer.pictures)} to train on, {held_out} held out; processes: {workers.count}")
        why = run(trainer, output, say, minutes, _board(output) if tensorboard and workers.leads else None)
        workers.wait()
        say(f"{why} after {state.iteration} iterations; see {output}")
        if why != "finished":
            files = f" --backbone {backbone} --heads {heads}" if backbone else ""
            files += f" --teacher {teacher}" if teacher else ""
            say(f"continue with: cista train --resume {output / STATE} --pictures {pictures} -o {output}{files}")
    finally:
        workers.close()


def _resumed(state: TrainingState, config: str | None, overrides: list[str]) -> TrainingState:
    """Return the state with the configuration changed; its architecture must stay the same."""
    from ..training.config_files import differences, load_config, override
    from ..training.state import TrainingError

    wanted = load_config(config, overrides) if config else override(state.config, overrides)
    if wanted.network != state.config.network:
        raise TrainingError(f"the state has another architecture: {state.config.network}, not {wanted.network}")
    if wanted.optimiser.method != state.config.optimiser.method:
        state.optimiser = {}  # moments of one method are meaningless to the other
    state.changes += [f"after iteration {state.iteration}, {change}" for change in differences(state.config, wanted)]
    state.config = wanted
    return state


def _teacher(weights: str | None, state: TrainingState) -> Network | None:
    from ..networks import find_weights, load_network
    from ..training.state import TrainingError
    from ..util.atomic import digest_of

    if (weights is None) == bool(state.config.loss.distillation):
        raise TrainingError("--teacher and loss.distillation need each other")
    if weights is None:
        return None
    path = find_weights(weights)
    state.teacher = f"{path.name} (SHA-256 {digest_of(path)})"
    return load_network(path)


def _fitting_weights(path: Path, config: TrainingConfig, widened: bool, adapted: bool) -> dict:
    from ..networks import Cista, CistaConfig, load_network
    from ..networks.widening import adapt, widen
    from ..training.state import TrainingError

    network = load_network(path)
    if widened or adapted:
        if not isinstance(network, Cista) or not isinstance(config.network, CistaConfig):
            raise TrainingError(f"{path}: --widen and --adapt need CISTA networks, not {network.name}, {config.model}")
        try:
            network = widen(network) if widened else network
            network = adapt(network, config.network) if adapted else network
        except ValueError as error:
            raise TrainingError(f"{path}: {error}") from None
    if network.config != config.network:
        raise TrainingError(f"{path}: weights of another architecture: {network.config}, not {config.network}")
    return network.state_dict()


def _board(output: Path) -> SummaryWriter:
    from ..training.state import TrainingError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("--tensorboard needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter(str(output / "tensorboard"))
