"""ONNX: export the step of a network, check an exported file, and run a network in ONNX Runtime."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .. import __version__
from ..errors import CistaError, MissingPackageError, RuntimeUnavailableError, reason_of
from ..networks import Network, model_of
from ..util.atomic import write_whole
from .base import DTYPES, Runtime, code_of, first_state

OPSET = 17
EXAMPLE = 64  # side of the example that is traced: a multiple of every network's
CHECK_STEPS, CHECK_SIZE = 200, (48, 80)
# Largest difference from torch: of any pixel in fp32; in fp16, mean absolute difference of any image.
ALLOWED = {"fp32": 1e-4, "fp16": 1 / 255}


class ExportError(CistaError):
    """A network that cannot be exported, or an exported file that does not agree with it."""


class _Step(nn.Module):
    """A step with a flat state; in fp16 with float32 inputs and outputs."""

    def __init__(self, network: Network, structure: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.structure, self.dtype = network, structure, dtype

    def forward(self, voxel_grid: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        leaves = [leaf.to(self.dtype) for leaf in state]
        image, after = self.network(voxel_grid.to(self.dtype), pytree.tree_unflatten(leaves, self.structure))
        return tuple(leaf.float() for leaf in (image, *pytree.tree_flatten(after)[0]))


def export_step(
    network: Network, height: int, width: int, precision: str = "fp32", dynamic: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """Export (voxel_grid, state_0, …) -> (image, next_state_0, …) and return the model and its description.

    All inputs and outputs are float32 (1, C, H, W). A state starts as zeros. With `dynamic`, height and width may be
    any multiple of the description's `multiple_of`; otherwise they are fixed, and may be any size.

    MissingPackageError without onnx; ExportError if the first step of the network differs from the others.
    """
    try:
        import onnx
    except ImportError:
        raise MissingPackageError("exporting needs onnx: pip install onnx onnxruntime") from None
    first = first_state(network, height, width, torch.device("cpu"))
    if first is None:
        raise ExportError(f"{network.name} cannot be exported: its first step differs from the others")
    leaves, structure = first
    dtype = DTYPES[precision]
    # Not the caller's network, and no inference tensors, which cannot be traced.
    step = _Step(copy.deepcopy(network).cpu().eval().to(dtype), structure, dtype)
    examples = (torch.zeros(1, network.bins, height, width), *(leaf.clone() for leaf in leaves))
    states = [f"state_{i}" for i in range(len(leaves))]
    inputs, outputs = ["voxel_grid", *states], ["image", *(f"next_{name}" for name in states)]
    scales = [height // leaf.shape[2] for leaf in leaves]
    axes = {
        name: {2: "height" if scale == 1 else f"height/{scale}", 3: "width" if scale == 1 else f"width/{scale}"}
        for names in (inputs, outputs)
        for name, scale in zip(names, [1, *scales], strict=True)
    }
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Checks of sizes become constants, and the newer exporter needs more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            step,
            examples,
            file,  # type: ignore[arg-type]  # accepted by this exporter
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes if dynamic else None,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    used = {value.name for value in model.graph.input}  # a state that the step does not read is no input
    description = {
        "cista_ros": __version__,
        "network": model_of(network).name,
        "config": asdict(network.config),
        "conventions": asdict(network.conventions),
        "bins": network.bins,
        "precision": precision,
        "multiple_of": max(scales),
        "states": [
            {"name": name, "channels": leaf.shape[1], "scale": scale}
            for name, leaf, scale in zip(states, leaves, scales, strict=True)
            if name in used
        ],
    }
    onnx.helper.set_model_props(model, {"cista_ros": json.dumps(description)})
    onnx.checker.check_model(model)
    return model.SerializeToString(), description


def open_session(model: bytes | Path, device: torch.device | None = None) -> tuple[Any, dict[str, Any]]:
    """Open a model in ONNX Runtime, on the CPU or on a CUDA device, with as many threads as torch.

    Returns the session and the description that `export_step` stored in the model.

    RuntimeUnavailableError if ONNX Runtime, or its provider for the device, is missing; ExportError if the file is not
    a model that `cista export` wrote.
    """
    try:
        import onnxruntime
    except ImportError:
        raise RuntimeUnavailableError("runtime onnx needs ONNX Runtime: pip install onnx onnxruntime") from None
    provider = "CPUExecutionProvider"
    if device is not None and device.type == "cuda":
        provider = "CUDAExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeUnavailableError(f"ONNX Runtime has no {provider}: pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        description: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["cista_ros"])
    except KeyError:
        raise ExportError("not written by cista export: the metadata entry cista_ros is missing") from None
    except Exception as error:  # of ONNX Runtime, which has no common base for its errors
        raise ExportError(f"ONNX Runtime cannot load the model ({reason_of(error)})") from None
    if provider not in session.get_providers():  # ONNX Runtime continues on the CPU
        raise RuntimeUnavailableError(f"ONNX Runtime cannot start its {provider}: are CUDA and cuDNN installed?")
    return session, description


def check_file(path: Path, network: Network) -> float:
    """Compare an exported file with torch over 200 recurrent steps; return the largest difference.

    It is that of any pixel in fp32, of any image's mean absolute difference in fp16. ExportError if it exceeds ALLOWED.
    """
    session, description = open_session(path)
    precision = description["precision"]
    exported, expected = _Session(session, description, *CHECK_SIZE), None
    generator, worst = torch.Generator().manual_seed(0), 0.0
    with torch.inference_mode():
        for _ in range(CHECK_STEPS):
            grid = torch.randn(1, network.bins, *CHECK_SIZE, generator=generator)
            grid *= torch.rand(grid.shape, generator=generator) < 0.3
            image, expected = network(grid, expected)
            difference = np.abs(exported.step(grid.numpy()) - image.numpy())
            worst = max(worst, float(difference.max() if precision == "fp32" else difference.mean()))
    if not worst <= ALLOWED[precision]:
        raise ExportError(f"{path}: images differ by {worst:.1e} from torch, more than {ALLOWED[precision]:.0e}")
    return worst


class _Session:
    """A session and the state of one stream: the last outputs, by name."""

    def __init__(self, session: Any, description: dict[str, Any], height: int, width: int) -> None:
        self._session = session
        shapes = {value.name: value.shape[2:] for value in session.get_inputs()}  # of numbers, or of names if dynamic
        self._zeros = {}
        for state in description["states"]:
            pairs = zip(shapes[state["name"]], (height, width), strict=True)
            size = [side if isinstance(side, int) else n // state["scale"] for side, n in pairs]
            self._zeros[state["name"]] = np.zeros((1, state["channels"], *size), np.float32)
        self._outputs = [value.name for value in session.get_outputs()]
        self.last: dict[str, np.ndarray] = {}

    def reset(self) -> None:
        self.last = {}

    def step(self, grid: np.ndarray) -> np.ndarray:
        state = {name: self.last.get(f"next_{name}", zeros) for name, zeros in self._zeros.items()}
        result = self._session.run(None, {"voxel_grid": grid, **state})
        self.last = dict(zip(self._outputs, result, strict=True))
        return self.last["image"]


class Onnx(Runtime):
    """Runs a network, exported at its exact size, in ONNX Runtime on the CPU or a CUDA device."""

    name = "onnx"
    precisions = ("fp32", "fp16")

    def __init__(
        self, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
    ) -> None:
        super().__init__(network, height, width, device, precision)
        on_cpu = copy.deepcopy(network).cpu()
        try:
            model, _ = export_step(on_cpu, height, width, precision)
        except (ExportError, MissingPackageError) as error:
            raise RuntimeUnavailableError(f"runtime onnx: {error}") from error
        self._session = _Session(*open_session(model, device), height, width)
        with torch.inference_mode():
            self._structure = pytree.tree_structure(on_cpu(torch.zeros(1, network.bins, height, width))[1])

    def reset(self) -> None:
        self._session.reset()

    def code(self) -> Tensor | None:
        if not self._session.last:
            return None
        leaves = [torch.from_numpy(leaf) for name, leaf in self._session.last.items() if name != "image"]
        code = code_of(self.network, pytree.tree_unflatten(leaves, self._structure))
        return None if code is None else code.to(self.device)

    def step(self, grid: Tensor) -> Tensor:
        return torch.from_numpy(self._session.step(grid[None].cpu().numpy())[0, 0]).to(self.device)


def export_file(network: Network, path: Path, precision: str = "fp32") -> dict[str, Any]:
    """Write the step of a network to an ONNX file with dynamic height and width, and return its description."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model, description = export_step(network, EXAMPLE, EXAMPLE, precision, dynamic=True)
    write_whole(path, model)
    return description
