"""The layers that several networks share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cista_ros.networks.layers import conv3x3


@pytest.mark.parametrize("stride", [1, 2])
def test_a_reflected_convolution_is_that_of_torch_and_stays_near_it_under_autocast(stride):
    torch.manual_seed(0)
    layer = conv3x3(6, 4, stride)
    plain = nn.Conv2d(6, 4, 3, stride, padding=1, padding_mode="reflect")
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 17, 21, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    layer(x).square().sum().backward()
    plain(y).square().sum().backward()
    assert torch.equal(layer(x), plain(x)) and torch.equal(x.grad, y.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
        torch.testing.assert_close(layer(x).float(), plain(x).float(), atol=0.02, rtol=0.02)
