"""Configurations: read, kept, and refused with the key that is wrong."""

from __future__ import annotations

import pytest

from cista_ros.training.config import ConfigError, TrainingConfig, differences, load_config, override, recipes, to_yaml


def test_what_is_printed_reads_back_the_same(tmp_path):
    config = override(TrainingConfig(), ["network.channels=32", "simulation.camera.threshold=[0.2, 0.3]", "amp=true"])
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "c.yaml") == config != TrainingConfig()


@pytest.mark.parametrize("name", recipes())
def test_recipes_are_valid_and_found_by_name(name):
    assert load_config(name).name in (name, name.removesuffix("-cpu"), "cista-tc")


def test_numbers_that_yaml_reads_as_text_are_numbers():
    assert override(TrainingConfig(), ["optimiser.learning_rate=3e-4"]).optimiser.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: 1", r"unknown key learning_rate \(known here: amp, .*seed"),
        ("optimiser: {lr: 1}", r"unknown key optimiser\.lr \(known here: betas,"),
        ("network: {channels: 33}", "network: channels must be even"),
        ("network: {channels: many}", "network.channels must be of type int, not 'many'"),
        ("data: {size: 4}", "data.size must be at least 16"),
        ("data: 5", "data.* must hold keys and values, not 5"),
        ("loss: {images: some}", "loss.images must be one of last, all, not 'some'"),
        ("loss: {l1: -1}", "weights of the loss must not be negative"),
        ("optimiser: {learning_rate: fast}", "optimiser.learning_rate must be a number, not 'fast'"),
        ("optimiser: {learning_rate: .nan}", "optimiser.learning_rate must be a number"),
        ("optimiser: {warm_up: -1}", "optimiser.warm_up must not be negative"),
        ("simulation: {camera: {threshold: [0.5, 0.1]}}", "simulation.camera.threshold: the lowest value 0.5 is above"),
        ("simulation: {camera: {threshold: [0, 0.1]}}", "simulation.camera.threshold must be above 0"),
        ("simulation: {camera: {threshold: 0.1}}", "must be a list of 2 numbers, not 0.1"),
        ("- a\n- b", "must hold keys and values"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_configuration_is_refused_by_key(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_differences_are_told_key_by_key():
    changed = override(TrainingConfig(), ["data.batch=3", "simulation.camera.threshold=[0.2, 0.3]"])
    assert differences(TrainingConfig(), changed) == [
        "data.batch: 8 -> 3",
        "simulation.camera.threshold: [0.1, 0.8] -> [0.2, 0.3]",
    ]


@pytest.mark.parametrize("item", ["iterations", "iterations.x=1", "nothing.x=1"])
def test_a_bad_override_is_refused(item):
    with pytest.raises(ConfigError):
        override(TrainingConfig(), [item])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"nowhere.yaml: No such file or directory, and no recipe of that name \(cista, "
    ):
        load_config(tmp_path / "nowhere.yaml")
