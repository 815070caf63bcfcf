"""A network in training: simulate a batch of sequences, unroll the network over them, step; validate; save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..networks import Conventions, Network, save_network
from ..runtime import Runtime, make_runtime
from ..simulation.pictures import Pictures, split_held_out
from ..simulation.sequences import Sequences, simulate
from ..voxel_grid import normalise
from .beginning import new_network, new_optimiser, thresholds
from .card import model_card, weights_metadata
from .elementwise import check_tools, compile_elementwise
from .losses import Distance, SequenceLoss, fitted, last_told
from .schedule import ema_decay, learning_rate, sequence_length, teacher_probability
from .state import TrainingError, TrainingState, save_state, write_aside
from .unrolled import Unrolled, detach
from .validation import averaged_network, image_grid, reconstruct, score, validation_sequences
from .workers import Workers

STATE, WEIGHTS, CARD = "state.pt", "weights.safetensors", "card.md"


class Trainer:
    """A network in training, with all that one iteration needs.

    Args:
        state: where to begin; an empty one for the beginning.
        pictures: of training and validation alike, by name (see `load_pictures`).
        workers: this process among those that train together.
        perceptual: see SequenceLoss.
        tutor: the network whose images loss.distilled is taken against.
    """

    def __init__(
        self,
        state: TrainingState,
        pictures: dict,
        workers: Workers,
        perceptual: Distance | None = None,
        tutor: Network | None = None,
    ) -> None:
        self.config = config = state.config
        self.workers, self.device = workers, workers.device
        self.state = state
        self.perceptual = perceptual
        if (tutor is None) == bool(config.loss.distilled):
            raise ValueError("a tutor and loss.distilled need each other")
        self.tutor = None if tutor is None else tutor.to(self.device).eval().requires_grad_(False)
        self._tutoring: Runtime | None = None
        training, held_out = split_held_out(pictures, config.data.held_out)
        self.pictures, self.held_out = Pictures(training, self.device), Pictures(held_out, self.device)
        self.loss = SequenceLoss(config.loss, perceptual)
        state.pictures = len(self.pictures)

        self.network = new_network(config)
        if state.network:
            _check_weights(state, self.network.state_dict())
            self.network.load_state_dict(state.network)
        self.thresholds = thresholds(self.network) if config.optimiser.theta == "nonnegative" else []
        self.network.conventions = Conventions(normalise=config.data.normalise)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network.to(self.device, memory_format=layout)
        self.average = {
            key: value.to(self.device).clone() for key, value in (state.average or self.network.state_dict()).items()
        }
        self.optimiser = new_optimiser(config, self.network)
        if state.optimiser:
            self.optimiser.load_state_dict(state.optimiser)
            # Adam's fused step walks through memory: moments must lie there as their weights do.
            for weight, moments in self.optimiser.state.items():
                for name, value in moments.items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        moments[name] = torch.empty_like(weight).copy_(value)
        unrolled = Unrolled(self.network, self._compiled() if config.compile else None)
        self.unrolled = DistributedDataParallel(unrolled) if workers.count > 1 else unrolled
        self._validation = None

    def _compiled(self) -> Callable | None:
        """On a GPU the compiled network; on a CPU None, and parts of network and tutor are compiled in place."""
        check_tools(self.device, "compile: true")
        if self.device.type != "cpu":
            return torch.compile(self.network)
        compile_elementwise(self.network)
        return None

    def iterate(self, clock: Callable[[str], None] = lambda name: None) -> dict[str, Tensor]:
        """One iteration; the parts of its loss. `clock` is told when the simulation and the training are over."""
        config, i = self.config, self.state.iteration
        seed = (config.seed * 1_000_003 + i) * self.workers.count + self.workers.rank
        generator = torch.Generator(self.device).manual_seed(seed)
        data, windows, bins = config.data, sequence_length(config, i), config.network.bins
        voxels, truth, rests = simulate(
            self.pictures, config.simulation, data.batch, windows, (data.size, data.size), bins, generator
        )
        lesson = self._lesson(Sequences(voxels, truth, rests))
        voxels = normalise(voxels) if data.normalise else voxels
        forced = torch.rand(windows, data.batch, device=self.device, generator=generator) < teacher_probability(
            config, i
        )
        forced[0] = False
        clock("simulate")

        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, i)
        state, told, parts = None, None, {}
        for chunk in torch.arange(windows).split(config.optimiser.tbptt or windows):
            first, end = int(chunk[0]), int(chunk[-1]) + 1
            with torch.autocast(self.device.type, torch.bfloat16, enabled=config.amp):
                images, state, code_l1 = self.unrolled(voxels[first:end], truth[first:end], forced[first:end], state)
            state = detach(state)
            hold = None
            if config.loss.hold:
                told = last_told(images, rests[first:end], None if told is None else told[-1])
                hold = rests[first:end], told
            if losses := self.loss(images, truth[first : end + 1], code_l1, first, windows, hold):
                if lesson is not None:
                    taught = self.loss(images, lesson[first : end + 1], code_l1, first, windows, hold)["total"]
                    share = config.loss.distilled
                    losses |= {"distilled": taught, "total": (1 - share) * losses["total"] + share * taught}
                parts = losses
                self._step(losses["total"])
        clock("train")
        self.state.iteration += 1
        self.state.sequences += data.batch * self.workers.count
        self.state.windows += data.batch * self.workers.count * windows
        return {key: value.detach() for key, value in parts.items()}

    def _lesson(self, sequences: Sequences) -> Tensor | None:
        """Return the teacher's images, fitted to the true ones and aligned like them; None without a teacher.

        The fit (least squares, one scale and one offset an image) takes the teacher's structure and leaves brightness
        to the true images.
        """
        voxels, truth = sequences.voxels, sequences.images
        if self.tutor is None:
            return None
        if self.device.type == "cpu":
            images = self._told(voxels)
        else:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp):
                images, _ = reconstruct(self.tutor, sequences)
        return torch.cat((truth[:1], fitted(images.clone(), truth[1:])))  # the clone leaves inference mode

    @torch.inference_mode()
    def _told(self, voxels: Tensor) -> Tensor:
        """The tutor's images (T, N, 1, H, W), one sequence after the other in the fastest runtime of this CPU."""
        if self._tutoring is None:
            precision = "auto" if self.config.amp else "fp32"
            self._tutoring, _ = make_runtime("auto", self.tutor, *voxels.shape[-2:], self.device, precision)
        told = []
        for sequence in voxels.unbind(1):
            self._tutoring.reset()
            grids = normalise(sequence[:, None])[:, 0] if self.tutor.conventions.normalise else sequence
            told.append(torch.stack([self._tutoring.step(grid).clone() for grid in grids]))
        return torch.stack(told, 1)[:, :, None].clamp(0, 1)

    def _step(self, loss: Tensor) -> None:
        optimiser = self.config.optimiser
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), optimiser.clip)
        # After DDP's reduction the norm is the same in all processes, so that all of them stop.
        if not norm.isfinite():
            raise TrainingError(
                f"iteration {self.state.iteration}: the gradient is not finite (loss {float(loss.detach()):g});"
                f" stopped. The last saved state is good; go on from it with a smaller optimiser.learning_rate"
            )
        self.optimiser.step()
        for theta in self.thresholds:
            theta.detach().clamp_(min=0)
        # The statistics of batch normalisation are averaged with the weights; its counter of steps is not a float.
        values, decay = self.network.state_dict(), ema_decay(self.config, self.state.iteration)
        averaged = [key for key, value in values.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[key] for key in averaged], [values[key] for key in averaged], 1 - decay)
        for key in values.keys() - averaged:
            self.average[key].copy_(values[key])

    def validate(self) -> tuple[dict[str, float], object]:
        """Scores of the averaged weights on the held-out sequences, and their picture."""
        if self._validation is None:
            self._validation = validation_sequences(self.held_out, self.config)
        network = averaged_network(self.network, self.average, self.config.amp)
        images, zeros = reconstruct(network, self._validation)
        skip = min(self.config.loss.first_window, len(images) - 1)
        scores = score(images[skip:], self._validation.images[skip + 1 :], self.perceptual)
        scores |= {} if zeros is None else {"zeros": zeros}
        return {"iteration": self.state.iteration, **scores}, image_grid(self._validation, images)

    def save(self, folder: Path) -> None:
        """Write the state, and the averaged weights as a network anyone can load."""
        self.state.network = _on_cpu(self.network.state_dict())
        self.state.average = _on_cpu(self.average)
        self.state.optimiser = _on_cpu(self.optimiser.state_dict())
        save_state(self.state, folder / STATE)
        network = averaged_network(self.network, self.average, self.config.amp)
        write_aside(folder / WEIGHTS, lambda aside: save_network(network, aside, weights_metadata(self.state)))
        write_aside(folder / CARD, lambda aside: aside.write_text(model_card(self.state, network)))


def _check_weights(state: TrainingState, expected: dict[str, Tensor]) -> None:
    """TrainingError unless a state's weights, and their average if there is one, are those of its own network."""
    for weights in filter(None, (state.network, state.average)):
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
            raise TrainingError(f"the state's weights are not those of its own network ({state.config.network})")


def _on_cpu(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: _on_cpu(inner) for key, inner in value.items()}
    return [_on_cpu(inner) for inner in value] if isinstance(value, list) else value
