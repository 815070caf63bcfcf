"""One training iteration: simulate sequences, unroll the network over their windows, take steps; validate; save."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree

from ..networks import Conventions, Network, save_network
from ..runtime import Runtime, make_runtime
from ..simulation.pictures import Pictures, split_held_out
from ..simulation.sequences import Sequences, simulate
from ..util.atomic import write_text
from ..voxel_grid import normalise
from .card import model_card, weights_metadata
from .config import TrainingConfig
from .losses import Distance, SequenceLoss, fitted, last_informed
from .start import check_compiler, compile_elementwise, new_network, new_optimiser, thresholds
from .state import TrainingError, TrainingState, failed_writes_named, save_state
from .validation import averaged_network, image_grid, reconstruct, score, validation_sequences

STATE, WEIGHTS, CARD = "state.pt", "weights.safetensors", "card.md"


@dataclass(frozen=True)
class Workers:
    """The place of this process among those that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Return whether this is the process that prints, validates and saves."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; all processes must call this."""
        if self.count == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def wait(self) -> None:
        """Wait for all processes: gloo may abort if one leaves while another still works."""
        if self.count > 1:
            dist.barrier()

    def close(self) -> None:
        """Leave the process group."""
        if self.count > 1:
            dist.destroy_process_group()


def join_workers(device: torch.device) -> Workers:
    """Join the process group that `torchrun` describes in the environment; without it, train alone.

    On GPUs each process uses its own GPU; on CPUs the processes communicate over gloo.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Workers(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), dist.get_world_size(), device)


class Trainer:
    """A network in training and everything that an iteration needs.

    Args:
        state: where to start, from random weights if it has none; TrainingError if they do not fit its configuration.
        pictures: uint8 (h, w) by name, see `load_pictures`; some are held out for validation.
        workers: the group of processes that train together.
        perceptual: see `SequenceLoss`.
        teacher: the network whose images `loss.distillation` compares with; ValueError for one without the other.
    """

    def __init__(
        self,
        state: TrainingState,
        pictures: dict[str, np.ndarray],
        workers: Workers,
        perceptual: Distance | None = None,
        teacher: Network | None = None,
    ) -> None:
        self.config = config = state.config
        self.workers, self.device = workers, workers.device
        self.state = state
        self.perceptual = perceptual
        if (teacher is None) == bool(config.loss.distillation):
            raise ValueError("a teacher and loss.distillation need each other")
        self.teacher = None if teacher is None else Teacher(teacher, self.device, config.amp)
        training, held_out = split_held_out(pictures, config.data.held_out)
        self.pictures, self.held_out = Pictures(training, self.device), Pictures(held_out, self.device)
        self.loss = SequenceLoss(config.loss, perceptual)
        state.pictures = len(self.pictures)

        self.network = new_network(config)
        try:
            for weights in filter(None, (state.average, state.network)):  # the average only to check that it fits
                self.network.load_state_dict(weights)
        except RuntimeError:
            raise TrainingError(f"the weights in the state do not fit its own network ({config.network})") from None
        self.network.conventions = Conventions(normalise=config.data.normalise)
        self.thresholds = thresholds(self.network) if config.optimiser.theta == "nonnegative" else []
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        average = state.average or self.network.state_dict()
        self.average = {key: value.to(self.device).clone() for key, value in average.items()}
        self.optimiser = new_optimiser(config, self.network)
        if state.optimiser:
            self.optimiser.load_state_dict(state.optimiser)
            # The fused step of Adam needs the moments in the memory layout of their weights.
            for weight, moments in self.optimiser.state.items():
                for name, value in moments.items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        moments[name] = torch.empty_like(weight).copy_(value)
        step = None
        if config.compile:
            check_compiler(self.device)
            if self.device.type == "cpu":
                compile_elementwise(self.network)
            else:
                step = torch.compile(self.network)
        unrolled = Unrolled(self.network, step)
        self.unrolled: nn.Module = DistributedDataParallel(unrolled) if workers.count > 1 else unrolled
        self._validation: Sequences | None = None

    def iterate(self, clock: Callable[[str], None] = lambda name: None) -> dict[str, Tensor]:
        """Run one iteration and return the parts of its loss; `clock` is called after simulation and training."""
        config, i = self.config, self.state.iteration
        # Everything random follows from the seed, the iteration and the process, so a resumed training is exact.
        seed = (config.seed * 1_000_003 + i) * self.workers.count + self.workers.rank
        generator = torch.Generator(self.device).manual_seed(seed)
        data, windows, bins = config.data, sequence_length(config, i), config.network.bins
        size = data.size, data.size
        sequences = simulate(self.pictures, config.simulation, data.batch, windows, size, bins, generator)
        voxels, truth, rests = sequences
        taught = None if self.teacher is None else self.teacher.images(sequences)
        voxels = normalise(voxels) if data.normalise else voxels
        forced = torch.rand(windows, data.batch, device=self.device, generator=generator)
        forced = forced < forcing_probability(config, i)
        forced[0] = False
        clock("simulate")

        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, i)
        state, informed, parts = None, None, {}
        for chunk in torch.arange(windows).split(config.optimiser.tbptt or windows):
            first, end = int(chunk[0]), int(chunk[-1]) + 1
            with torch.autocast(self.device.type, torch.bfloat16, enabled=config.amp):
                images, state, code_l1 = self.unrolled(voxels[first:end], truth[first:end], forced[first:end], state)
            state = pytree.tree_map(Tensor.detach, state)  # cut from the graph
            hold = None
            if config.loss.hold:
                informed = last_informed(images, rests[first:end], None if informed is None else informed[-1])
                hold = rests[first:end], informed
            if losses := self.loss(images, truth[first : end + 1], code_l1, first, windows, hold):
                if taught is not None:
                    from_teacher = self.loss(images, taught[first : end + 1], code_l1, first, windows, hold)["total"]
                    total = torch.lerp(losses["total"], from_teacher, config.loss.distillation)
                    losses |= {"distillation": from_teacher, "total": total}
                parts = losses
                self._step(losses["total"])
        clock("train")
        self.state.iteration += 1
        self.state.sequences += data.batch * self.workers.count
        self.state.windows += data.batch * self.workers.count * windows
        return {key: value.detach() for key, value in parts.items()}

    def _step(self, loss: Tensor) -> None:
        optimiser = self.config.optimiser
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), optimiser.clip)
        # After the reduction of DDP the norm is the same in all processes, so that all of them stop.
        if not norm.isfinite():
            raise TrainingError(
                f"iteration {self.state.iteration}: the gradient is not finite (loss {float(loss.detach()):g});"
                f" training stopped. Resume from the last saved state with a smaller optimiser.learning_rate"
            )
        self.optimiser.step()
        for theta in self.thresholds:
            theta.detach().clamp_(min=0)
        # Statistics of batch normalisation are averaged like weights; its step counter is not a float and is copied.
        values, decay = self.network.state_dict(), ema_decay(self.config, self.state.iteration)
        averaged = [key for key, value in values.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[key] for key in averaged], [values[key] for key in averaged], 1 - decay)
        for key in values.keys() - averaged:
            self.average[key].copy_(values[key])

    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """Score the averaged weights on the held-out sequences; return the scores and a uint8 picture."""
        if self._validation is None:
            self._validation = validation_sequences(self.held_out, self.config)
        network = averaged_network(self.network, self.average, self.config.amp)
        images, zeros = reconstruct(network, self._validation.voxels)
        skip = min(self.config.loss.first_window, len(images) - 1)
        scores = score(images[skip:], self._validation.images[skip + 1 :], self.perceptual)
        scores |= {} if zeros is None else {"zeros": zeros}
        return {"iteration": self.state.iteration, **scores}, image_grid(self._validation, images)

    def save(self, folder: Path) -> None:
        """Write the state, and the averaged weights with their model card."""
        self.state.network = _on_cpu(dict(self.network.state_dict()))
        self.state.average = _on_cpu(self.average)
        self.state.optimiser = _on_cpu(self.optimiser.state_dict())
        save_state(self.state, folder / STATE)
        network = averaged_network(self.network, self.average, self.config.amp)
        with failed_writes_named(folder / WEIGHTS):
            save_network(network, folder / WEIGHTS, weights_metadata(self.state))
        with failed_writes_named(folder / CARD):
            write_text(folder / CARD, model_card(self.state, network))


class Teacher:
    """Another network whose images are part of the loss: true images contain much that no event has reported yet."""

    def __init__(self, network: Network, device: torch.device, amp: bool) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.device, self.amp = device, amp
        self._runtime: Runtime | None = None

    def images(self, sequences: Sequences) -> Tensor:
        """Return the teacher's images (T + 1, N, 1, H, W), aligned like the true ones and fitted to them.

        The fit (least squares, one scale and one offset for each image) keeps the teacher's structure and takes
        brightness from the true images.
        """
        if self.device.type == "cpu":
            images = self._on_cpu(sequences.voxels)
        else:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                images, _ = reconstruct(self.network, sequences.voxels)
        # The clone leaves inference mode.
        return torch.cat((sequences.images[:1], fitted(images.clone(), sequences.images[1:])))

    @torch.inference_mode()
    def _on_cpu(self, voxels: Tensor) -> Tensor:
        """Images (T, N, 1, H, W), one sequence after the other in the fastest runtime of this CPU."""
        if self._runtime is None:
            precision = "auto" if self.amp else "fp32"
            height, width = voxels.shape[-2:]
            self._runtime, _ = make_runtime("auto", self.network, height, width, self.device, precision)
        images = []
        for sequence in voxels.unbind(1):
            self._runtime.reset()
            grids = normalise(sequence[:, None])[:, 0] if self.network.conventions.normalise else sequence
            images.append(torch.stack([self._runtime.step(grid).clone() for grid in grids]))
        return torch.stack(images, 1)[:, :, None].clamp(0, 1)


class Unrolled(nn.Module):
    """A network run over consecutive windows, as one module: what back-propagation through time and DDP see.

    step: the network, or a compiled version of it.
    """

    def __init__(self, network: Network, step: Callable[..., tuple[Tensor, Any]] | None = None) -> None:
        super().__init__()
        self.network = network
        self._step = [network if step is None else step]  # in a list, so that it is not registered a second time

    def forward(self, voxels: Tensor, truth: Tensor, forced: Tensor, state: Any) -> tuple[Tensor, Any, Tensor]:
        """Reconstruct T windows in turn.

        Args:
            voxels: voxel grids (T, N, B, H, W).
            truth: images (T, N, 1, H, W) of the scene at the start of each window.
            forced: bool (T, N): where the network is given the true image instead of its own last one (see
                Network.with_last_image). The first window of a sequence has no image before it.
            state: state after the windows before; None at the start of the sequences.

        Returns images float32 (T, N, 1, H, W), the state after them, and the mean absolute value of the sparse codes (0
        for a network without codes).
        """
        network = self.network
        images, sizes = [], []
        for voxel, true, force in zip(voxels, truth, forced, strict=True):
            if state is not None:
                state = network.with_last_image(state, true, force)
            image, state = self._step[0](voxel, state)
            images.append(image.float())
            codes = network.codes(state)
            sizes.append(voxel.new_zeros(()) if codes is None else codes.abs().mean().float())
        return torch.stack(images), state, torch.stack(sizes).mean()


# Schedules are functions of the iteration (0-based) alone, so that a resumed training agrees with an unbroken one.


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """Return the learning rate of an iteration."""
    optimiser = config.optimiser
    progress = iteration / config.iterations
    if optimiser.schedule == "paper":
        factor = 0.9 ** math.floor(2 * progress)  # 20 epochs, 10 % less every 10
    elif optimiser.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    elif optimiser.schedule == "trapezoid":
        factor = min(1.0, (1 - progress) / optimiser.decay)
    else:
        factor = 1.0
    warm = min(1.0, (iteration + 1) / optimiser.warm_up) if optimiser.warm_up else 1.0
    return optimiser.learning_rate * factor * warm


def sequence_length(config: TrainingConfig, iteration: int) -> int:
    """Return the number of windows of an iteration's sequences."""
    data = config.data
    share = min(1.0, iteration / data.windows_grow) if data.windows_grow else 1.0
    return round(data.windows_at_start + share * (data.windows - data.windows_at_start))


def forcing_probability(config: TrainingConfig, iteration: int) -> float:
    """Return the probability of teacher forcing in a window."""
    forcing = config.forcing
    share = min(1.0, iteration / forcing.iterations)
    return forcing.start + share * (forcing.end - forcing.start)


def ema_decay(config: TrainingConfig, iteration: int) -> float:
    """Return the decay of the moving average of the weights; smaller at first, to forget the random start."""
    return min(config.optimiser.ema, (1 + iteration) / (10 + iteration))


def _on_cpu(values: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda v: v.detach().cpu().clone(memory_format=torch.contiguous_format), values)
