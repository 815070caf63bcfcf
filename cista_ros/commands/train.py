"""`cista train`: pictures in, weights out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..networks import Network
    from ..training.config import TrainingConfig
    from ..training.state import TrainingState


def train(
    config: Annotated[
        str | None, typer.Argument(help="A recipe by name, such as cista-tc, or a YAML file. Default: all defaults.")
    ] = None,
    pictures: Annotated[Path, typer.Option(help="Folder of pictures that scenes are made of.")] = ...,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for state, weights, card and grids.")] = ...,
    model: Annotated[
        str | None, typer.Option(help="Train this network, as published, instead of the recipe's: firenet, e2vid, …")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. data.batch=64.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on from this state, with its configuration.")] = None,
    begin_from: Annotated[
        Path | None, typer.Option("--from", help="Begin with these weights instead of random ones.")
    ] = None,
    widened: Annotated[
        bool, typer.Option("--widen", help="Make the weights of --from fit a network twice as wide; it begins as good.")
    ] = False,
    adapted: Annotated[
        bool, typer.Option("--adapt", help="Take of --from what fits: for an ablation, or separate blocks.")
    ] = False,
    tutor: Annotated[
        str | None, typer.Option(help="Weights, by name or file, that loss.distilled learns from.", metavar="WEIGHTS")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop, saved, after this many minutes.", min=0)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    backbone: Annotated[Path | None, typer.Option(help="SqueezeNet 1.1 as Keras .h5, for loss.perceptual.")] = None,
    heads: Annotated[Path | None, typer.Option(help="The heads of LPIPS-squeeze that go with it.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write OUTPUT/tensorboard.")] = False,
) -> None:
    """Train a network on sequences that are simulated while it trains.

    Networks: cista, cista-d, cista-tc, cista-lstc, e2vid, firenet, spade-e2vid.

    On several GPUs: torchrun --nproc-per-node N -m cista_ros.commands.main train …
    """
    from ..reconstructor import choose_device
    from ..simulation.pictures import load_pictures
    from ..training.beginning import without_effect
    from ..training.config_files import load_config, to_yaml
    from ..training.loop import train as run
    from ..training.perceptual import load_distance
    from ..training.state import TrainingError, TrainingState, load_state
    from ..training.trainer import STATE, Trainer
    from ..training.workers import join_workers

    changes = [f"model={model}", f"name={model}"] * bool(model) + (overrides or [])
    if resume:
        state = _resumed(load_state(resume), config, changes)
    else:
        state = TrainingState(load_config(config, changes))
        if (output / STATE).exists():
            there = output / STATE
            raise TrainingError(f"{there}: a training lies there; go on with --resume {there}, or choose another -o")
        if begin_from:
            state.network = _fitting_weights(begin_from, state.config, widened, adapted)
            state.origin = f"the weights {begin_from}" + (", widened to twice the channels" if widened else "")
            state.origin += ", as far as they fit" if adapted else ""
    workers = join_workers(choose_device(device))
    try:
        wants_distance = state.config.loss.perceptual > 0 or backbone or heads
        distance = load_distance(backbone, heads) if wants_distance else None
        if distance is not None:
            distance = distance.to(workers.device)
        trainer = Trainer(state, load_pictures(pictures), workers, distance, _tutor(tutor, state))
        say = typer.echo if workers.leads else (lambda line: None)
        say(to_yaml(state.config))
        if in_vain := without_effect(state.config, trainer.network):
            say(f"without effect on a network of the kind {trainer.network.name}: {', '.join(in_vain)}")
        held_out = len(trainer.held_out)
        say(f"pictures: {len(trainer.pictures)} to train on, {held_out} held out; processes: {workers.count}")
        outcome = run(trainer, output, say, minutes, _board(output) if tensorboard and workers.leads else None)
        workers.wait()
        say(f"{outcome.why} after {state.iteration} iterations; see {output}")
        if outcome.why != "finished":
            files = f" --backbone {backbone} --heads {heads}" if backbone else ""
            files += f" --tutor {tutor}" if tutor else ""
            say(f"go on with: cista train --resume {output / STATE} --pictures {pictures} -o {output}{files}")
    finally:
        workers.close()


def _resumed(state: TrainingState, config: str | None, overrides: list[str]) -> TrainingState:
    """The state, its configuration changed as asked for; its network must stay what it is."""
    from ..training.config_files import differences, load_config, override
    from ..training.state import TrainingError

    wanted = load_config(config, overrides) if config else override(state.config, overrides)
    if wanted.network != state.config.network:
        raise TrainingError(f"the state is of another architecture: {state.config.network}, not {wanted.network}")
    if wanted.optimiser.method != state.config.optimiser.method:
        state.optimiser = {}  # the other method's averages mean nothing to this one
    state.changes += [f"after iteration {state.iteration}, {change}" for change in differences(state.config, wanted)]
    state.config = wanted
    return state


def _tutor(weights: str | None, state: TrainingState) -> Network | None:
    from ..networks import find_weights, load_network
    from ..training.state import TrainingError
    from ..util.atomic import sha256_of

    if (weights is None) == bool(state.config.loss.distilled):
        raise TrainingError("--tutor and loss.distilled need each other")
    if weights is None:
        return None
    path = find_weights(weights)
    state.tutor = f"{path.name} (SHA-256 {sha256_of(path)})"
    return load_network(path)


def _fitting_weights(path: Path, config: TrainingConfig, widened: bool, adapted: bool) -> dict:
    from ..networks import Cista, CistaConfig, load_network
    from ..networks.widening import adapt, widen
    from ..training.state import TrainingError

    network = load_network(path)
    if (widened or adapted) and not (isinstance(network, Cista) and isinstance(config.network, CistaConfig)):
        raise TrainingError(f"{path}: of {network.name} for {config.model}; only CISTA's can be widened or adapted")
    if widened:
        network = widen(network)
    if adapted:
        try:
            network = adapt(network, config.network)
        except ValueError as error:
            raise TrainingError(f"{path}: {error}") from None
    if network.config != config.network:
        raise TrainingError(f"{path}: weights of another architecture: {network.config}, not {config.network}")
    return network.state_dict()


def _board(output: Path) -> object:
    from ..training.state import TrainingError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("--tensorboard needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter(str(output / "tensorboard"))
