"""Fixtures for all tests.

Some tests also use recordings and weights outside the repository, in ../shared/data, and skip that part without them.
The fixtures `released_weights` and `recording_bag` add a variant made from the package's own weights and sample.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings

# No deadline per example: a busy machine is not a failure.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
NS = 10**9
WITH_ROS = [Path(__file__).parent / name for name in ("node", "ros")]
MISSING = [name for name in ("rclpy", "dvs_msgs", "sensor_msgs", "diagnostic_msgs") if find_spec(name) is None]


class WithoutRos(pytest.Module):
    """A test module that cannot be imported here."""

    def collect(self):
        raise pytest.skip.Exception(f"needs ROS 2: cannot import {', '.join(MISSING)}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return WithoutRos.from_parent(parent, path=module_path) if MISSING and module_path.parent in WITH_ROS else None


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the project")
    return path


@pytest.fixture(scope="session")
def shared_file():
    """Return `shared`. A fixture, because with several conftest.py an import may find the wrong one."""
    return shared


@pytest.fixture(scope="session")
def authors_weights() -> Path:
    """The CISTA-TC weights that the paper's authors published."""
    return shared("weights/authors-cista-tc.pth.tar")


@pytest.fixture(scope="session")
def slider_bag() -> Path:
    """A real Event Camera Dataset recording: 50 000 events and 5 frames of slider_depth."""
    return shared("recordings/slider_depth_start.bag")


@pytest.fixture(scope="session")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights cista-tc as a file in the layout of the authors' weights."""
    from helpers.reference import authors_layout

    from cista_ros.networks import load_network

    path = tmp_path_factory.mktemp("weights") / "cista-tc.pth.tar"
    torch.save({"epoch": 0, "state_dict": authors_layout(load_network("cista-tc").state_dict())}, path)
    return path


@pytest.fixture(scope="session")
def sample_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 0.2 s of the package's sample recording: events, 5 frames, camera info."""
    import cista_ros
    from cista_ros.recordings import open_recording
    from cista_ros.recordings.write import write_recording
    from cista_ros.wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage

    path = tmp_path_factory.mktemp("recording") / "sample.bag"
    (sample,) = (Path(cista_ros.__file__).parent / "samples").glob("*.bag")
    with open_recording(sample) as source:
        messages = list(source.read())
        end = messages[0].received + NS // 5
        topics = {
            EventMessage: source.events_topic,
            ImageMessage: source.frames_topic,
            CameraInfoMessage: source.camera_info_topic,
        }
        with write_recording(path, "ros1", topics=topics) as writer:
            for recorded in messages:
                if recorded.received <= end:
                    writer.write(recorded.received, recorded.message)
    return path


@pytest.fixture(scope="session", params=["own", "authors"])
def released_weights(request: pytest.FixtureRequest) -> Path:
    """CISTA-TC weights in the layout that the paper's authors published: the shipped ones, and theirs."""
    path: Path = request.getfixturevalue(f"{request.param}_weights")
    return path


@pytest.fixture(scope="session", params=["sample", "slider"])
def recording_bag(request: pytest.FixtureRequest) -> Path:
    """A recording with events and 5 frames: simulated, and real."""
    path: Path = request.getfixturevalue(f"{request.param}_bag")
    return path


@pytest.fixture(params=[("sample", "own"), ("slider", "authors")], ids="-".join)
def bag_and_weights(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """The recordings of `recording_bag`, each with one of `released_weights`."""
    bag, weights = request.param
    return request.getfixturevalue(f"{bag}_bag"), request.getfixturevalue(f"{weights}_weights")


class Done(NamedTuple):
    """How a command ended, and what it printed on stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


@pytest.fixture
def cista(monkeypatch, capsys):
    """Run `cista …` in this process: importing torch again takes longer than most commands."""
    from cista_ros.commands.main import main

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["cista", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def small_network():
    """A small CISTA-TC with all its parts and repeatable random weights."""
    from cista_ros.networks import Cista, CistaConfig

    torch.manual_seed(1)
    return Cista(CistaConfig(channels=8, iterations=2)).eval().requires_grad_(False)


@pytest.fixture
def weights(tmp_path, small_network) -> Path:
    """A file with the small network."""
    from cista_ros.networks import save_network

    save_network(small_network, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.fixture
def gpu():
    """A CUDA GPU: the machine's, or else the stand-in, which is returned."""
    from cuda_standin import stand_in

    if torch.cuda.is_available():
        yield None
        return
    with stand_in() as gpu:
        yield gpu


@pytest.fixture
def one_thread(monkeypatch):
    """Use one thread, also in subprocesses: small networks gain nothing from several, which wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
