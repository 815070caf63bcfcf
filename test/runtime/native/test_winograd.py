from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F

from cista_ros.runtime.native.winograd import WinogradConv, Workspace
from cista_ros.runtime.native.workers import Workers


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.parametrize(("rows", "columns", "inputs", "outputs"), [(4, 4, 1, 1), (8, 12, 5, 3), (92, 64, 16, 32)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_tiled_convolution_is_the_plain_one(rows, columns, inputs, outputs, threads):
    before = torch.get_num_threads()
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)
    picture = torch.randn(rows + 2, columns + 2, inputs)
    torch.set_num_threads(threads)
    try:
        got = WinogradConv(weight, bias, Workspace())(picture)
    finally:
        torch.set_num_threads(before)
    expected = F.conv2d(picture.permute(2, 0, 1)[None].double(), weight.double(), bias.double())[0].permute(1, 2, 0)
    # Rounding grows with the size of the sums.
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=3e-5 * expected.std().item())


def test_workers_each_take_their_share_and_hand_errors_on():
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
