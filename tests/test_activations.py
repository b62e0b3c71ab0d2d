"""Activations beyond the table: far out, at the kinks, at NaN and ±∞, on every rung."""

import math

import numpy as np
import pytest
from harness import installed_rungs, torch

import nanoconv as nc
from nanoconv import nn
from nanoconv.ops import activations, glu, prelu

F, TF = nc.functional, torch.nn.functional
nan, inf = np.nan, np.inf
EVERY_RUNG = [
    (name, rung)
    for name in activations.FORWARD
    for rung in installed_rungs(activations.FORWARD[name])
]
EPS, SMALLEST = np.finfo(np.float32).eps, np.finfo(np.float32).smallest_normal
FUNCTION = {"gelu_tanh": ("gelu", {"approximate": "tanh"}), "threshold": ("threshold", {})}
POSITIONAL = {"threshold": (-1.0, 0.25)}


def call(functional, name, x):
    """The activation of this row, with PyTorch's defaults, in either library."""
    function, attrs = FUNCTION.get(name, (name, {}))
    return getattr(functional, function)(x, *POSITIONAL.get(name, ()), **attrs)


def value_and_gradient(name, rung, x):
    x = nc.tensor(x, requires_grad=True)
    with nc.use(rung):
        y = call(F, name, x)
        y.backward(np.ones(x.shape, x.dtype))
    return y.detach().numpy(), x.grad.numpy()


def rounding_of_y(name):
    """What the roundings of a y near 1, less than 3 units, do to a slope such as 1 − y²."""
    return 2 * 3 * EPS if activations.ACTIVATIONS[name].keeps == "y" else 0


@pytest.mark.parametrize(("name", "rung"), EVERY_RUNG)
def test_far_out(name, rung):
    """From −105 to 105 and down to the smallest numbers, as the exact function gives it.

    The bound allows 8 roundings and what they do to x, and a derivative that underflows before
    it is multiplied by x, or for gelu_tanh by x + x³. A slope that is computed from y has the
    rounding of y, too.
    """
    x = np.linspace(-105, 105, 9001, dtype=np.float32)
    x = np.concatenate([x, x * np.float32(1e-3), x * np.float32(1e-30), x * np.float32(1e-42)])
    x = x[np.abs(x - 20) > 1e-4]  # where softplus jumps, by e⁻²⁰
    exact, power = x.astype(np.float64), 3 if name == "gelu_tanh" else 1
    nearby = [value_and_gradient(name, "numpy", exact * (1 + s * EPS)) for s in (-1, 0, 1)]
    for k, result in enumerate(value_and_gradient(name, rung, x)):
        before, truth, after = (pair[k] for pair in nearby)
        spread = np.maximum(np.abs(before - truth), np.abs(after - truth))
        bound = 2 * 8 * (EPS * np.abs(truth) + spread) + SMALLEST * (1 + np.abs(x)) ** power
        bound += rounding_of_y(name) * k
        assert result.dtype == np.float32
        assert (np.abs(result - truth) <= bound).all()


@pytest.mark.parametrize(("name", "rung"), EVERY_RUNG)
def test_special_values(name, rung):
    """Kinks, zeros of either sign, NaN and ±∞: PyTorch's answer in float64, to the last bits."""
    x = np.array([-inf, -6, -3, -1, -0.5, -0.0, 0.0, 0.5, 1, 3, 6, inf, nan], np.float32)
    # At NaN PyTorch's vectors and what is left over differ: here every element fills vectors.
    repeated = np.repeat(x, 64).reshape(len(x), 64)
    wide = torch.tensor(repeated, dtype=torch.double, requires_grad=True)
    expected = call(TF, name, wide)
    expected.backward(torch.ones_like(expected))
    for result, theirs in zip(
        value_and_gradient(name, rung, x),
        (expected.detach().numpy()[:, 0], wide.grad.numpy()[:, 0]),
        strict=True,
    ):
        atol = SMALLEST + rounding_of_y(name)
        np.testing.assert_allclose(result, theirs, rtol=16 * EPS, atol=atol)


# --------------------------------------------------------------------------- promises

PROMISED = {  # units in the last place, in the first lines of activation_cy
    "elu": ((1.25,), lambda x: 3),
    "selu": ((), lambda x: 3),
    "celu": ((0.75,), lambda x: 3 + x / 0.75),
    "gelu": ((), lambda x: 6 + x**2),
    "gelu_tanh": ((), lambda x: 4 + 2 * x + x**3),
    "mish": ((), lambda x: 4),
    "softplus": ((1.0, 20.0), lambda x: 3),
    "logsigmoid": ((), lambda x: 3),
    "softsign": ((), lambda x: 3),
}


@pytest.mark.parametrize("rung", ["cython.flat", "numba.flat"])
@pytest.mark.parametrize("name", PROMISED)
def test_smooth_activations_round_as_promised(name, rung):
    """All sizes of numbers, also where a result is tiny, saturates, or is nearly x itself."""
    ladder, (attrs, units) = activations.FORWARD[name], PROMISED[name]
    if rung not in installed_rungs(ladder):
        pytest.skip(f"{rung} is not installed")
    magnitudes = np.concatenate([np.geomspace(1e-30, 87, 5000), np.linspace(0, 20, 5001)])
    x = np.concatenate([magnitudes, -magnitudes]).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = ladder.reference(x.astype(np.float64), *attrs)
        y = ladder.run(rung, x, *attrs)
    unit = np.spacing(np.maximum(np.abs(exact), SMALLEST).astype(np.float32)).astype(np.float64)
    allowed = units(np.abs(x.astype(np.float64))) * unit
    assert (np.abs(y - exact) <= np.where(np.abs(exact) < SMALLEST, SMALLEST, allowed)).all()


@pytest.mark.parametrize("name", ["softplus", "logsigmoid", "mish", "gelu", "gelu_tanh", "elu"])
def test_float64_has_all_its_digits(name):
    """Also where PyTorch's float64 has lost some: against 40 digits."""
    mp = pytest.importorskip("mpmath").mp.clone()
    mp.dps = 40

    def exact(x):
        x = mp.mpf(x)
        root = mp.sqrt(2 / mp.pi)
        return {
            "softplus": lambda: mp.log1p(mp.exp(x)) if x <= 20 else x,
            "logsigmoid": lambda: -mp.log1p(mp.exp(-x)),
            "mish": lambda: x * mp.tanh(mp.log1p(mp.exp(x))),
            "gelu": lambda: x * mp.ncdf(x),
            "gelu_tanh": lambda: x * (1 + mp.tanh(root * (x + 0.044715 * x**3))) / 2,
            "elu": lambda: x if x > 0 else mp.expm1(x),
        }[name]()

    x = np.concatenate([np.linspace(-8, 19, 55), [1e-9, -1e-9, 30]])
    y, dx = value_and_gradient(name, "numpy", x)
    eps = np.finfo(np.float64).eps
    for at, value, slope in zip(x, y, dx, strict=True):
        condition = abs(at) * max(1, abs(at)) ** 2 * abs(slope)  # z of gelu_tanh has a cube
        assert abs(value - exact(at)) <= 8 * eps * (abs(float(exact(at))) + condition)
        assert abs(slope - mp.diff(exact, at)) <= 1e-12 or at == 0


# --------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "name", ["hardshrink", "log_softmax", "prelu", "relu", "sigmoid", "softmax", "tanh"]
)
def test_what_pytorch_has_as_a_method_is_one(name):
    assert hasattr(torch.Tensor, name)
    assert getattr(nc.Tensor, name) is getattr(F, name)


def test_arguments_of_pytorch():
    x = nc.tensor([-2.0, 2.0])
    for name in (
        "relu", "relu6", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish", "silu", "mish",
        "elu", "selu", "celu",
    ):  # fmt: skip
        getattr(F, name)(x, inplace=True)
    F.threshold(x, 1, 0, inplace=True)
    assert x.tolist() == [-2.0, 2.0]
    assert F.leaky_relu(x, 0.5).tolist() == [-1.0, 2.0]
    assert F.leaky_relu(x, negative_slope=-1).tolist() == [2.0, 2.0]
    assert F.hardtanh(x, -1, 1.5).tolist() == [-1.0, 1.5]
    assert F.hardtanh(x, max_val=0.5, min_val=0).tolist() == [0.0, 0.5]
    assert F.threshold(x, threshold=2, value=7).tolist() == [7.0, 7.0]
    assert F.elu(x, nc.tensor(0.0)).tolist() == [0.0, 2.0]
    assert F.hardshrink(x, lambd=2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: F.hardtanh(x, 2, 1), ValueError, "hardtanh: min_val=2 must be at most max_val"),
        (lambda x: F.hardtanh(x, nan, 1), ValueError, "hardtanh: min_val=nan must be at most"),
        (lambda x: F.hardtanh(x, "0"), TypeError, "hardtanh: min_val='0', expected a number"),
        (lambda x: F.softshrink(x, -1), ValueError, "softshrink: lambd=-1 must be finite and not"),
        (lambda x: F.softshrink(x, inf), ValueError, "softshrink: lambd=inf must be finite"),
        (lambda x: F.celu(x, 0), ValueError, "celu: alpha=0, by which x would be divided"),
        (lambda x: F.elu(x, None), TypeError, "elu: alpha=None, expected a number"),
        (lambda x: F.leaky_relu(x, "a"), TypeError, "leaky_relu: negative_slope='a', expected"),
        (lambda x: F.softplus(x, [1]), TypeError, r"softplus: beta=\[1\], expected a number"),
        (lambda x: F.elu(x, np.inf), ValueError, "elu: alpha=inf, expected a finite number"),
        (lambda x: F.celu(x, np.nan), ValueError, "celu: alpha=nan, expected a finite number"),
        (lambda x: F.gelu(x, "erf"), ValueError, "gelu: approximate='erf', expected 'none' or"),
        (lambda x: F.gelu(x, None), ValueError, "gelu: approximate=None, expected 'none' or"),
        (lambda x: F.glu(x, 0), ValueError, r"glu: input has shape \[3, 4\], expected an even"),
        (lambda x: F.glu(x, 2), ValueError, "glu: dim=2"),
        (lambda x: F.glu(x, 0.0), TypeError, "glu: dim=0.0, expected an integer"),
        (lambda x: F.glu(nc.tensor(1.0)), ValueError, r"glu: input has shape \[\], expected an"),
        (lambda x: F.softmin(x, 2), ValueError, "softmin: dim=2"),
        (lambda x: F.prelu(x, nc.ones(3)), ValueError, r"prelu: weight has shape \[3\], expected"),
        (lambda x: F.prelu(x[0], nc.ones(4)), ValueError, r"expected \[1\] for input"),
        (
            lambda x: F.prelu(x, nc.ones(1, 4)),
            ValueError,
            r"shape \[1, 4\], expected \(C",
        ),
        (lambda x: F.prelu(x, nc.ones(4).double()), TypeError, "prelu: weight is float64 but"),
        (lambda x: F.prelu(x, 0.25), TypeError, "prelu: weight must be a nanoconv Tensor, got fl"),
        (lambda x: nn.Hardtanh(1, 1), ValueError, "Hardtanh: min_val=1 must be below max_val=1"),
        (lambda x: nn.PReLU(0), ValueError, "PReLU: num_parameters=0, expected an integer from 1"),
        (lambda x: nn.Softmin(), TypeError, "Softmin: dim=None must be the number of an axis"),
    ],
)
def test_what_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(nc.ones(3, 4))


def test_softplus_never_overflows():
    """Where e^(beta·x) is no float and the threshold is above, as PyTorch's float64 has it."""
    x = np.array([100.0, 500.0, -500.0], np.float32)
    expected = TF.softplus(torch.tensor(x, dtype=torch.double), 1, 600).numpy()
    for rung in installed_rungs(activations.FORWARD["softplus"]):
        with nc.use(rung):
            y = F.softplus(nc.tensor(x), threshold=600).numpy()
        np.testing.assert_allclose(y, expected, rtol=4 * EPS, atol=SMALLEST)


def test_constants_of_selu_are_a_fixed_point():
    """Of a standard normal x, selu has mean 0 and variance 1: both integrals by 10⁶ midpoints."""
    edges = np.linspace(-40, 40, 1_000_001)
    x = (edges[1:] + edges[:-1]) / 2
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (edges[1] - edges[0])
    y = F.selu(nc.tensor(x)).numpy()
    assert abs((y * density).sum()) < 1e-8
    assert abs((y * y * density).sum() - 1) < 1e-8


# --------------------------------------------------------------------------- sizes and threads


@pytest.mark.parametrize("rung", [r for r in installed_rungs(prelu.FORWARD) if r != "loops"])
@pytest.mark.parametrize("C", [1, 63, 65, 129, 600])
@pytest.mark.parametrize("M", [1, 31, 33, 700])
def test_prelu_around_its_tiles(rung, C, M):
    """Wide and narrow rows, whole and broken tiles; on any number of threads the same bits."""
    rng = np.random.default_rng(M * C)
    x, dy = (rng.standard_normal((M, C)).astype(np.float32) for _ in range(2))
    w = rng.standard_normal(C).astype(np.float32)
    below = np.where(x > 0, 0, x.astype(np.float64) * dy)
    before = nc.get_num_threads()
    try:
        runs = []
        for n in (1, 2, 7):
            nc.set_num_threads(n)
            runs.append(
                (
                    prelu.FORWARD.run(rung, x, w),
                    prelu.INPUT_GRAD.run(rung, dy, x, w),
                    prelu.WEIGHT_GRAD.run(rung, dy, x, w),
                )
            )
    finally:
        nc.set_num_threads(before)
    y, dx, dw = runs[0]
    np.testing.assert_array_equal(y, np.where(x > 0, x, w * x))
    np.testing.assert_array_equal(dx, np.where(x > 0, dy, w * dy))
    assert (np.abs(dw - below.sum(0)) <= 2 * M * EPS * np.abs(below).sum(0)).all()
    for run in runs[1:]:
        for first, again in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("rung", [r for r in installed_rungs(glu.FORWARD) if r != "loops"])
@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_glu_of_a_large_image_in_either_format(rung, dim):
    """Large enough for threads; the memory format stays."""
    x = np.random.default_rng(dim).standard_normal((2, 32, 34, 36)).astype(np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    dy = np.ascontiguousarray(np.split(x, 2, dim)[0])
    exact = TF.glu(torch.tensor(x, dtype=torch.double), dim).numpy()
    before = nc.get_num_threads()
    try:
        for n in (1, 3):
            nc.set_num_threads(n)
            y, z = (glu.FORWARD.run(rung, a, dim) for a in (x, last))
            for image in (y, z):
                np.testing.assert_allclose(image, exact, rtol=8 * EPS, atol=SMALLEST)
            dx, dz = (glu.BACKWARD.run(rung, dy, a, dim) for a in (x, last))
            np.testing.assert_allclose(dz, dx, rtol=8 * EPS, atol=SMALLEST)
            assert rung == "numpy" or z.transpose(0, 2, 3, 1).flags.c_contiguous
    finally:
        nc.set_num_threads(before)
