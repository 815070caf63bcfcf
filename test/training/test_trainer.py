"""Networks unrolled over windows, and the schedules of a training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import config

from cista_ros.networks import MODELS, Cista, CistaConfig, Network, make_network
from cista_ros.training.trainer import Unrolled, ema_decay, forcing_probability, learning_rate, sequence_length


def narrow(name: str) -> Network:
    published = MODELS[name]
    return make_network(published if isinstance(published.channels, tuple) else replace(published, channels=4))


@pytest.mark.parametrize("name", MODELS)
def test_teacher_forcing_changes_the_images_of_networks_that_read_the_last_image(name):
    torch.manual_seed(0)
    network = narrow(name).eval()
    unrolled = Unrolled(network)
    voxels, truth, other = torch.randn(3, 2, 5, 21, 26), torch.rand(3, 2, 1, 21, 26), torch.rand(3, 2, 1, 21, 26)
    second = torch.tensor([[False, False], [True, False], [False, False]])

    with torch.no_grad():
        free, _, code_l1 = unrolled(voxels, truth, torch.zeros_like(second), None)
        forced, otherwise = (unrolled(voxels, true, second, None)[0] for true in (truth, other))
        own, state = [], None
        for voxel in voxels:
            image, state = network(voxel, state)
            own.append(image)
    assert torch.equal(free, torch.stack(own))
    assert torch.equal(forced[0], free[0]) and torch.equal(forced[:, 1], free[:, 1])
    assert torch.allclose(forced[1:, 0], free[1:, 0], atol=1e-6) != network.fed_back
    assert torch.allclose(forced[1:, 0], otherwise[1:, 0], atol=1e-6) != network.fed_back
    assert (code_l1 > 0) == (network.codes(state) is not None) == name.startswith("cista")


def test_a_compiled_step_computes_the_same_images():
    torch.manual_seed(0)
    network = Cista(CistaConfig(channels=4, iterations=1))
    voxels, truth = torch.randn(3, 2, 5, 16, 16), torch.rand(3, 2, 1, 16, 16)
    forced = torch.zeros(3, 2, dtype=torch.bool)
    plain = Unrolled(network)(voxels, truth, forced, None)[0]
    # The eager backend needs no compiler.
    compiled = Unrolled(network, torch.compile(network, backend="eager"))(voxels, truth, forced, None)[0]
    assert torch.allclose(plain, compiled, atol=1e-6)


def rates(schedule: str, iterations: int = 100) -> list[float]:
    wanted = config(
        f"iterations={iterations}", f"optimiser.schedule={schedule}", "optimiser.warm_up=10", "optimiser.decay=0.2"
    )
    return [learning_rate(wanted, i) / 1e-3 for i in range(iterations)]


@pytest.mark.parametrize("schedule", ["paper", "cosine", "trapezoid", "constant"])
def test_every_schedule_warms_up(schedule):
    values = rates(schedule)
    assert values[0] == pytest.approx(0.1, rel=0.01) and values[:10] == sorted(values[:10])


def test_each_schedule_has_its_shape():
    assert rates("paper")[49] == 1 and rates("paper")[50] == pytest.approx(0.9)
    assert rates("cosine")[50] == pytest.approx(0.5) and rates("cosine")[99] < 0.001
    trapezoid = rates("trapezoid")
    assert (
        set(trapezoid[10:80]) == {1.0} and trapezoid[90] == pytest.approx(0.5) and trapezoid[99] == pytest.approx(0.05)
    )
    assert rates("constant")[99] == 1


def test_sequences_grow_and_teacher_forcing_ends():
    wanted = config()
    assert [sequence_length(wanted, i) for i in (0, 2, 4, 5)] == [3, 4, 4, 4]
    assert [forcing_probability(wanted, i) for i in (0, 2, 4, 9)] == [0.5, 0.25, 0.0, 0.0]


def test_the_moving_average_starts_with_a_small_decay():
    assert ema_decay(config(), 0) == 0.1 and ema_decay(config(), 10**6) == 0.999
