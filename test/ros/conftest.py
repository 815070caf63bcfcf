"""Fixtures for the tests that start real ROS 2 processes."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Before rclpy is first loaded: no other machine is to take part.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """(file, network): a CISTA-TC with few channels and random, repeatable weights."""
    from harness import save_random

    return save_random(tmp_path_factory.mktemp("weights") / "small.safetensors", channels=8, iterations=2)


@pytest.fixture(scope="session")
def full_weights(tmp_path_factory):
    """The file of a network of the released size, with random weights."""
    from harness import save_random

    return save_random(tmp_path_factory.mktemp("weights") / "full.safetensors", channels=64, iterations=5)[0]


@pytest.fixture
def client():
    from harness import Client

    from cista_ros.node.process import free_domain

    client = Client(free_domain())
    yield client
    client.close()


@pytest.fixture(scope="session")
def shared(small_weights):
    """A client and a node that several tests use one after the other; see `node`."""
    from harness import Client

    from cista_ros.node.process import free_domain

    client = Client(free_domain())
    # Neither a busy machine's pauses nor its slowness may change the windows.
    defaults = {"period": 0.02, "idle_timeout": 1.0, "max_latency": 0.0, "lazy": False}
    process = client.start_node(f"weights:={small_weights[0]}", *(f"{k}:={v}" for k, v in defaults.items()))
    yield client, process, {**defaults, "weights": str(small_weights[0])}
    client.close()


@pytest.fixture
def node(shared):
    """(client, process) of the shared node: reset, with its first parameters, nothing pending."""
    from cista_ros.node.parameters import Settings

    client, process, first = shared
    yield client, process
    assert process.popen.poll() is None, process.err
    defaults = {item.name: item.default for item in fields(Settings) if not item.metadata["read_only"]}
    assert all(result.successful for result in client.set(**{**defaults, **first}))
    client.reset()
    client.counts(lambda counts: counts["pending_events"] == 0)
    for seen in (client.images, client.infos):
        seen.clear()
