"""Pooling with padding="same": TensorFlow's, on every rung, against PyTorch with a border."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import functional as F
from nanoconv import nn

torch = pytest.importorskip("torch")

RUNGS = ["loops", "numpy", "auto"]


def border(size, K, s, d=1):
    """(before, after), as https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2."""
    window = (K - 1) * d + 1
    total = max(window - s, 0) if size % s == 0 else max(window - size % s, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("rung", RUNGS)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    ceil_mode=st.booleans(),
)
def test_pooling_equals_pytorchs_with_a_border(rung, size, kernel, stride, ceil_mode):
    x = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    widths = [w for axis in (1, 0) for w in border(size[axis], kernel[axis], stride[axis])]
    outside = torch.nn.functional.pad(torch.tensor(x), widths, value=-float("inf"))
    inside = torch.nn.functional.pad(torch.tensor(x), widths)
    counted = torch.nn.functional.pad(torch.ones(2, 3, *size), widths)
    expected = torch.nn.functional.max_pool2d(outside, kernel, stride).numpy()
    mean = torch.nn.functional.avg_pool2d(inside, kernel, stride)
    share = torch.nn.functional.avg_pool2d(counted, kernel, stride)
    with nc.use(rung):
        a = nc.tensor(x, requires_grad=True)
        y = nn.MaxPool2d(kernel, stride, "same", ceil_mode=ceil_mode)(a)
        with_border = nn.AvgPool2d(kernel, stride, "same", ceil_mode=ceil_mode)(nc.tensor(x))
        without = F.avg_pool2d(nc.tensor(x), kernel, stride, "same", ceil_mode, False)
        y.sum().backward()
    assert y.shape[2:] == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    assert (y.detach().numpy() == expected).all()
    assert np.abs(with_border.numpy() - mean.numpy()).max() <= 1e-6
    assert np.abs(without.numpy() - (mean / share).numpy()).max() <= 1e-5
    b = torch.tensor(x, requires_grad=True)
    torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(b, widths, value=-float("inf")), kernel, stride
    ).sum().backward()
    assert (a.grad.numpy() == b.grad.numpy()).all()


@given(st.integers(3, 12), st.integers(1, 3), st.integers(1, 3), st.integers(2, 3))
def test_dilated_windows(size, K, s, d):
    x = np.random.default_rng(0).normal(size=(1, 2, size, size)).astype(np.float32)
    outside = torch.nn.functional.pad(
        torch.tensor(x), [*border(size, K, s, d)] * 2, value=-float("inf")
    )
    expected = torch.nn.functional.max_pool2d(outside, K, s, dilation=d).numpy()
    if np.isinf(expected).any():
        with pytest.raises(ValueError, match="a window steps over the whole height"):
            F.max_pool2d(nc.tensor(x), K, s, "same", d)
    else:
        assert (F.max_pool2d(nc.tensor(x), K, s, "same", d).numpy() == expected).all()


def test_mistakes_and_what_is_shown():
    for make in (nn.MaxPool2d, nn.AvgPool2d):
        assert "padding=same" in repr(make(3, 2, "same"))
        with pytest.raises(ValueError, match="Pool2d: padding='valid', expected 'same' or one or "):
            make(3, 2, "valid")
        with pytest.raises(ValueError, match=r"Pool2d: padding=\(1, 1, 1\), expected an integer"):
            make(3, 2, (1, 1, 1))
    for pool in (F.max_pool2d, F.avg_pool2d):
        with pytest.raises(ValueError, match="pool2d: padding='SAME', expected 'same' or one or"):
            pool(nc.zeros(1, 1, 4, 4), 2, 2, "SAME")
        with pytest.raises(ValueError, match="does not fit into the input's height 0"):
            pool(nc.zeros(1, 1, 0, 4), 2, 2, "same")
