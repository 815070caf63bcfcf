"""The installed package: metadata from package.xml, programs for `ros2 run`, public message types."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from configparser import ConfigParser
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
DEPENDENCIES = {element.text for element in PACKAGE if element.tag in ("depend", "exec_depend")}
# program -> arguments that it must reject with exit code 2, naming the offender
PROGRAMS = {
    "calibrate": ["--ros-args", "-p", "target:=no such target"],
    "cista": ["reconstruct", "-o", "out", "--weights", "no such.pth", "no such.bag"],
    "play": ["no such.bag"],
    "record": ["-o", "out", "--idle", "no such time"],
    "reconstruct": ["--ros-args", "-p", "weights:=no such.pth"],
}
# import name -> (PyPI's name, rosdep's key or None)
LIBRARIES = {
    "av": ("av", None),
    "backports": ("backports", None),  # .zstd; from Python 3.14 on in the standard library, as `compression`
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "lz4": ("lz4", None),
    "numpy": ("numpy", "python3-numpy"),
    "rich": ("rich", "python3-rich"),
    "rosbags": ("rosbags", "python3-rosbags-pip"),
    "safetensors": ("safetensors", None),
    "torch": ("torch", "python3-pytorch-pip"),
    "typer": ("typer", None),  # its rosdep key has a version that is too old
    "yaml": ("pyyaml", "python3-yaml"),
}
# Used by evaluation and training only: in the extras of setup.py, or, like lpips, installed by the user.
OPTIONAL = {"compression", "distributed", "h5py", "jinja2", "joblib", "lpips", "matplotlib", "onnx", "onnxruntime"}
OPTIONAL |= {"hdf5plugin", "pandas", "tensorboard", "triton"}
# Of ros-event-camera/dvs_msgs, from a build of its source (share/dvs_msgs/msg/*.json), and of
# ros-event-camera/event_camera_msgs, from bags recorded with it.
TYPE_HASHES = {
    "dvs_msgs/msg/Event": "RIHS01_51cfc8e311acf01bf39b01e0e8f2fee8f9fa97e7979cf505c0610c8a8bc3fc3a",
    "dvs_msgs/msg/EventArray": "RIHS01_0ea4aa5f4670adab1336550158b2e3c9bf60fe515a284c4215ed605bd559c995",
    "event_camera_msgs/msg/EventPacket": "RIHS01_d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa",
}


def files_in(folder: str, pattern: str = "*") -> set[str]:
    """Return the files below a folder of the repository, relative to the folder."""
    paths = (path for path in (ROOT / folder).rglob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT / folder)) for path in paths}


def imported() -> dict[str, set[str]]:
    """Return third-party package -> files of cista_ros/ and launch/ that import it."""
    users: dict[str, set[str]] = {}
    for path in [*(ROOT / "cista_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                package = name.partition(".")[0]
                if package not in sys.stdlib_module_names | {"cista_ros", "compression"}:  # the last since 3.14
                    users.setdefault(package, set()).add(str(path.relative_to(ROOT)))
    return users


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel that `pip install .` installs, from a copy: setuptools writes build/ beside setup.py."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("building a wheel needs pip")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("cista_ros", "config", "launch", "libexec", "resource"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", target]
    subprocess.run([*pip, "wheel", "-qq", *options, source], check=True)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install only the wheel into a new prefix and return it: the folder with bin/, lib/ and share/."""
    target = tmp_path_factory.mktemp("prefix")
    options = ["--no-deps", "--no-index", "--ignore-installed", "--prefix", target]
    subprocess.run([sys.executable, "-m", "pip", "install", "-qq", *options, wheel], check=True)
    return next(target.rglob("bin")).parent


def test_metadata_comes_from_package_xml(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata_file = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(metadata_file).decode())
    maintainer = PACKAGE.find("maintainer")
    expected = {
        "Name": PACKAGE.findtext("name"),
        "Version": PACKAGE.findtext("version"),
        "License": PACKAGE.findtext("license"),
        "Maintainer": maintainer.text,
        "Maintainer-email": maintainer.get("email"),
    }
    assert {key: metadata[key] for key in expected} == expected
    import cista_ros

    assert cista_ros.__version__ == expected["Version"]


def test_package_xml_is_valid() -> None:
    assert PACKAGE.get("format") == "3"
    assert PACKAGE.findtext("export/build_type") == "ament_python"
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg, which checks package.xml, is not installed")
    for path in [ROOT / "package.xml", *(ROOT / "msg").glob("*/package.xml")]:
        warnings: list[str] = []
        package.parse_package(str(path), warnings=warnings)
        assert not warnings


def test_wheel_holds_every_module_and_every_file_of_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"cista_ros/{name}" for name in files_in("cista_ros")}
    assert not expected - names


def test_installed_files_lie_where_ros_looks_for_them(prefix: Path) -> None:
    share = prefix / "share/cista_ros"
    for folder in ("launch", "config"):
        installed = {str(path.relative_to(share / folder)) for path in (share / folder).glob("*") if path.is_file()}
        assert installed == files_in(folder)
        assert installed
    assert (share / "package.xml").read_bytes() == (ROOT / "package.xml").read_bytes()
    assert (prefix / "share/ament_index/resource_index/packages/cista_ros").is_file()


def test_ros2_run_finds_every_console_script(wheel: Path, prefix: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entry_points = ConfigParser()
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        entry_points.read_string(archive.read(name).decode())
    assert set(entry_points["console_scripts"]) == PROGRAMS.keys()
    assert {path.name for path in (prefix / "lib/cista_ros").iterdir() if os.access(path, os.X_OK)} == PROGRAMS.keys()


@pytest.mark.parametrize("program", PROGRAMS)
def test_wrapper_of_ros2_run_starts_the_program(prefix: Path, program: str) -> None:
    """The wrapper in lib/cista_ros passes on arguments and exit code."""
    if program != "cista":
        pytest.importorskip("rclpy", reason="the nodes need ROS 2, which is not installed")
    site = next(prefix.rglob("cista_ros/__init__.py")).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [prefix / "lib/cista_ros" / program, *PROGRAMS[program]]
    run = subprocess.run(command, env=environment, cwd=prefix, capture_output=True, text=True, timeout=300)
    assert run.returncode == 2
    assert "no such" in run.stderr


def test_a_folder_of_the_same_name_does_not_hide_the_installed_package(tmp_path: Path) -> None:
    """Such as a clone in the current folder. Python takes it for a namespace package if it finds nothing better."""
    (tmp_path / "cista_ros").mkdir()
    command = [sys.executable, "-c", "import cista_ros; print(cista_ros.__version__)"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == PACKAGE.findtext("version")


def test_everything_imported_is_declared() -> None:
    setup = (ROOT / "setup.py").read_text()
    requirements = re.findall(r'"([\w-]+)[^"]*"', re.search(r"install_requires=\[(.*?)\]", setup, re.DOTALL).group(1))
    used = imported()
    known = LIBRARIES.keys() | OPTIONAL | DEPENDENCIES
    assert not used.keys() - known, "neither in package.xml nor a library known here"
    assert set(requirements) == {pypi for name, (pypi, _) in LIBRARIES.items() if name in used}
    assert {key for _, key in LIBRARIES.values() if key} <= DEPENDENCIES


def test_pre_commit_runs_the_ruff_that_make_lint_runs() -> None:
    (pinned,) = re.findall(r"^ruff==(.+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert set(re.findall(r"ruff==([^\],]+)", (ROOT / ".pre-commit-config.yaml").read_text())) == {pinned}


def test_every_requirement_is_pinned() -> None:
    for path in ROOT.glob("requirements*.txt"):
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert not [line for line in lines if not re.match(r"[\w.-]+(\[\w+\])?==[\w.]+(;|$)", line)]


def test_our_interface_packages_have_the_type_hashes_of_the_public_ones() -> None:
    """rosbags computes the hashes from the .msg files, independently of the generators of ROS."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    definitions = {}
    for name in TYPE_HASHES:
        path = ROOT / "msg" / f"{name}.msg"
        definitions |= get_types_from_msg(path.read_text(), name)
    types.register(definitions)
    assert {name: types.hash_rihs01(name) for name in TYPE_HASHES} == TYPE_HASHES


@pytest.mark.parametrize("kind", ["dvs_msgs/msg/EventArray", "event_camera_msgs/msg/EventPacket"])
def test_installed_interface_packages_announce_the_public_types(kind) -> None:
    """ROS 2 itself reports the hash that other nodes compare."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    package, _, name = kind.split("/")
    messages = pytest.importorskip(f"{package}.msg", reason=f"{package} is not installed")
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node("type_hash", context=context)
        publisher = node.create_publisher(getattr(messages, name), "~/events", 1)
        (info,) = node.get_publishers_info_by_topic(publisher.topic_name)
        if not hasattr(info, "topic_type_hash"):
            pytest.skip("ROS 2 Humble has no type hashes")
        assert str(info.topic_type_hash) == TYPE_HASHES[kind]
    finally:
        rclpy.shutdown(context=context)
