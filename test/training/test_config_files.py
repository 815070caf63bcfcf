"""Configurations: read, kept, and refused with the key that is wrong."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from cista_ros.networks import MODELS, CistaConfig
from cista_ros.training.config import ConfigError, TrainingConfig
from cista_ros.training.config_files import config_from, differences, load_config, override, recipes, to_yaml


def test_printed_configurations_are_read_back(tmp_path):
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
        ("optimiser: {warm_up: -1}", "optimiser.warm_up must be at least 0"),
        ("optimiser: {betas: [0.9, 1]}", "optimiser.betas must be at least 0 and below 1"),
        ("forcing: {iterations: 0}", "forcing.iterations must be at least 1"),
        ("data: {windows_grow: -1}", "data.windows_grow must be at least 0"),
        ("loss: {first_window: -1}", "loss.first_window must be at least 0"),
        ("simulation: {scene: {response: [0, 1]}}", "simulation.scene.response must be above 0"),
        ("simulation: {camera: {threshold: [0.5, 0.1]}}", "simulation.camera.threshold: the lowest value 0.5 is above"),
        ("simulation: {camera: {threshold: [0, 0.1]}}", "simulation.camera.threshold must be above 0"),
        ("simulation: {camera: {threshold: 0.1}}", "must be a list of 2 numbers, not 0.1"),
        ("- a\n- b", "must hold keys and values"),
        ("model: unet", "model must be one of cista, cista-d, .*firenet.* not 'unet'"),
        (
            "{model: firenet, network: {iterations: 3}}",
            r"unknown key network\.iterations \(known here: bins, channels\)",
        ),
        ("{model: firenet, network: 3}", "network must hold keys and values, not 3"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_configuration_is_refused_by_key(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_differences_are_listed_by_key():
    changed = override(TrainingConfig(), ["data.batch=3", "simulation.camera.threshold=[0.2, 0.3]"])
    assert differences(TrainingConfig(), changed) == [
        "data.batch: 8 -> 3",
        "simulation.camera.threshold: [0.05, 1.5] -> [0.2, 0.3]",
    ]


@pytest.mark.parametrize("name", MODELS)
def test_another_model_begins_with_its_own_architecture(tmp_path, name):
    config = load_config("cista-tc-small", [f"model={name}"])
    assert config.network == (MODELS[name] if name != "cista-tc" else CistaConfig(channels=32))
    assert config.data == load_config("cista-tc-small").data
    narrow = override(config, ["network.bins=3"])
    assert narrow.network == replace(config.network, bins=3)
    (tmp_path / "c.yaml").write_text(to_yaml(narrow))
    assert load_config(tmp_path / "c.yaml") == narrow


def test_a_configuration_of_before_there_were_models_is_of_cista():
    content = asdict(override(TrainingConfig(), ["network.recurrent=false"]))
    del content["model"]
    assert config_from(content).network == CistaConfig(recurrent=False)


@pytest.mark.parametrize("item", ["iterations", "iterations.x=1", "nothing.x=1"])
def test_a_bad_override_is_refused(item):
    with pytest.raises(ConfigError):
        override(TrainingConfig(), [item])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"nowhere.yaml: No such file or directory, and no recipe of that name \(cista-tc, "
    ):
        load_config(tmp_path / "nowhere.yaml")


LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "name: *a39"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, r"not YAML \(line 2: an alias"),
        ("name: &a [*a]", "not YAML .*an alias"),
        ("[" * 100_000, "not YAML .*recursion"),
        ("seed: 2020-99-99", "not YAML .*month"),
        ("seed: !!timestamp x", "not YAML"),
        ("seed: !!int ''", "not YAML"),
        ("name: !!python/object/apply:os.system [true]", "not YAML .*could not determine a constructor"),
        (f"optimiser: {{clip: {'9' * 400}}}", "optimiser.clip must be a number"),
        ("a: \x01", "not YAML"),
        ("#" * (1 << 19), "has more than 262144 bytes"),
    ],
    ids=["aliases", "alias of itself", "depth", "date", "timestamp", "number", "python", "large", "control", "size"],
)
def test_yaml_made_to_do_harm_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["[", "2020-99-99", "!!python/name:os.system", "*a", "!!int ''"])
def test_an_override_that_is_no_yaml(value):
    with pytest.raises(ConfigError, match="not YAML"):
        override(TrainingConfig(), [f"seed={value}"])
