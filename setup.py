"""Build the ROS 2 package cista_ros, with colcon (ament_python) or pip. package.xml is the source of the metadata."""

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
NAME = PACKAGE.findtext("name")


def files(folder: str) -> list[str]:
    """Return the files directly in a folder, relative to the root, as data_files expects them."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*") if path.is_file())


def warn_of_missing_interfaces() -> None:
    """Say what to do if colcon builds without the packages in msg/: it does not look for packages inside a package."""
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    packages = sorted(path.parent.name for path in ROOT.glob("msg/*/package.xml"))
    missing = [name for name in packages if not any((prefix / "share" / name).is_dir() for prefix in prefixes)]
    if missing:
        print(
            f"cista_ros: interface packages not found: {', '.join(missing)}. To build them too, run "
            f"`ln -s {ROOT}/msg src/cista_msgs` in the workspace, then `colcon build` again.",
            file=sys.stderr,
        )


if "COLCON" in os.environ:
    warn_of_missing_interfaces()

setup(
    name=NAME,
    version=PACKAGE.findtext("version"),
    description=PACKAGE.findtext("description"),
    maintainer=PACKAGE.findtext("maintainer"),
    maintainer_email=PACKAGE.find("maintainer").get("email"),
    license=PACKAGE.findtext("license"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: [
            "py.typed",
            "evaluation/paper.csv",
            "calibration/report.html.jinja",
            "evaluation/report.html.jinja",
            "runtime/*.cpp",
            "samples/*",
            "training/recipes/*.yaml",
            "weights/*.md",
            "weights/*.safetensors",
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch")),
        (f"share/{NAME}/config", files("config")),
        # pip ignores setup.cfg and installs console scripts into bin/. These wrappers let `ros2 run` find them.
        (f"lib/{NAME}", files("libexec")),
    ],
    # With colcon the command is `ros2 run cista_ros cista`, with pip `cista`.
    entry_points={
        "console_scripts": [
            "calibrate = cista_ros.node.programs:calibrate",
            "cista = cista_ros.commands.main:main",
            "play = cista_ros.node.programs:play",
            "record = cista_ros.node.programs:record",
            "reconstruct = cista_ros.node.programs:reconstruct",
        ],
    },
    python_requires=">=3.10",
    # No ROS packages: on PyPI their names belong to unrelated projects, such as `launch`.
    install_requires=[
        "av",
        "backports.zstd; python_version < '3.14'",  # rosbags decompresses with it and with lz4
        "lz4",
        "numpy",
        "opencv-python-headless<5",
        "pyyaml",
        "rich",
        "rosbags>=0.11.9,<0.12",
        "safetensors",
        "torch",
        "typer>=0.19",  # the first version that supports Literal
    ],
    extras_require={
        # h5py: LPIPS with Keras weights. lpips is not listed: it needs torchvision, and with it another torch.
        "evaluation": ["h5py", "jinja2", "joblib", "matplotlib", "pandas"],
        "dask": ["distributed", "joblib"],
        "hdf5": ["h5py", "hdf5plugin"],  # recordings in HDF5; hdf5plugin for those compressed by blosc or zstd
        # `colcon test` runs pytest only if this extra names it.
        "test": [
            *("h5py", "hypothesis", "jinja2", "joblib", "matplotlib", "pandas", "pytest<9", "ruff", "scikit-image"),
        ],
        "onnx": ["onnx", "onnxruntime"],  # cista export, runtime onnx
        "train": ["h5py", "tensorboard"],  # perceptual loss from files; training curves
    },
    zip_safe=False,
)
