"""Files of torch.save that were made to do harm, and tensors that are not what they seem."""

import io
import json
import pickle
import struct
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from cista_ros.errors import CheckpointError
from cista_ros.networks import Cista, CistaConfig, load_network, save_network
from cista_ros.networks.checkpoints import FORMAT
from cista_ros.networks.torch_files import plain_tensors, read_torch_file
from cista_ros.training.state import TrainingError, load_state


class Payload:
    """What a pickle could do: here it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return exec, (f"open({self.path!r}, 'w').close()",)


def archive(data_pickle, **records):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in {"data.pkl": data_pickle, "version": b"3\n", "byteorder": b"little", **records}.items():
            z.writestr(f"archive/{name}", content)
    return out.getvalue()


def old_format(obj):
    out = io.BytesIO()
    torch.save(obj, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


def tar_of(pickled):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("storages", "tensors", "pickle", "../../escaped"):
            info = tarfile.TarInfo(name)
            info.size = len(pickled)
            tar.addfile(info, io.BytesIO(pickled))
    return out.getvalue()


@pytest.mark.parametrize("reader", [load_network, load_state])
@pytest.mark.parametrize("name", ["a.pth.tar", "a.pth", "a.safetensors", "a.pt"])
@pytest.mark.parametrize("shape", ["plain pickle", "archive", "old format", "tar", "pickle in a pickle"])
def test_a_pickle_with_a_payload_is_refused_and_does_nothing(tmp_path, reader, name, shape):
    marker = tmp_path / "pwned"
    bomb = {"state_dict": {"We.conv2d.weight": Payload(marker)}}
    pickled = pickle.dumps(bomb, protocol=2)
    content = {
        "plain pickle": pickled,
        "archive": archive(pickled),
        "old format": old_format(bomb),
        "tar": tar_of(pickled),
        "pickle in a pickle": archive(pickle.dumps({"state_dict": pickled}, protocol=2)),
    }[shape]
    path = tmp_path / name
    path.write_bytes(content)
    # The payload is one: who unpickles it finds the marker.
    pickle.loads(pickled)
    assert marker.exists()
    marker.unlink()
    with pytest.raises((CheckpointError, TrainingError)):
        reader(path)
    assert not marker.exists() and [p.name for p in tmp_path.iterdir()] == [name]


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path):
    out = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(10_000_000)}}, out)
    packed = io.BytesIO()
    with zipfile.ZipFile(out) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    (tmp_path / "a.pth.tar").write_bytes(packed.getvalue())
    with pytest.raises(CheckpointError, match=r"neither .*\(ValueError\)"):
        load_network(tmp_path / "a.pth.tar")


def test_a_tensor_that_says_it_has_more_elements_than_its_file(tmp_path):
    out = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(4)}}, out)
    changed = io.BytesIO()
    with zipfile.ZipFile(out) as source, zipfile.ZipFile(changed, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            for there in (b"cpuq\x08K\x04", b"K\x00K\x04\x85"):
                content = content.replace(there, there.replace(b"K\x04", b"J" + struct.pack("<i", 10**9)))
            target.writestr(info.filename, content)
    path = tmp_path / "a.pth"
    path.write_bytes(changed.getvalue())
    with pytest.raises(ValueError, match="RuntimeError"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(1).expand(10**6, 10**6), torch.ones(2, 2).to_sparse(), torch.ones(3, device="meta"), 5, None, "x",
     torch.ones(1).to(torch.float8_e4m3fn), torch.ones(1, dtype=torch.bool), torch.ones(1, dtype=torch.complex64)],
    ids=["expanded", "sparse", "meta", "number", "none", "text", "8 bits", "truth value", "complex"],
)  # fmt: skip
def test_what_only_looks_like_a_plain_tensor(tmp_path, tensor):
    assert not plain_tensors({"a": tensor})
    path = tmp_path / "a.pth.tar"
    torch.save({"state_dict": {"We.conv2d.weight": tensor, "lista_blocks.0.Lambda": tensor}}, path)
    with pytest.raises(CheckpointError, match=r"neither \.safetensors|no dictionary 'state_dict' of tensors"):
        load_network(path)


def test_keys_that_are_no_text(tmp_path):
    torch.save({"state_dict": {5: torch.ones(1)}}, tmp_path / "a.pth.tar")
    with pytest.raises(CheckpointError, match="no dictionary 'state_dict' of tensors"):
        load_network(tmp_path / "a.pth.tar")


@pytest.fixture
def own(tmp_path):
    """(weights, metadata) of a small network as its file has them."""
    save_network(Cista(CistaConfig(channels=8)), tmp_path / "a.safetensors")
    network = load_network(tmp_path / "a.safetensors")
    config = json.dumps({"channels": 8})
    return dict(network.state_dict()), {"format": FORMAT, "network": "cista", "config": config}


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bool, torch.uint8, torch.float8_e4m3fn, torch.int32])
def test_numbers_of_a_kind_that_no_weights_have(tmp_path, own, dtype):
    weights, metadata = own
    weights["fusion.bias"] = weights["fusion.bias"].to(dtype)
    save_file(weights, tmp_path / "b.safetensors", metadata)
    with pytest.raises(CheckpointError, match=rf"fusion\.bias holds {dtype}, expected torch\.float32"):
        load_network(tmp_path / "b.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_read_as_float32(tmp_path, own, dtype):
    weights, metadata = own
    save_file({k: v.to(dtype) for k, v in weights.items()}, tmp_path / "b.safetensors", metadata)
    network = load_network(tmp_path / "b.safetensors")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    torch.testing.assert_close(network.fusion.bias, weights["fusion.bias"], rtol=1e-2, atol=1e-3)


def test_numbers_too_large_for_float32(tmp_path, own):
    weights, metadata = own
    weights["fusion.bias"] = torch.full((8,), 1e300, dtype=torch.float64)
    save_file(weights, tmp_path / "b.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"fusion\.bias holds values that are not finite"):
        load_network(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"config": "[" * 100_000},
        {"config": "9" * 100_000},
        {"config": json.dumps({"channels": 4096, "iterations": 100, "shared": False})},
        {"conventions": json.dumps({"normalise": "yes"})},
        {"conventions": "[" * 100_000},
        {"network": "e2vid", "config": json.dumps({"channels": 512, "encoders": 4, "residual_blocks": 100})},
    ],
)
def test_a_forged_architecture_costs_nothing(tmp_path, own, change):
    weights, metadata = own
    save_file(weights, tmp_path / "b.safetensors", metadata | change)
    with pytest.raises(CheckpointError) as caught:
        load_network(tmp_path / "b.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 2**62, 2**64 - 1])
def test_a_header_of_impossible_length(tmp_path, size):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", size) + b"{}")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_network(tmp_path / "a.safetensors")
