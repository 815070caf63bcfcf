from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F

from cista_ros.runtime.convolutions import WinogradConv, Workers
from cista_ros.runtime.kernels import Kernels
from cista_ros.runtime.linear_chain import doubling_chain, halving_chain


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.parametrize(("rows", "columns", "inputs", "outputs"), [(4, 4, 1, 1), (8, 12, 5, 3), (92, 64, 16, 32)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_winograd_convolution_equals_the_direct_one(rows, columns, inputs, outputs, threads):
    before = torch.get_num_threads()
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)
    image = torch.randn(rows + 2, columns + 2, inputs)
    torch.set_num_threads(threads)
    try:
        got = WinogradConv(weight, bias, Workers())(image)
    finally:
        torch.set_num_threads(before)
    expected = F.conv2d(image.permute(2, 0, 1)[None].double(), weight.double(), bias.double())[0].permute(1, 2, 0)
    # Rounding grows with the size of the sums.
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=3e-5 * expected.std().item())


def test_each_worker_runs_its_share_and_errors_are_raised():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        workers = Workers()
        shares = []
        workers.run(shares.append)
        assert sorted(shares) == [0, 1, 2]
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            workers.run(lambda share: 1 // (share - 2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def conv(x, weight, bias, stride=1):
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, bias, stride)


def parameters(inputs, outputs):
    return torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 13), (11, 9)])
def test_doubling_and_two_convolutions(height, width):
    torch.manual_seed(0)
    first, second = parameters(3, 4), parameters(4, 2)
    image = torch.randn(1, 3, height, width)
    doubled = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    expected = conv(conv(doubled, *first), *second)[0]
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")[0].permute(1, 2, 0).contiguous()
    phases = doubling_chain(first, second, height, width, Kernels())(padded)
    got = phases.view(height, width, 2, 2, 2).permute(4, 0, 2, 1, 3).reshape(2, 2 * height, 2 * width)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 13), (11, 9)])
def test_two_convolutions_of_which_the_second_halves_the_size(height, width):
    torch.manual_seed(0)
    first, second = parameters(3, 4), parameters(4, 5)
    image = torch.randn(1, 3, 2 * height, 2 * width)
    expected = conv(conv(image, *first), *second, stride=2)[0].permute(1, 2, 0)
    padded = F.pad(image, (2, 2, 2, 2), mode="reflect")[0].permute(1, 2, 0).contiguous()
    torch.testing.assert_close(halving_chain(first, second, height, width)(padded), expected, rtol=1e-5, atol=1e-4)
