from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from cista_ros.errors import DeviceError, RuntimeUnavailableError
from cista_ros.networks import make_network
from cista_ros.runtime import RUNTIMES, choice, make_runtime
from cista_ros.runtime.library import compiler_name, load_library

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
needs_bf16 = pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bf16")


@needs_compiler
def test_auto_on_a_cpu_prefers_winograd_for_cista_and_eager_for_other_networks(small_network, monkeypatch):
    monkeypatch.setattr(choice, "has_matrix_unit", lambda: False)
    runtime, note = make_runtime("auto", small_network, 20, 24, CPU, "auto")
    assert (runtime.name, runtime.precision) == ("winograd", "fp32") and "runtime winograd fp32" in note
    runtime, note = make_runtime("auto", make_network("firenet"), 20, 24, CPU, "auto")
    assert runtime.name == "eager" and "not winograd fp32: runtime winograd supports CISTA" in note


@needs_compiler
@needs_bf16
def test_auto_selects_bf16_only_with_a_matrix_unit_and_precision_auto(small_network, monkeypatch):
    monkeypatch.setattr(choice, "has_matrix_unit", lambda: True)
    torch.manual_seed(0)
    large = make_network("cista-tc").eval().requires_grad_(False)
    runtime, note = make_runtime("auto", large, 20, 24, CPU, "auto")
    assert (runtime.name, runtime.precision) == ("native", "bf16") and "runtime native bf16" in note
    runtime, note = make_runtime("auto", small_network, 20, 24, CPU, "auto")
    assert (runtime.name, runtime.precision) == ("winograd", "fp32") and "fewer than 64" in note
    assert make_runtime("auto", small_network, 20, 24, CPU)[0].precision == "fp32"
    assert make_runtime("native", small_network, 20, 24, CPU, "auto")[0].precision == "fp32"
    assert make_runtime("auto", make_network("firenet"), 20, 24, CPU, "auto")[0].name == "eager"


def test_has_matrix_unit_agrees_with_the_processor_flags():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert choice.has_matrix_unit() == ("amx_tile" in flags)


def test_without_a_compiler_auto_falls_back_and_says_why(small_network, monkeypatch, tmp_path):
    load_library.cache_clear()
    monkeypatch.setenv("CXX", "g++-of-nowhere")
    try:
        runtime, note = make_runtime("auto", small_network, 20, 24, CPU, "auto")
        assert runtime.name == "fused"
        assert "no C++ compiler g++-of-nowhere (Debian, Ubuntu: apt install g++)" in note
        with pytest.raises(RuntimeUnavailableError, match=r"no C\+\+ compiler g\+\+-of-nowhere"):
            make_runtime("native", small_network, 20, 24, CPU)
        foreign = tmp_path / "g++-of-another-machine"
        foreign.write_bytes(b"\x7fELF")
        foreign.chmod(0o755)
        monkeypatch.setenv("CXX", str(foreign))
        assert f"{foreign} does not run (Exec format error)" in make_runtime("auto", small_network, 20, 24, CPU)[1]
    finally:
        load_library.cache_clear()


def test_an_unknown_name_or_precision_lists_the_known_ones(small_network):
    with pytest.raises(RuntimeUnavailableError, match=f"'fast': expected one of {', '.join(RUNTIMES)}"):
        make_runtime("fast", small_network, 20, 24, CPU)
    with pytest.raises(RuntimeUnavailableError, match="'fp8': expected one of auto, fp32, bf16, fp16"):
        make_runtime("eager", small_network, 20, 24, CPU, "fp8")


def test_cuda_graph_needs_a_gpu(small_network):
    with pytest.raises(RuntimeUnavailableError, match="needs a CUDA GPU"):
        make_runtime("cuda-graph", small_network, 20, 24, CPU)


@pytest.mark.parametrize("name", ["eager", "fused", "winograd"])
def test_runtimes_without_reduced_precision_refuse_it(name, small_network):
    with pytest.raises(RuntimeUnavailableError, match="supports fp32, not bf16"):
        make_runtime(name, small_network, 20, 24, CPU, "bf16")


@needs_compiler
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_cxx_means_the_default_compiler(blank, monkeypatch):
    load_library.cache_clear()
    monkeypatch.setenv("CXX", blank)
    try:
        assert compiler_name() == "g++"
        assert load_library().write_fp32
    finally:
        load_library.cache_clear()


def test_out_of_memory_names_the_size_and_a_remedy(small_network):
    with pytest.raises(DeviceError, match=r"out of memory on cpu at 9999999x9999999.*downscale"):
        make_runtime("fused", small_network, 9_999_999, 9_999_999, CPU)


def test_other_errors_of_a_runtime_are_not_reported_as_out_of_memory(small_network, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(choice.Eager, "__init__", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        make_runtime("eager", small_network, 20, 24, CPU)
