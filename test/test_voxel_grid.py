from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from cista_ros.events import make_events, no_events
from cista_ros.voxel_grid import clip_hot_pixels, normalise, upload, voxel_grid, voxel_grid_torch, voxel_grids

H, W = 6, 9


@st.composite
def event_arrays(draw, min_size=1, max_size=40):
    n = draw(st.integers(min_size, max_size))
    origin = draw(st.sampled_from([0, 5_000_000_000, 1_700_000_000_000_000_000]))
    span = draw(st.sampled_from([0, 1, 7, 1000, 33_333_333, 10**12]))
    t = sorted(draw(st.lists(st.integers(0, span), min_size=n, max_size=n)))
    column = lambda top: draw(st.lists(st.integers(0, top), min_size=n, max_size=n))  # noqa: E731
    return make_events(column(W - 1), column(H - 1), origin + np.array(t, np.int64), column(1))


@given(event_arrays())
def test_equals_a_plain_loop_over_the_events(events):
    expected = reference.voxel_grid(events["x"], events["y"], events["t"], events["p"], H, W)
    np.testing.assert_allclose(voxel_grid(events, H, W), expected, atol=1e-6)


@given(event_arrays(), st.integers(2, 9))
def test_numpy_and_torch_agree_to_the_bit(events, bins):
    by_torch = voxel_grid_torch(upload(events, torch.device("cpu")), H, W, bins)
    assert by_torch.dtype == torch.float32
    np.testing.assert_array_equal(voxel_grid(events, H, W, bins), by_torch.numpy())


@given(event_arrays(min_size=3))
def test_every_event_puts_its_whole_polarity_on_its_own_pixel(events):
    grid = voxel_grid(events, H, W).astype(np.float64)
    balance = np.zeros((H, W))
    np.add.at(balance, (events["y"], events["x"]), np.where(events["p"], 1, -1))
    np.testing.assert_allclose(grid.sum(0), balance, atol=1e-5)


@given(event_arrays(min_size=3), st.randoms())
def test_order_among_events_of_the_same_span_does_not_matter_to_the_bit(events, random):
    middle = list(range(1, len(events) - 1))
    random.shuffle(middle)
    shuffled = events[[0, *middle, len(events) - 1]]
    if events["t"][0] == events["t"][-1]:
        return  # spread by index: here order is the information
    np.testing.assert_array_equal(voxel_grid(events, H, W), voxel_grid(shuffled, H, W))


def test_polarities_that_cancel_leave_a_true_zero():
    # 1/3 + 2/3 - 1 is not 0 in floating point; shares summed as fractions of the span are exact.
    t = np.array([0, 1, 2, 3, 3, 12]) * 1_000_001
    events = make_events([0, 4, 4, 4, 5, 0], [0] * 6, t, [1, 1, 1, 0, 1, 1])
    grid = voxel_grid(events, H, W)
    assert grid[1, 0, 4] == 0.0
    assert grid[0, 0, 4] == 1.0


def test_events_of_one_stamp_are_spread_evenly_by_index():
    grid = voxel_grid(make_events(range(5), [0] * 5, [7] * 5, [1] * 5), H, W)
    np.testing.assert_array_equal(grid[:, 0, :5], np.eye(5))


def test_no_events_make_an_empty_grid():
    assert not voxel_grid(no_events(), H, W).any()
    assert not voxel_grid_torch(upload(no_events(), torch.device("cpu")), H, W).any()


def test_events_far_outside_the_sensor_do_not_vanish():
    events = make_events([1, 60_000], [1, 1], [0, 1], [1, 1])
    with pytest.raises(ValueError, match="outside the sensor of 8x6"):
        voxel_grid(events, 6, 8)


@settings(max_examples=30)
@given(event_arrays(min_size=2))
def test_normalised_grids_equal_an_independent_computation_and_keep_their_zeros(events):
    grid = torch.from_numpy(voxel_grid(events, H, W)).double()
    result = normalise(grid)
    np.testing.assert_allclose(result, reference.normalised(grid.numpy()), atol=1e-6)
    assert not result[grid == 0].any()


def test_grids_of_a_batch_are_normalised_one_by_one():
    grids = torch.randn(3, 5, H, W) * torch.tensor([1.0, 10, 100]).view(3, 1, 1, 1)
    torch.testing.assert_close(normalise(grids), torch.stack([normalise(grid) for grid in grids]))


@pytest.mark.parametrize("grid", [torch.zeros(5, H, W), torch.zeros(5, H, W).index_fill(0, torch.tensor(0), 2.0)])
def test_normalising_grids_without_variation_gives_finite_numbers(grid):
    assert normalise(grid).isfinite().all()


def test_hot_pixels_are_limited_to_25_over_the_number_of_bins():
    grid = torch.zeros(5, H, W)
    grid[2, 1, 1], grid[3, 2, 2], grid[4, 0, 0] = 300.0, -300.0, 4.9
    clipped = clip_hot_pixels(grid)
    assert (clipped[2, 1, 1], clipped[3, 2, 2], clipped[4, 0, 0]) == (5.0, -5.0, pytest.approx(4.9))


@given(st.integers(0, 40), st.integers(0, 9), st.integers(0, 10**6))
def test_a_partly_filled_buffer_gives_the_grid_of_its_events_only(count, rest, seed):
    rng = np.random.default_rng(seed)
    n = count + rest + 1
    events = make_events(
        rng.integers(0, 7, n), rng.integers(0, 6, n), np.sort(rng.integers(0, 50, n)), rng.integers(0, 2, n)
    )
    events["t"][count:] = rng.integers(-(10**15), 10**15, n - count)
    words = torch.from_numpy(events.view(np.int64).reshape(-1, 2))
    grid = voxel_grid_torch(words, 6, 7, count=torch.tensor(count))
    np.testing.assert_array_equal(grid.numpy(), voxel_grid(events[:count], 6, 7))


@given(st.lists(event_arrays(), min_size=1, max_size=4), st.randoms())
def test_a_batch_in_any_order_equals_each_window_by_itself(windows, random):
    windows = [w for w in windows if w["t"][0] < w["t"][-1]]
    words = torch.cat([torch.empty(0, 2, dtype=torch.int64), *(upload(w, torch.device("cpu")) for w in windows)])
    window = torch.repeat_interleave(
        torch.arange(len(windows)), torch.tensor([len(w) for w in windows], dtype=torch.int64)
    )
    order = torch.tensor(random.sample(range(len(words)), len(words)), dtype=torch.int64)
    words, window = words[order], window[order]
    rest = words[:, 1]
    times = torch.tensor([[w["t"][0], w["t"][-1]] for w in windows], dtype=torch.int64).view(-1, 2)
    grids = voxel_grids(
        words[:, 0], rest & 0xFFFF, (rest >> 16) & 0xFFFF, ((rest >> 32) & 1) * 2 - 1, window, times, H, W
    )
    assert grids.shape == (len(windows), 5, H, W)
    for grid, events in zip(grids, windows, strict=True):
        np.testing.assert_array_equal(grid.numpy(), voxel_grid(events, H, W))
