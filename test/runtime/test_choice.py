from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from cista_ros.errors import DeviceError, RuntimeUnavailableError
from cista_ros.networks import make_network
from cista_ros.runtime import RUNTIMES, choice, make_runtime
from cista_ros.runtime.compiled import check_tools
from cista_ros.runtime.native.library import load_library

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
needs_bf16 = pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bf16")


@needs_compiler
def test_auto_on_a_cpu_is_the_fastest_exact_one_for_cista_and_eager_for_others(small_network, monkeypatch):
    monkeypatch.setattr(choice, "has_matrix_unit", lambda: False)
    runtime, note = make_runtime("auto", small_network, 20, 24, CPU, "auto")
    assert (runtime.name, runtime.precision) == ("winograd", "fp32") and "runtime winograd fp32" in note
    runtime, note = make_runtime("auto", make_network("firenet"), 20, 24, CPU, "auto")
    assert (
        runtime.name == "eager"
        and "not winograd fp32: runtime winograd is for the CISTA networks, not for firenet" in note
    )


@needs_compiler
@needs_bf16
def test_auto_takes_bf16_only_where_the_precision_is_left_to_it_and_the_cpu_has_a_matrix_unit(
    small_network, monkeypatch
):
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


def test_a_matrix_unit_is_what_the_processor_says_it_has():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert choice.has_matrix_unit() == ("amx_tile" in flags)


def test_without_a_compiler_auto_falls_back_and_says_why(small_network, monkeypatch, tmp_path):
    load_library.cache_clear()
    monkeypatch.setenv("CXX", "g++-of-nowhere")
    try:
        runtime, note = make_runtime("auto", small_network, 20, 24, CPU, "auto")
        assert runtime.name == "fused"
        assert "there is no C++ compiler g++-of-nowhere (Debian, Ubuntu: apt install g++)" in note
        with pytest.raises(RuntimeUnavailableError, match=r"there is no C\+\+ compiler g\+\+-of-nowhere"):
            make_runtime("native", small_network, 20, 24, CPU)
    finally:
        load_library.cache_clear()


def test_an_unknown_name_or_precision_lists_what_there_is(small_network):
    with pytest.raises(RuntimeUnavailableError, match=f"'fast' is not one of {', '.join(RUNTIMES)}"):
        make_runtime("fast", small_network, 20, 24, CPU)
    with pytest.raises(RuntimeUnavailableError, match="'fp8' is not one of auto, fp32, bf16, fp16"):
        make_runtime("eager", small_network, 20, 24, CPU, "fp8")


@pytest.mark.parametrize("name", ["cuda-graph", "cuda-graph-compile"])
def test_cuda_graphs_ask_for_a_gpu(name, small_network):
    with pytest.raises(RuntimeUnavailableError, match="needs a CUDA GPU"):
        make_runtime(name, small_network, 20, 24, CPU)


@pytest.mark.parametrize("name", ["eager", "fused", "winograd", "compile", "openvino"])
def test_half_precision_is_refused_where_it_would_not_be_used(name, small_network):
    with pytest.raises(RuntimeUnavailableError, match="fp32 only"):
        make_runtime(name, small_network, 20, 24, CPU, "bf16")


def test_openvino_that_is_not_installed_names_the_extra(small_network, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # what the import system itself does for "not there"
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'openvino>=2025\.0'"):
        make_runtime("openvino", small_network, 20, 24, CPU)


def test_compile_without_a_compiler_says_which(small_network, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "g++-of-nowhere -O2")
    with pytest.raises(RuntimeUnavailableError, match=r"no g\+\+-of-nowhere \(.*apt install g\+\+"):
        make_runtime("compile", small_network, 20, 24, CPU)


@needs_compiler
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_cxx_stands_for_none(blank, monkeypatch):
    load_library.cache_clear()
    monkeypatch.setenv("CXX", blank)
    try:
        load_library()
        check_tools(CPU, "this")
    finally:
        load_library.cache_clear()


def test_out_of_memory_tells_the_size_and_what_to_change(small_network):
    with pytest.raises(DeviceError, match=r"9999999x9999999 pixels need more memory.*downscale"):
        make_runtime("fused", small_network, 9_999_999, 9_999_999, CPU)


def test_other_errors_of_a_runtime_are_not_taken_for_a_lack_of_memory(small_network, monkeypatch):
    def broken(_task):
        raise RuntimeError("shapes do not match")

    monkeypatch.setitem(choice._MAKERS, "eager", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        make_runtime("eager", small_network, 20, 24, CPU)
