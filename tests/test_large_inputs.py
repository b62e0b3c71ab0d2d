"""Inputs that take kernels more than one block and one thread: right, and always the same bits."""

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import functional as F

N, C = 71, 1013  # rows and numbers: no multiple of any block, more than 2¹⁶ together


def rows(seed=0):
    return np.random.default_rng(seed).standard_normal((N, C))


def images(channels=37, side=47):
    return np.random.default_rng(1).standard_normal((1, channels, side, side))


def probabilities(seed=0):
    return 1 / (1 + np.exp(-rows(seed)))


def classes():
    return np.random.default_rng(2).integers(0, C, N)


def logs(seed=0):
    x = rows(seed)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


CALLS = {
    "mse_loss": (F.mse_loss, rows(), rows(1)),
    "l1_loss": (F.l1_loss, rows(), rows(1)),
    "smooth_l1_loss": (F.smooth_l1_loss, rows(), rows(1)),
    "huber_loss": (F.huber_loss, rows(), rows(1)),
    "kl_div": (F.kl_div, logs(), probabilities(1)),
    "kl_div.log": (lambda x, t: F.kl_div(x, t, log_target=True), logs(), logs(1)),
    "binary_cross_entropy": (F.binary_cross_entropy, probabilities(), probabilities(1)),
    "binary_cross_entropy_with_logits": (
        F.binary_cross_entropy_with_logits,
        rows(),
        probabilities(1),
    ),
    "sigmoid_focal_loss": (F.sigmoid_focal_loss, rows(), probabilities(1)),
    "nll_loss": (F.nll_loss, logs(), classes()),
    "cross_entropy": (F.cross_entropy, rows(), classes()),
    "softmax": (lambda x: F.softmax(x, 1), rows()),
    "softmax.channels": (lambda x: F.softmax(x, 1), images()),
    "log_softmax": (lambda x: F.log_softmax(x, 1), rows()),
    "log_softmax.channels": (lambda x: F.log_softmax(x, 1), images()),
    "cumsum": (lambda x: x.cumsum(1), rows()),
    "cumsum.channels": (lambda x: x.cumsum(1), images()),
    "prelu": (F.prelu, images(), np.linspace(-1, 1, 37)),
    "glu": (lambda x: F.glu(x, 1), images(38)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (C,), w, b), rows(), rows(1)[0], rows(2)[0]),
    "rms_norm": (lambda x, w: F.rms_norm(x, (C,), w), rows(), rows(1)[0]),
    "local_response_norm": (lambda x: F.local_response_norm(x, 5), images()),
    "bilinear": (lambda x: F.interpolate(x, (61, 33), mode="bilinear"), images()),
    "bicubic": (lambda x: F.interpolate(x, (61, 33), mode="bicubic"), images()),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), images(36)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), images(36, 46)),
    "max_pool1d": (lambda x: F.max_pool1d(x, 4), rows()[None]),
    "gelu": (F.gelu, rows()),
}


def results(function, arrays, dtype):
    """y and the gradients by all floating inputs, for a random dy."""
    tensors = [
        nc.tensor(a.astype(dtype), requires_grad=True) if a.dtype.kind == "f" else nc.tensor(a)
        for a in arrays
    ]
    y = function(*tensors)
    dy = np.random.default_rng(9).standard_normal(y.shape)
    y.backward(nc.tensor(dy.astype(dtype)))
    gradients = [t.grad for t in tensors if t.grad is not None]
    return [t.detach().numpy().copy() for t in (y, *gradients)]


@pytest.fixture(autouse=True)
def threads():
    before = nc.get_num_threads()
    yield
    nc.set_num_threads(before)


@pytest.mark.parametrize("name", CALLS)
def test_large_inputs_are_right_with_any_number_of_threads(name):
    function, *arrays = CALLS[name]
    with nc.use("numpy"):
        truth = results(function, arrays, np.float64)
    nc.set_num_threads(1)
    one = results(function, arrays, np.float32)
    for array, expected in zip(one, truth, strict=True):
        error = np.abs(array - expected).max()
        assert error <= 1e-5 * max(np.abs(expected).max(), 1e-30)
    for count in (2, 3, 7):
        nc.set_num_threads(count)
        for first, again in zip(one, results(function, arrays, np.float32), strict=True):
            np.testing.assert_array_equal(first, again)
