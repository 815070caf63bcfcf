"""What tests share: the data that lie beside the checkout (skipped, saying so, where they do not)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file: reference.py …
# Examples have no deadline: a busy machine is no failure.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the project")
    return path


@pytest.fixture(scope="session")
def shared_file():
    """`shared` for tests: with several conftest.py, which of them an import finds depends on what ran before."""
    return shared


@pytest.fixture(scope="session")
def released_weights() -> Path:
    """The CISTA-TC weights that the paper's authors published."""
    return shared("weights/authors-cista-tc.pth.tar")


@pytest.fixture(scope="session")
def slider_bag() -> Path:
    """A real Event Camera Dataset recording: 50 000 events and 5 frames of slider_depth."""
    return shared("recordings/slider_depth_start.bag")


@pytest.fixture
def small_network():
    """A CISTA-TC with few channels and random, repeatable weights: quick, and still all of its parts."""
    from cista_ros.networks import Cista, CistaConfig

    torch.manual_seed(1)
    return Cista(CistaConfig(channels=8, iterations=2)).eval().requires_grad_(False)


@pytest.fixture
def one_thread(monkeypatch):
    """For networks too small to gain by threads, which wait for each other on a busy machine; also in processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
