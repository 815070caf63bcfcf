"""Build of the ROS 2 package cista_ros, by colcon (ament_python) or by pip."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "cista_ros"
ROOT = Path(__file__).resolve().parent


def files(folder: str) -> list[str]:
    """Names of the files in a folder, relative to the root, as data_files wants them."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*") if path.is_file())


setup(
    name=NAME,
    version="0.1.0",
    description="Grayscale images from an event camera, with the network CISTA-TC",
    maintainer="cista_ros authors",
    maintainer_email="maintainers@cista-ros.org",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["py.typed", "weights/*.safetensors", "weights/*.md", "samples/*", "training/recipes/*.yaml", "runtime/native/*.cpp"]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch")),
        (f"share/{NAME}/config", files("config")),
        # pip puts console scripts into bin/ whatever setup.cfg says; these let `ros2 run` find them all the same.
        (f"lib/{NAME}", files("libexec")),
    ],
    # With colcon the command is `ros2 run cista_ros cista`, with pip plainly `cista`.
    entry_points={
        "console_scripts": [
            "cista = cista_ros.commands.main:main",
            "play = cista_ros.node.play:main",
            "record = cista_ros.node.record:main",
            "reconstruct = cista_ros.node.reconstruct:main",
        ],
    },
    python_requires=">=3.10",
    # No ROS package here: pip would take unrelated projects of the same names (launch, for one).
    install_requires=[
        "av",
        "backports.zstd; python_version < '3.14'",  # with lz4 what rosbags unpacks with, too
        "lz4",
        "numpy",
        "opencv-python-headless<5",
        "pyyaml",
        "rich",
        "rosbags",
        "safetensors",
        "torch",
        "typer>=0.12.4",  # the first that knows `X | None`
    ],
    extras_require={
        "openvino": ["openvino>=2025.0"],  # cista reconstruct --runtime openvino
        # h5py: for LPIPS-squeeze (Keras weights). lpips is not here: it needs torchvision, and that its own torch.
        "evaluation": ["h5py", "matplotlib", "scikit-image"],
        # colcon test runs pytest only if it finds it named here.
        "test": ["h5py", "hypothesis", "matplotlib", "pytest<9", "ruff", "scikit-image"],
        "train": ["h5py", "tensorboard"],  # a perceptual loss from files, and curves to look at
    },
    zip_safe=False,
)
