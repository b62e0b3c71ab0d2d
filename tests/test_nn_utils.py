"""Clipping of gradients, against PyTorch's."""

import inspect
import math

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

NORMS = [2, 1, math.inf, "inf", 3.5, 0.5, -math.inf, 0, -1]


def gradients(scale=1.0, dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (5,), (), (2, 1, 3, 3)]
    return [np.asarray(scale * rng.normal(size=shape), dtype) for shape in shapes]


def both(grads):
    """Parameters of both libraries with these gradients, and two without one."""
    ours, theirs = [nn.Parameter([1.0])], [torch.nn.Parameter(torch.ones(1))]
    for g in grads:
        ours.append(nn.Parameter(np.ones_like(g)))
        theirs.append(torch.nn.Parameter(torch.ones(g.shape, dtype=torch.tensor(g).dtype)))
        ours[-1].grad, theirs[-1].grad = nc.tensor(g), torch.tensor(g)
    return ours, theirs


def assert_close(ours, theirs, eps):
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=8 * eps)
        assert a.grad.dtype == a.dtype
    assert ours[0].grad is theirs[0].grad is None


@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("max_norm", [0.5, 1e6, 0, math.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_clipping_by_norm_equals_pytorch(norm_type, max_norm, dtype):
    ours, theirs = both(gradients(dtype=dtype))
    total = nn.utils.clip_grad_norm_(iter(ours), max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    eps = float(np.finfo(dtype).eps)
    assert total.shape == ()
    assert total.dtype == dtype
    assert total.item() == pytest.approx(expected.item(), rel=16 * eps)
    assert_close(ours, theirs, 4 * eps)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("norm_type", [2, math.inf])
def test_norms_that_are_not_finite(bad, norm_type):
    grads = gradients()
    grads[1][2] = bad
    ours, theirs = both(grads)
    with pytest.raises(
        RuntimeError, match=r"norm of the gradients is (inf|nan), expected a finite"
    ):
        nn.utils.clip_grad_norm_(ours, 1.0, norm_type, error_if_nonfinite=True)
    assert_close(ours, theirs, 0)
    total = nn.utils.clip_grad_norm_(ours, 1.0, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type)
    assert str(total.item()) == str(expected.item())
    assert_close(ours, theirs, 0)


@pytest.mark.parametrize("clip_value", [0, 0.3, 100.0])
def test_clipping_by_value_equals_pytorch(clip_value):
    grads = gradients()
    grads[0][0, 0] = math.nan
    grads[1][0] = -math.inf
    ours, theirs = both(grads)
    nn.utils.clip_grad_value_(ours, clip_value)
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    assert_close(ours, theirs, 0)


def test_the_two_halves_of_clipping():
    ours, theirs = both(gradients())
    total = nn.utils.get_total_norm([p.grad for p in ours[1:]])
    expected = torch.nn.utils.get_total_norm([p.grad for p in theirs[1:]])
    assert total.item() == pytest.approx(expected.item(), rel=1e-14)
    nn.utils.clip_grads_with_norm_(ours, 0.1, total)
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.1, expected)
    assert_close(ours, theirs, 1e-15)


def test_single_tensors_nothing_and_emptiness():
    p = nn.Parameter([0.0, 0.0])
    p.grad = nc.tensor([3.0, 4.0])
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == 5
    assert p.grad.tolist() == [3, 4]
    nn.utils.clip_grad_value_(p, 3.5)
    assert p.grad.tolist() == [3, 3.5]
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    empty = nn.Parameter(np.empty((0, 3), np.float32))
    empty.grad = nc.tensor(np.empty((0, 3), np.float32))
    for norm_type in (2, math.inf):
        assert nn.utils.clip_grad_norm_([empty, p], 100.0, norm_type).item() > 3


@pytest.mark.parametrize(
    "name", ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "clip_grads_with_norm_"]
)
def test_arguments_are_pytorchs(name):
    ours, theirs = (
        [(p.name, p.default) for p in inspect.signature(getattr(lib, name)).parameters.values()]
        for lib in (nn.utils, torch.nn.utils)
    )
    assert ours == theirs


def test_mistakes():
    p = nn.Parameter([0.0])
    for call, error, message in [
        (lambda: nn.utils.clip_grad_norm_([p], -1), ValueError, "clip_grad_norm_: max_norm=-1"),
        (lambda: nn.utils.clip_grad_norm_([p], 1, math.nan), ValueError, "norm_type=nan"),
        (lambda: nn.utils.get_total_norm([p], math.nan), ValueError, "^get_total_norm: norm_type"),
        (lambda: nn.utils.get_total_norm([p * math.inf], 2, True), RuntimeError, "^get_total_norm"),
        (lambda: nn.utils.clip_grad_norm_([1.0], 1), TypeError, "expected tensors, got a float"),
        (lambda: nn.utils.clip_grad_value_([p], -1), ValueError, "clip_value=-1 must be"),
    ]:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("layer", "arguments", "attributes"),
    [
        ("ReLU6", {}, ("inplace", "min_val", "max_val")),
        ("Hardsigmoid", {"inplace": True}, ("inplace",)),
        ("ZeroPad1d", {"padding": 2}, ("padding", "value")),
        ("ZeroPad2d", {"padding": (1, 2, 0, 1)}, ("padding", "value")),
    ],
)
def test_layers_without_parameters_look_like_pytorchs(layer, arguments, attributes):
    ours, theirs = (getattr(lib, layer)(**arguments) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    for name in attributes:
        assert getattr(ours, name) == getattr(theirs, name)
