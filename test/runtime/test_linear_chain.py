from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cista_ros.runtime.linear_chain import doubling_chain, halving_chain


def conv(x, weight, bias, stride=1):
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, bias, stride)


def parameters(inputs, outputs):
    return torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 13), (11, 9)])
def test_doubling_then_two_convolutions(height, width):
    torch.manual_seed(0)
    first, second = parameters(3, 4), parameters(4, 2)
    picture = torch.randn(1, 3, height, width)
    doubled = F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
    expected = conv(conv(doubled, *first), *second)[0]
    padded = F.pad(picture, (2, 2, 2, 2), mode="replicate")[0].permute(1, 2, 0).contiguous()
    phases = doubling_chain(first, second, height, width)(padded)
    got = phases.view(height, width, 2, 2, 2).permute(4, 0, 2, 1, 3).reshape(2, 2 * height, 2 * width)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 13), (11, 9)])
def test_two_convolutions_the_second_of_stride_two(height, width):
    torch.manual_seed(0)
    first, second = parameters(3, 4), parameters(4, 5)
    picture = torch.randn(1, 3, 2 * height, 2 * width)
    expected = conv(conv(picture, *first), *second, stride=2)[0].permute(1, 2, 0)
    padded = F.pad(picture, (2, 2, 2, 2), mode="reflect")[0].permute(1, 2, 0).contiguous()
    torch.testing.assert_close(halving_chain(first, second, height, width)(padded), expected, rtol=1e-5, atol=1e-4)
