"""Pooling beyond the table: every small geometry, ties, NaN, windows that see no pixel."""

import itertools

import numpy as np
import pytest
from harness import installed_rungs, torch

import nanoconv as nc
from nanoconv.ops import pool2d

F, TF = nc.functional, torch.nn.functional
nan, inf = np.nan, np.inf


def test_every_small_geometry_has_pytorch_s_size_and_values():
    """Sizes, kernels, strides and paddings up to 4, rounded down and up, along one axis."""
    rng = np.random.default_rng(0)
    for size, kernel, stride, padding, ceil_mode in itertools.product(
        range(1, 8), range(1, 5), range(1, 5), range(3), (False, True)
    ):
        x = rng.standard_normal((1, 1, size, 1))
        args = ((kernel, 1), (stride, 1), (padding, 0))
        for ours, theirs in ((F.max_pool2d, TF.max_pool2d), (F.avg_pool2d, TF.avg_pool2d)):
            try:
                expected = theirs(torch.from_numpy(x), *args, ceil_mode=ceil_mode).numpy()
            except RuntimeError:
                with pytest.raises(ValueError, match=r"padding|does not fit"):
                    ours(nc.tensor(x), *args, ceil_mode=ceil_mode)
            else:
                y = ours(nc.tensor(x), *args, ceil_mode=ceil_mode).numpy()
                np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(float).eps)


def test_every_small_adaptive_size():
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 9))
    for H, W, OH in itertools.product(range(1, 10), (1, 5), range(1, 10)):
        image = np.ascontiguousarray(x[:, :, :H, :W])
        y = F.adaptive_avg_pool2d(nc.tensor(image), (OH, 3)).numpy()
        expected = TF.adaptive_avg_pool2d(torch.from_numpy(image), (OH, 3)).numpy()
        bound = 9 * np.finfo(float).eps * np.abs(image).max()
        np.testing.assert_allclose(y, expected, rtol=0, atol=bound)


def test_adaptive_size_zero_gives_nothing():
    y = F.adaptive_avg_pool2d(nc.ones(2, 3, 4, 5, requires_grad=True), (0, 2))
    assert y.shape == (2, 3, 0, 2)
    y.sum().backward()


def test_global_average():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    y = F.global_avg_pool2d(nc.tensor(x)).numpy()
    np.testing.assert_allclose(y, x.mean((2, 3), keepdims=True), rtol=1e-13)
    assert F.global_avg_pool2d(nc.tensor(x[0])).shape == (3, 1, 1)


@pytest.mark.parametrize("rung", installed_rungs(pool2d.MAX))
@pytest.mark.parametrize(
    "image",
    [
        [[1, 1, 1], [1, 1, 1], [1, 1, 1]],  # the first of equals
        [[nan, 2, nan], [3, nan, 4], [5, 6, 7]],  # the last NaN
        [[-inf, -inf, -inf], [-inf, -inf, -inf], [-inf, -inf, 1]],  # a pixel, never the padding
        [[0.0, -0.0, 0.0], [-0.0, 0.0, -0.0], [inf, inf, -inf]],
    ],
)
@pytest.mark.parametrize("padding", [0, 1])
def test_which_of_the_maxima(rung, image, padding):
    x = np.broadcast_to(np.array(image, np.float32), (2, 5, 3, 3))
    with nc.use(rung):
        ours = F.max_pool2d(nc.tensor(x), 2, 1, padding, return_indices=True)
    theirs = TF.max_pool2d(torch.tensor(x), 2, 1, padding, return_indices=True)
    for result, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(result.numpy(), expected.numpy())


def test_indices_of_one_image():
    x = np.random.default_rng(0).standard_normal((3, 5, 6))
    y, index = F.max_pool2d(nc.tensor(x), (2, 3), return_indices=True)
    assert y.shape == index.shape == (3, 2, 2)
    assert index.dtype == np.int64
    np.testing.assert_array_equal(np.take(x[1], index.numpy()[1]), y.numpy()[1])


def test_changing_the_indices_does_not_change_the_gradient():
    x = nc.tensor(np.arange(4.0).reshape(1, 1, 2, 2), requires_grad=True)
    y, index = F.max_pool2d(x, 2, return_indices=True)
    index.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [[[[0.0, 0.0], [0.0, 1.0]]]]


def test_a_window_that_sees_no_pixel():
    """PyTorch gives −∞ with an index outside of the image, and writes its gradient there."""
    with pytest.raises(ValueError, match="steps over the whole width 2"):
        F.max_pool2d(nc.ones(1, 1, 1, 2), (1, 2), 1, (0, 1), dilation=(1, 3))


def test_strides_far_beyond_the_image():
    x = nc.tensor(np.arange(9.0, dtype=np.float32).reshape(1, 1, 3, 3))
    assert F.max_pool2d(x, 2, 10**9, ceil_mode=True).tolist() == [[[[4.0]]]]
    assert F.avg_pool2d(x, 2, 2**31 - 1).tolist() == [[[[2.0]]]]
