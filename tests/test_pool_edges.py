"""Pooling at its edges: every combination of arguments, odd numbers, odd sizes, clear errors."""

import itertools
import math

import numpy as np
import pytest
from harness import installed_rungs, torch

import nanoconv as nc
from nanoconv.ops import adaptive_pool2d, max_unpool2d, pool2d

F, TF = nc.functional, torch.nn.functional
nan, inf = np.nan, np.inf
EPS = float(np.finfo(np.float32).eps)


def both(name, x, *args, **kwargs):
    """[y, dx, indices…] of nanoconv and of PyTorch, for a gradient of ones, in float32."""
    results = []
    for library, functional in ((nc, F), (torch, TF)):
        t = library.tensor(np.asarray(x, np.float32))
        t.requires_grad = True
        found = getattr(functional, name)(t, *args, **kwargs)
        y, *extra = found if isinstance(found, tuple) else (found,)
        y.sum().backward()
        results.append([y.detach().numpy(), t.grad.numpy(), *(e.numpy() for e in extra)])
    return results


def assert_same(name, x, *args, exact=False, **kwargs):
    ours, theirs = both(name, x, *args, **kwargs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if exact or b.dtype.kind == "i":
            np.testing.assert_array_equal(a, b, str((name, args, kwargs)))
        else:
            scale = np.abs(b[np.isfinite(b)]).max(initial=1)
            np.testing.assert_allclose(a, b, 64 * EPS, 64 * EPS * scale, str((name, args, kwargs)))


def fits(size, kernel, stride, padding, dilation):
    """PyTorch reads outside of the image where a dilated window steps over all of it."""
    return all(
        dilation == 1 or n > (k - 1) * dilation - padding
        for n, k in zip(size, np.broadcast_to(kernel, 2), strict=True)
    )


# --------------------------------------------------------------------------- every combination

IMAGES = ((2, 3, 5, 4), (3, 5, 4), (0, 3, 5, 4), (1, 1, 1, 1))


@pytest.mark.parametrize("shape", IMAGES)
def test_every_combination_of_max_pool2d(shape):
    x = np.random.default_rng(0).integers(-3, 4, shape)
    tested = 0
    for kernel, stride, padding, dilation, ceil_mode, indices in itertools.product(
        (1, 2, (3, 2)), (None, 1, (2, 3)), (0, 1), (1, 2), (False, True), (False, True)
    ):
        args = (kernel, stride, padding, dilation, ceil_mode, indices)
        try:
            TF.max_pool2d(torch.zeros(shape), *args)
        except RuntimeError:
            with pytest.raises(ValueError, match="max_pool2d: "):
                F.max_pool2d(nc.tensor(x.astype(np.float32)), *args)
            continue
        if fits(shape[-2:], kernel, stride, padding, dilation):
            assert_same("max_pool2d", x, *args, exact=True)
            tested += 1
    assert tested >= 12


@pytest.mark.parametrize("shape", IMAGES)
def test_every_combination_of_avg_pool2d(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    tested = 0
    for kernel, stride, padding, ceil_mode, counted, divisor in itertools.product(
        (1, 2, (3, 2)), (None, 1, (2, 3)), (0, 1), (False, True), (False, True), (None, 1, 3, -2)
    ):
        args = (kernel, stride, padding, ceil_mode, counted, divisor)
        try:
            TF.avg_pool2d(torch.zeros(shape), *args)
        except RuntimeError:
            with pytest.raises(ValueError, match="avg_pool2d: "):
                F.avg_pool2d(nc.tensor(x.astype(np.float32)), *args)
        else:
            assert_same("avg_pool2d", x, *args)
            tested += 1
    assert tested >= 48


@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
@pytest.mark.parametrize("shape", IMAGES)
def test_every_combination_of_adaptive_pools(name, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    for size in (1, 3, (2, 7), (None, 2), (4, None), [None, None]):
        assert_same(name, x, size)
        if name == "adaptive_max_pool2d":
            assert_same(name, x, size, True, exact=True)


def test_no_cells():
    """PyTorch gives an empty result too, but has no gradient of it."""
    for size in (0, (0, 3), (2, 0)):
        for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
            x = nc.ones(2, 3, 5, 4, requires_grad=True)
            y = getattr(F, name)(x, size)
            assert y.shape == tuple(getattr(TF, name)(torch.ones(2, 3, 5, 4), size).shape)
            y.sum().backward()
            assert not x.grad.numpy().any()
    for name in ("adaptive_avg_pool1d", "adaptive_max_pool1d"):
        assert getattr(F, name)(nc.ones(2, 3, 5), 0).shape == (2, 3, 0)


@pytest.mark.parametrize("shape", [(2, 3, 9), (3, 9), (0, 3, 9), (1, 1, 1)])
def test_every_combination_of_signals(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    for size in (1, 4, (2,), [11]):
        assert_same("adaptive_avg_pool1d", x, size)
        assert_same("adaptive_max_pool1d", x, size, True, exact=True)
    for kernel, stride, padding, ceil_mode, flag in itertools.product(
        (1, (2,), 3), (None, 1, [4]), (0, (1,)), (False, True), (False, True)
    ):
        for name, args in (
            ("avg_pool1d", (kernel, stride, padding, ceil_mode, flag)),
            ("max_pool1d", (kernel, stride, padding, 1, ceil_mode, flag)),
            ("max_pool1d", (kernel, stride, padding, 2, ceil_mode, flag)),
        ):
            try:
                getattr(TF, name)(torch.zeros(shape), *args)
            except RuntimeError:
                with pytest.raises(ValueError, match=f"{name}: "):
                    getattr(F, name)(nc.tensor(x.astype(np.float32)), *args)
            else:
                if name == "avg_pool1d" or shape[-1] > 1 or args[3] == 1:
                    assert_same(name, x, *args)


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("p", [1, 2, 3, 4.0, 0.5, 1.5, -1, -2.5, inf, -inf])
def test_every_combination_of_lp_pool2d(shape, p):
    """Of positive numbers, of both signs, and with windows of nothing but 0."""
    rng = np.random.default_rng(0)
    for x in (rng.uniform(0.5, 2, shape), rng.integers(-2, 3, shape), np.zeros(shape)):
        for kernel, stride, ceil_mode in itertools.product(
            (1, 2, (3, 2)), (None, 1, (2, 3)), (False, True)
        ):
            args = (p, kernel, stride, ceil_mode)
            try:
                TF.lp_pool2d(torch.zeros(shape), *args)
            except RuntimeError:
                with pytest.raises(ValueError, match="lp_pool2d: a window of"):
                    F.lp_pool2d(nc.tensor(x.astype(np.float32)), *args)
            else:
                assert_same("lp_pool2d", x, *args)


@pytest.mark.parametrize("p", [1, 2, 3, 1.5])
def test_changing_the_result_of_lp_pool2d_does_not_change_the_gradient(p):
    x = nc.tensor([[[1.0, 2.0], [3.0, 4.0]]], requires_grad=True)
    y = F.lp_pool2d(x, p, 2)
    with nc.no_grad():
        y.zero_()
    y.sum().backward()
    t = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], requires_grad=True)
    TF.lp_pool2d(t, p, 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), 8 * EPS)


# --------------------------------------------------------------------------- odd numbers


@pytest.mark.parametrize("rung", installed_rungs(adaptive_pool2d.ADAPTIVE_MAX))
@pytest.mark.parametrize(
    "image",
    [
        [[1, 1, 1], [1, 1, 1], [1, 1, 1]],  # the first of equals
        [[nan, 2, nan], [3, nan, 4], [5, 6, 7]],  # the last NaN
        [[-inf, -inf, -inf], [-inf, -inf, -inf], [-inf, -inf, 1]],
        [[0.0, -0.0, 0.0], [-0.0, 0.0, -0.0], [inf, inf, -inf]],
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, (2, 5)])
def test_which_of_the_maxima_of_a_cell(rung, image, size):
    x = np.broadcast_to(np.array(image, np.float32), (2, 19, 3, 3))  # whole vectors, and a rest
    with nc.use(rung):
        assert_same("adaptive_max_pool2d", x, size, True, exact=True)


@pytest.mark.parametrize("name", ["avg_pool2d", "adaptive_avg_pool2d", "lp_pool2d", "max_pool2d"])
def test_odd_numbers_in_half_open_windows(name):
    x = np.ones((1, 1, 5, 5))
    x[0, 0, 4, 4], x[0, 0, 0, 0], x[0, 0, 4, 0], x[0, 0, 0, 4] = nan, inf, -inf, inf
    args = {"lp_pool2d": (2, 2, 2, True), "adaptive_avg_pool2d": (3,)}.get(name, (2, 2))
    options = {"ceil_mode": True} if name in ("avg_pool2d", "max_pool2d") else {}
    ours, theirs = both(name, x, *args, **options)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, 8 * EPS)


# --------------------------------------------------------------------------- unpooling


def test_unpooling_undoes_pooling():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    y, index = F.max_pool2d(nc.tensor(x), 2, return_indices=True)
    back = F.max_unpool2d(y, index, 2, output_size=x.shape)
    assert back.shape == x.shape
    found = back.numpy()
    np.testing.assert_array_equal(found[found != 0], x[found != 0])
    again, same = F.max_pool2d(back.maximum(nc.zeros(1)), 2, return_indices=True)
    np.testing.assert_array_equal(again.numpy(), np.maximum(y.numpy(), 0))
    assert same.shape == index.shape
    one = F.max_unpool2d(y[0], index[0], 2, output_size=(5, 7))
    np.testing.assert_array_equal(one.numpy(), found[0])


@pytest.mark.parametrize("rung", installed_rungs(max_unpool2d.FORWARD))
@pytest.mark.parametrize("shape", [(1, 37, 2, 2), (2, 37, 2, 2), (1, 1, 2, 2)])
def test_of_two_maxima_for_one_pixel_the_last_counts(rung, shape):
    """And both get its gradient: PyTorch on one thread; on more, any of them may count."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    index = np.broadcast_to(np.array([[5, 5], [0, 5]]), shape)
    dy = np.random.default_rng(1).standard_normal((*shape[:2], 4, 4)).astype(np.float32)
    results = []
    for library, functional in ((nc, F), (torch, TF)):
        t = library.tensor(x)
        t.requires_grad = True
        with nc.use(rung):
            y = functional.max_unpool2d(t, library.tensor(index.copy()), 2)
            y.backward(library.tensor(dy))
        results += [(y.detach().numpy(), t.grad.numpy())]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kernel", [1, 2, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, (2, 3)])
@pytest.mark.parametrize("padding", [0, (1, 0)])
def test_every_output_size_of_unpooling(kernel, stride, padding):
    x, index = np.ones((1, 2, 3, 2), np.float32), np.zeros((1, 2, 3, 2), np.int64)
    ours = (nc.tensor(x), nc.tensor(index), kernel, stride, padding)
    theirs = (torch.tensor(x), torch.tensor(index), kernel, stride, padding)
    for size in (None, *itertools.product(range(1, 12), range(1, 10))):
        try:
            expected = TF.max_unpool2d(*theirs, output_size=size).shape
        except ValueError:
            with pytest.raises(ValueError, match="max_unpool2d: output_size="):
                F.max_unpool2d(*ours, output_size=size)
        else:
            assert F.max_unpool2d(*ours, output_size=size).shape == tuple(expected)


X, I = nc.ones(1, 2, 2, 2), nc.zeros(1, 2, 2, 2, dtype=np.int64)
WIDE = nc.ones(1).expand(2**9, 2, 1)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: F.max_unpool2d(X, I + 16, 2), "indices contains 16, expected 0 to 15"),
        (ValueError, lambda: F.max_unpool2d(X, I - 1, 2), "indices contains -1, expected 0 to 15"),
        (ValueError, lambda: F.max_unpool2d(X, I[0], 2), r"shape \[2, 2, 2\], expected .* \[1, 2"),
        (ValueError, lambda: F.max_unpool2d(X, I, 2, output_size=(4,)), r"output_size=\(4,\)"),
        (ValueError, lambda: F.max_unpool2d(X, I, 2, output_size=5), "output_size=5, expected a"),
        (ValueError, lambda: F.max_unpool2d(X, I, 2, output_size=(6, 4)), "from 3 to 5 and 3 to 5"),
        (ValueError, lambda: F.max_unpool2d(X, I, 2, padding=2), r"size \[0, 0\], expected at"),
        (ValueError, lambda: F.max_unpool2d(X, I, 2, 2**30), r"at most 2\*\*40"),
        (ValueError, lambda: F.max_unpool2d(X, I, 0), "max_unpool2d: kernel_size=0"),
        (ValueError, lambda: F.max_unpool2d(X[:, :, :0], I[:, :, :0], 2), "has no pixels"),
        (TypeError, lambda: F.max_unpool2d(X, X, 2), "indices is float32, expected int64"),
        (TypeError, lambda: F.max_unpool2d(X, [0], 2), "indices must be a nanoconv Tensor"),
        (ValueError, lambda: F.lp_pool2d(X, 0, 2), "lp_pool2d: norm_type=0, expected a number"),
        (ValueError, lambda: F.lp_pool2d(X, nan, 2), "lp_pool2d: norm_type=nan"),
        (ValueError, lambda: F.lp_pool2d(X, "2", (1, 2, 3)), r"lp_pool2d: kernel_size=\(1, 2, 3\)"),
        (ValueError, lambda: F.lp_pool2d(X, 2, 3), "lp_pool2d: a window of 3 pixels"),
        (ValueError, lambda: F.lp_pool2d(X, inf, 3), "lp_pool2d: a window of 3 pixels"),
        (ValueError, lambda: F.adaptive_max_pool2d(X, -1), "adaptive_max_pool2d: output_size="),
        (ValueError, lambda: F.adaptive_max_pool2d(X, 2**21), r"adaptive_max_pool2d: .* 2\*\*40"),
        (ValueError, lambda: F.adaptive_max_pool2d(X[..., :0], 1), "has no pixels"),
        (
            ValueError,
            lambda: F.learnable_pool2d(X, X),
            r"weight has shape \[1, 2, 2, 2\], expected",
        ),
        (ValueError, lambda: F.learnable_pool2d(X, nc.ones(3, 1, 2, 2)), r"or \[2, 1, KH, KW\]"),
        (ValueError, lambda: F.learnable_pool2d(X, nc.ones(1, 1, 3, 1)), "learnable_pool2d: a win"),
        (ValueError, lambda: F.learnable_pool2d(X, nc.ones(1, 1, 2, 2), 0), "stride=0, expected"),
        (ValueError, lambda: F.learnable_pool2d(X, nc.ones(1, 1, 1, 2), 1, 1), "at most half"),
        (TypeError, lambda: F.learnable_pool2d(X, nc.ones(1, 1, 1, 1).double()), "is float64 but"),
        (ValueError, lambda: F.spatial_pyramid_pool2d(X, ()), r"levels=\(\), expected integers"),
        (ValueError, lambda: F.spatial_pyramid_pool2d(X, (0, 1)), r"levels=\(0, 1\), expected"),
        (ValueError, lambda: F.spatial_pyramid_pool2d(X, mode="sum"), "mode='sum', expected 'max'"),
        (ValueError, lambda: F.spatial_pyramid_pool2d(X[:, :, :0]), "has no pixels"),
        (ValueError, lambda: F.max_pool1d(X, 2), "max_pool1d: input has shape .* 2 or 3 axes"),
        (ValueError, lambda: F.max_pool1d(X[0], (2, 2)), r"max_pool1d: kernel_size=\(2, 2\)"),
        (ValueError, lambda: F.avg_pool1d(X[0], 2, 0), "avg_pool1d: stride=0, expected an integer"),
        (ValueError, lambda: F.avg_pool1d(X[0], 2, 1, 2), "avg_pool1d: padding=2 must be at most"),
        (
            ValueError,
            lambda: F.adaptive_avg_pool1d(X[0], -1),
            "adaptive_avg_pool1d: output_size=-1",
        ),
        (ValueError, lambda: F.adaptive_max_pool1d(WIDE, 2**31 - 1), r"max_pool1d: .* 2\*\*40"),
        (TypeError, lambda: F.adaptive_max_pool1d(I[0], 1), "adaptive_max_pool1d: input is int64"),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()


# --------------------------------------------------------------------------- what has no oracle


def test_learnable_pooling_begins_as_the_mean():
    x = nc.tensor(np.random.default_rng(0).standard_normal((2, 3, 7, 5)).astype(np.float32))
    for w in (nc.zeros(1, 1, 3, 2), nc.full((3, 1, 3, 2), 5.0)):
        y = F.learnable_pool2d(x, w, 2, (1, 1)).numpy()
        expected = F.avg_pool2d(x, (3, 2), 2, (1, 1)).numpy()
        np.testing.assert_allclose(y, expected, 0, 16 * EPS)


def test_learnable_pooling_stays_inside_of_its_window():
    rng = np.random.default_rng(0)
    x = nc.tensor(rng.standard_normal((2, 3, 8, 8)).astype(np.float32))
    w = nc.tensor(rng.standard_normal((3, 1, 2, 2)).astype(np.float32) * 4)
    y, largest = F.learnable_pool2d(x, w).numpy(), F.max_pool2d(x, 2).numpy()
    smallest = -F.max_pool2d(-x, 2).numpy()
    assert (y <= largest + 8 * EPS).all()
    assert (y >= smallest - 8 * EPS).all()


def test_a_pyramid_has_one_size_for_every_image():
    for shape in ((2, 3, 1, 1), (2, 3, 5, 9), (0, 3, 4, 4)):
        for mode in ("max", "avg"):
            y = F.spatial_pyramid_pool2d(nc.ones(*shape), (1, 2, 4), mode)
            assert y.shape == (shape[0], 3 * 21)
    assert F.spatial_pyramid_pool2d(nc.ones(3, 5, 5), 2).shape == (12,)


def test_strides_and_windows_near_the_largest_integer():
    """What fits is computed; sizes whose product would overflow are refused."""
    x = nc.ones(1, 1, 3, 3)
    huge = 2**31 - 1
    assert F.lp_pool2d(x, 2, 2, huge).tolist() == [[[[2.0]]]]
    assert F.max_pool1d(x[0], 2, huge, ceil_mode=True).shape == (1, 3, 1)
    with pytest.raises(ValueError, match="max_pool2d: kernel_size=2147483648"):
        F.max_pool2d(x, 2**31)
    with pytest.raises(ValueError, match="avg_pool1d: a window of 2147483647 pixels"):
        F.avg_pool1d(x[0], huge)
    with pytest.raises(ValueError, match=r"adaptive_avg_pool2d: with output_size=.* 2\*\*40"):
        F.adaptive_avg_pool2d(x, huge)
    assert math.prod(F.adaptive_max_pool2d(x[:0], (1000, 1000)).shape) == 0


@pytest.mark.parametrize("rung", installed_rungs(pool2d.MAX))
def test_one_pixel(rung):
    with nc.use(rung):
        for name, args in (
            ("max_pool2d", (1,)),
            ("avg_pool2d", (3, 1, 1)),
            ("adaptive_max_pool2d", (3,)),
            ("lp_pool2d", (2, 1)),
        ):
            assert_same(name, np.full((1, 1, 1, 1), 1.5), *args)
