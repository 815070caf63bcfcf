"""The loop, on the smallest training there is."""

from __future__ import annotations

import os
import signal

import cv2
import pytest
import torch
from small import config, pictures, trainer

from cista_ros.networks import load_network, make_network
from cista_ros.training.card import read_summary
from cista_ros.training.loop import train
from cista_ros.training.start import new_network, unused_settings
from cista_ros.training.state import TrainingError, TrainingState, load_state
from cista_ros.training.trainer import CARD, STATE, WEIGHTS, Trainer, Workers
from cista_ros.training.validation import reconstruct, validation_sequences

LONE = Workers(0, 1, torch.device("cpu"))


def losses(run: Trainer, count: int) -> list[float]:
    return [float(run.iterate()["total"]) for _ in range(count)]


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["optimiser.tbptt=2"],
        ["optimiser.method=muon"],
        ["amp=true", "network.shared=false", "loss.temporal=0.5"],
        ["model=cista-lstc", "network.channels=4"],
        ["model=firenet", "network.channels=4", "optimiser.method=muon", "optimiser.tbptt=2"],
        ["model=e2vid", "network.channels=4", "amp=true"],
        ["model=spade-e2vid", "network.channels=4", "optimiser.tbptt=2"],
    ],
)
def test_resumed_after_a_kill_the_losses_are_those_of_the_unbroken_training(tmp_path, more):
    whole = trainer(*more)
    unbroken = losses(whole, 6)
    broken = trainer(*more)
    first = losses(broken, 3)
    broken.save(tmp_path)
    losses(broken, 1)  # what a kill would throw away
    resumed = trainer(state=load_state(tmp_path / STATE))
    assert first + losses(resumed, 3) == unbroken
    for name, value in whole.average.items():
        assert torch.equal(value, resumed.average[name])
    assert whole.validate()[0] == resumed.validate()[0]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_loss_compares_with_the_images_of_the_teacher(share):
    teacher = trainer("seed=5").network
    taught = Trainer(TrainingState(config(f"loss.distillation={share}")), pictures(), LONE, teacher=teacher)
    untaught = trainer()
    told, plain = taught.iterate(), untaught.iterate()
    assert float(told["distillation"]) != float(plain["total"])
    expected = share * told["distillation"] + (1 - share) * plain["total"]
    torch.testing.assert_close(told["total"], expected)


def test_a_network_that_is_its_own_teacher_learns_brightness_only():
    def distillation(teacher):
        state = TrainingState(config("loss.distillation=1", "forcing.start=0"))
        state.network = {key: value.clone() for key, value in own.state_dict().items()}
        return float(Trainer(state, pictures(), LONE, teacher=teacher).iterate()["distillation"])

    own = trainer("forcing.start=0").network
    assert distillation(own) < distillation(trainer("forcing.start=0", "seed=5").network)


def test_any_network_can_be_the_teacher_of_a_training_in_bf16():
    teacher = make_network("firenet")
    parts = Trainer(
        TrainingState(config("loss.distillation=0.5", "amp=true")), pictures(), LONE, teacher=teacher
    ).iterate()
    assert float(parts["distillation"]) > 0


def test_a_teacher_and_its_share_need_each_other():
    for share, teacher in ((0.5, None), (0.0, trainer().network)):
        with pytest.raises(ValueError, match="need each other"):
            Trainer(TrainingState(config(f"loss.distillation={share}")), pictures(), LONE, teacher=teacher)


def test_it_learns_a_batch_by_heart():
    run = trainer("optimiser.learning_rate=5e-3", "optimiser.warm_up=0", "forcing.start=0")
    values = []
    for _ in range(50):
        values += losses(run, 1)
        run.state.iteration = 0  # the same batch again
    assert values[-1] < 0.75 * values[0]


@pytest.mark.parametrize("amp", [False, True])
def test_a_whole_training_leaves_state_weights_card_and_grids(tmp_path, amp):
    lines = []
    run = trainer(f"amp={str(amp).lower()}")
    why = train(run, tmp_path, lines.append)
    assert why == "finished" and run.state.iteration == 6
    assert [line.split()[1] for line in lines if line.startswith("iteration")] == [f"{i}/6" for i in range(1, 7)]
    assert "% simulation" in lines[0]
    grid = cv2.imread(str(tmp_path / "validation" / "00000006.png"), cv2.IMREAD_GRAYSCALE)
    assert grid.shape == (2 * 34, 4 * 3 * 34)
    # The weights are the average, with amp as its steps saw it, and score what the card says.
    network = load_network(tmp_path / WEIGHTS)
    for key, value in network.state_dict().items():
        average = run.average[key]
        assert torch.equal(value, average.bfloat16().float() if amp and value.dim() == 4 else average)
    images, _ = reconstruct(network, validation_sequences(run.held_out, run.config).voxels)
    summary = read_summary(tmp_path / WEIGHTS)
    truth = validation_sequences(run.held_out, run.config).images
    assert summary.scores["mse"] == pytest.approx(float((images[2:] - truth[3:]).square().mean()), rel=1e-5)
    assert (summary.iterations, summary.parameters) == (6, sum(p.numel() for p in network.parameters()))
    card = (tmp_path / CARD).read_text()
    assert "6 of the 6 planned: 12 sequences, 44 windows" in card and "random weights" in card
    assert f"| mse | {summary.scores['mse']:.4g} |" in card and "not finished" not in card
    assert ("rounded to bfloat16" in card) == amp


def test_a_gradient_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path):
    run = trainer()

    usual = run.loss

    def poisoned(*arguments):
        parts = usual(*arguments)
        parts["total"] = parts["total"] * (torch.nan if run.state.iteration == 3 else 1.0)
        return parts

    run.loss = poisoned
    with pytest.raises(TrainingError, match=r"iteration 3: the gradient is not finite"):
        train(run, tmp_path, lambda line: None)
    kept = load_state(tmp_path / STATE)
    assert kept.iteration == 3 and all(v.isfinite().all() for v in kept.network.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(tmp_path, number):
    def interrupt(line: str) -> None:
        if line.startswith("iteration 2/"):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    why = train(trainer("save_minutes=60"), tmp_path, interrupt)
    assert why == "interrupted" and load_state(tmp_path / STATE).iteration == 2
    assert signal.getsignal(number) is before


def test_time_is_up(tmp_path):
    why = train(trainer(), tmp_path, lambda line: None, minutes=0)
    assert why == "out of time" and load_state(tmp_path / STATE).iteration == 1
    assert train(trainer("iterations=1"), tmp_path, lambda line: None, minutes=0) == "finished"


def test_thresholds_stay_at_least_zero_if_asked_for():
    free, kept = (
        trainer("optimiser.learning_rate=0.1"),
        trainer("optimiser.learning_rate=0.1", "optimiser.theta=nonnegative"),
    )
    losses(free, 3), losses(kept, 3)
    assert free.network.blocks[0].theta.min() < 0
    assert kept.network.blocks[0].theta.min() >= 0


@pytest.mark.parametrize(
    ("name", "unused"),
    [
        ("cista-lstc", []),
        ("spade-e2vid", ["loss.sparsity", "optimiser.theta"]),
        ("e2vid", ["forcing", "loss.sparsity", "optimiser.theta"]),
        ("firenet", ["forcing", "loss.sparsity", "optimiser.theta", "optimiser.forget_bias"]),
    ],
)
def test_peers_train_and_the_card_tells_which_settings_they_have_no_use_for(tmp_path, name, unused):
    narrow = [f"model={name}", "network.channels=4", "iterations=2", "validation.every=2"]
    run = trainer(*narrow, "loss.sparsity=0.1", "optimiser.theta=nonnegative")
    assert unused_settings(run.config, run.network) == unused
    train(run, tmp_path, lambda line: None)
    network = load_network(tmp_path / WEIGHTS)
    assert network.name == name and network.conventions.normalise
    assert all(torch.equal(v, run.average[k]) for k, v in network.state_dict().items())
    summary = read_summary(tmp_path / WEIGHTS)
    assert summary.parameters == sum(p.numel() for p in run.network.parameters())
    assert ("zeros" in summary.scores) == (name == "cista-lstc")
    card = (tmp_path / CARD).read_text()
    assert f"Architecture {name} (bins 5, channels 4" in card and f"--model {name} --from" in card
    assert (f"on this architecture: {', '.join(unused)}." in card) == bool(unused)


def test_the_forget_gates_of_all_convlstms_begin_open():
    network = new_network(config("model=e2vid", "network.channels=4"))
    for encoder, channels in zip(network.encoders, (8, 16, 32), strict=True):
        assert encoder.memory.gates.bias[channels : 2 * channels].eq(1).all()
        assert encoder.memory.gates.bias[:channels].ne(1).all()


def test_a_state_whose_weights_are_those_of_another_network_is_refused(tmp_path):
    run = trainer("model=firenet", "network.channels=4")
    run.save(tmp_path)
    state = load_state(tmp_path / STATE)
    state.config = config()
    with pytest.raises(TrainingError, match=r"do not fit its own network \(CistaConfig"):
        trainer(state=state)


def test_the_same_seed_begins_with_the_same_network():
    a, b, c = (new_network(config(f"seed={s}")).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


def test_the_pictures_held_out_are_never_trained_on():
    run = trainer()
    assert len(run.pictures) == 5 and len(run.held_out) == 1 and len(pictures()) == 6
