from __future__ import annotations

import sys

import pytest
import torch

from cista_ros.errors import DeviceError, RuntimeUnavailableError
from cista_ros.networks import Cista, CistaConfig, make_network
from cista_ros.runtime import RUNTIMES, choice, make_runtime

CPU = torch.device("cpu")


def test_auto_on_a_cpu_is_the_fastest_exact_one_for_cista_and_eager_for_others(small_network):
    runtime, note = make_runtime("auto", Cista(CistaConfig(iterations=1)), 20, 24, CPU)
    assert runtime.name == "winograd" and "winograd" in note
    runtime, note = make_runtime("auto", small_network, 20, 24, CPU)
    assert runtime.name == "fused" and "fused" in note, "measured: with few channels Winograd's transforms do not pay"
    runtime, note = make_runtime("auto", make_network("firenet"), 20, 24, CPU)
    assert (
        runtime.name == "eager" and "not winograd: runtime winograd is for the CISTA networks, not for firenet" in note
    )


def test_an_unknown_name_or_precision_lists_what_there_is(small_network):
    with pytest.raises(RuntimeUnavailableError, match=f"'fast' is not one of {', '.join(RUNTIMES)}"):
        make_runtime("fast", small_network, 20, 24, CPU)
    with pytest.raises(RuntimeUnavailableError, match="'fp8' is not one of fp32, bf16, fp16"):
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
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'cista_ros\[openvino\]'"):
        make_runtime("openvino", small_network, 20, 24, CPU)


def test_compile_without_a_compiler_says_which(small_network, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "g++-of-nowhere -O2")
    with pytest.raises(RuntimeUnavailableError, match=r"no g\+\+-of-nowhere \(.*apt install g\+\+"):
        make_runtime("compile", small_network, 20, 24, CPU)


def test_out_of_memory_tells_the_size_and_what_to_change(small_network):
    with pytest.raises(DeviceError, match=r"9999999x9999999 pixels need more memory.*downscale"):
        make_runtime("fused", small_network, 9_999_999, 9_999_999, CPU)


def test_other_errors_of_a_runtime_are_not_taken_for_a_lack_of_memory(small_network, monkeypatch):
    def broken(_task):
        raise RuntimeError("shapes do not match")

    monkeypatch.setitem(choice._MAKERS, "eager", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        make_runtime("eager", small_network, 20, 24, CPU)
