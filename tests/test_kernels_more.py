"""The bodies of `_kernels` below their ops: promises about rounding, odd values, threads, layouts.

That the bodies compute what PyTorch computes is tested through the ops, in `test_ops.py`. Here is
what an op does not show: an accuracy that a file promises, what a window that sees nothing gives,
sizes around the tile, and runs large enough that threads are used at all.
"""

import functools
import importlib
import sys

import numpy as np
import pytest

import nanoconv as nc
from nanoconv.dispatch import Body

EPS = np.finfo(np.float32).eps
FENCE = 32
LANGUAGES = ("cy", "nb")
SMOOTH = {
    "sigmoid": lambda x: np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "silu": lambda x: x * np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))),
}
PROMISED_ULPS = 3  # in the first lines of activation_cy and activation_nb


def body(family, language, name):
    """A kernel as `run(outputs, *inputs, sizes, threads)`, or a skip where it is not installed."""
    try:
        module = importlib.import_module(f"nanoconv._kernels.{family}_{language}")
    except ImportError as error:
        pytest.skip(str(error))

    def run(shapes, *inputs, sizes, threads=1):
        """New outputs of these shapes (or (shape, dtype)), poisoned and fenced before the run."""
        blocks, outputs = [], []
        for shape, dtype in ((s if isinstance(s[-1], type) else (s, np.float32)) for s in shapes):
            poison = np.nan if dtype is np.float32 else np.iinfo(dtype).min
            size = int(np.prod(shape))
            blocks.append(np.full(size + 2 * FENCE, poison, dtype))
            outputs.append(blocks[-1][FENCE : FENCE + size].reshape(shape))
        for array in inputs:
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        more = [threads] if language == "cy" else []
        if scratch := getattr(module, f"{name}_scratch", None):
            inputs += (np.full(scratch(sizes, *more), np.nan, np.float32),)
        getattr(module, name)(*outputs, *inputs, sizes, *more)
        for block in blocks:
            fence = np.concatenate([block[:FENCE], block[-FENCE:]])
            np.testing.assert_array_equal(fence, np.full_like(fence, block[0]))
        return outputs if len(outputs) > 1 else outputs[0]

    return run


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# --------------------------------------------------------------------------- activations


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_round_as_promised(name, language):
    """All sizes of numbers, also where a result is tiny, saturates, or is nearly x itself."""
    magnitudes = np.geomspace(1e-30, 87, 5000)
    x = np.concatenate([magnitudes, -magnitudes, [0, 1e30]]).astype(np.float32)
    exact = SMOOTH[name](x.astype(np.float64))
    y = body("activation", language, f"{name}_f32")([x.shape], x, sizes=x.shape)
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert (np.abs(y - exact) <= PROMISED_ULPS * unit).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_activations_at_the_ends_of_the_numbers(language):
    x = np.array([-np.inf, np.inf, np.nan, -3e38, 3e38], np.float32)

    def f(name):
        with np.errstate(invalid="ignore", over="ignore"):  # without the JIT
            return body("activation", language, f"{name}_f32")([x.shape], x, sizes=x.shape)

    np.testing.assert_array_equal(f("sigmoid"), [0, 1, np.nan, 0, 1])
    np.testing.assert_array_equal(f("tanh"), [-1, 1, np.nan, -1, 1])
    np.testing.assert_array_equal(f("silu"), [np.nan, np.inf, np.nan, 0, x[4]])
    np.testing.assert_array_equal(f("relu"), [0, np.inf, np.nan, 0, x[4]])
    np.testing.assert_array_equal(f("relu6"), [0, 6, np.nan, 0, 6])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "name", ["relu", "relu6", "leaky_relu", "hardsigmoid", "hardswish", "sigmoid", "tanh", "silu"]
)
def test_gradient_at_kinks_is_pytorchs(name, language):
    """At each kink, one number below and one above it; often enough to fill vectors."""
    torch = pytest.importorskip("torch")
    at = np.array([-3, 0, 3, 6], np.float32)
    points = np.concatenate([at, np.nextafter(at, np.float32(9)), np.nextafter(at, np.float32(-9))])
    x = np.tile(points, 24)
    dy = normal(x.size)
    slope = (0.25,) if name == "leaky_relu" else ()
    tensor = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    function = getattr(torch.nn.functional, name)
    function(tensor, *slope).backward(torch.from_numpy(dy.astype(np.float64)))
    exact = tensor.grad.numpy()
    run = body("activation", language, f"{name}_backward_f32")
    if name in ("sigmoid", "tanh"):  # whose slope is computed from y
        x = SMOOTH[name](x.astype(np.float64)).astype(np.float32)
    dx = run([x.shape], dy, x, *slope, sizes=x.shape)
    # The derivative is at most 3/2, and a sum of two products.
    assert (np.abs(dx - exact) <= 2 * 2 * EPS * 1.5 * np.abs(dy)).all()
    np.testing.assert_array_equal(dx == 0, exact == 0)


# --------------------------------------------------------------------------- norm


def norm(language, x, G, last, R=1):
    """y and the statistics (A, G) of x (A·R, C, M); the kernel sees (A·R, M, C) if `last`."""
    (N, C, M), run = x.shape, body("norm", language, "norm_f32")
    images = x.transpose(0, 2, 1).copy() if last else x.copy()
    w, b = np.ones(C, np.float32), np.zeros(C, np.float32)
    sizes = (N // R, R, C, M, G, int(last))
    outputs = [images.shape, *[(N // R, G)] * 3]
    y, *statistics = run(outputs, images, w, b, 0.0, sizes=sizes)
    return y.transpose(0, 2, 1) if last else y, *statistics


def channel_stats(language, x, last=True):
    """Mean and variance of the columns of a matrix: one image."""
    _, mean, var, _ = norm(language, x.T[None], x.shape[1], last)
    return mean[0], var[0]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("C", [1, 3, 16, 63, 64, 100, 128, 513])
@pytest.mark.parametrize("M", [1, 2, 31, 33, 129, 600])
@pytest.mark.parametrize("last", [True, False])
def test_statistics_far_from_zero(M, C, last, language):
    """|mean| is 10⁵ standard deviations: E[x²] − E[x]² would have no correct digit."""
    x = np.arange(1, C + 1, dtype=np.float32) * (1 + np.float32(1e-5) * normal(M, C))
    exact = x.astype(np.float64)
    mean, var = channel_stats(language, x, last)
    assert (np.abs(mean - exact.mean(0)) <= 2 * EPS * np.abs(exact.mean(0))).all()
    assert (np.abs(var - exact.var(0)) <= 2 * M * EPS * exact.var(0)).all()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("last", [True, False])
def test_statistics_of_channels_that_are_odd(language, last):
    """A constant, an outlier in the first row, and infinities, which stay in their own column."""
    x = normal(100, 6)
    alone = x.copy()
    x[:, 0] = 0.1
    x[0, 1] = 1e6
    x[7, 2], x[8, 3], x[9, 4] = np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        mean, var = channel_stats(language, x, last)
    assert mean[0] == x[0, 0]
    assert var[0] == 0
    exact = x[:, 1].astype(np.float64).var()
    assert abs(var[1] - exact) <= 2 * len(x) * EPS * exact
    np.testing.assert_array_equal(mean[2:5], [np.inf, -np.inf, np.nan])
    assert np.isnan(var[2:5]).all()
    mean_alone, var_alone = channel_stats(language, alone, last)
    assert (mean[5], var[5]) == (mean_alone[5], var_alone[5])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_norm_of_nothing(language):
    for last in (False, True):
        for statistic in norm(language, np.empty((1, 3, 0), np.float32), 3, last)[1:]:
            np.testing.assert_array_equal(statistic, 0)
    x, of_c = np.empty((1, 0, 3), np.float32), np.ones((1, 3), np.float32)
    run = body("norm", language, "norm_backward_f32")
    sizes = (1, 1, 3, 0, 3, 1, 1)
    for total in run([x.shape, (3,), (3,)], x, x, of_c, of_c, of_c[0], sizes=sizes)[1:]:
        np.testing.assert_array_equal(total, 0)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("shape", [(4, 6, 1), (4, 6, 37), (2, 130, 25), (1, 514, 70), (6, 2, 600)])
@pytest.mark.parametrize(("R", "K"), [(1, 1), (1, 2), (2, 1)])
def test_both_formats_have_one_norm(shape, R, K, language):
    """Runs shorter and longer than a vector, a block, a tile of columns; both directions."""
    (N, C, M), A, G = shape, shape[0] // R or 1, shape[1] // K
    R = N // A
    x, dy, w = 3 + normal(*shape), normal(*shape, seed=1), normal(C, seed=2)
    results = []
    for last in (False, True):
        y, mean, var, invstd = norm(language, x, G, last, R)
        images = [a.transpose(0, 2, 1).copy() if last else a.copy() for a in (dy, x)]
        sizes = (A, R, C, M, G, int(last), 1)
        run = body("norm", language, "norm_backward_f32")
        outputs = [images[0].shape, (C,), (C,)]
        if R * K * M < 3:  # of one or two numbers x̂ is ±1 or nothing
            continue
        dx, dw, db = run(outputs, *images, mean, invstd, w, sizes=sizes)
        results.append((y, mean, var, dx.transpose(0, 2, 1) if last else dx, dw, db))
    for planes, columns in zip(*results, strict=True) if results else ():
        size = np.abs(planes).max() + np.sqrt(N * M)
        assert np.abs(planes - columns).max() <= 40 * EPS * size


# --------------------------------------------------------------------------- pooling


@pytest.mark.parametrize("language", LANGUAGES)
def test_maximum_of_odd_windows(language):
    """Four windows of one row: all −∞; a NaN; two equal maxima; and nothing but padding."""
    inf, nan = np.inf, np.nan
    x = np.array([-inf, -inf, 1, nan, 5, 5], np.float32)[None, None, :, None].repeat(9, 3)
    sizes = (1, 9, 1, 6, 1, 4, 1, 2, 1, 2, 0, 0, 1, 1)
    run = body("pool", language, "max_pool_f32")
    y, index = run([(1, 1, 4, 9), ((1, 1, 4, 9), np.int64)], x, sizes=sizes)
    for c in range(9):
        np.testing.assert_array_equal(y[0, 0, :, c], [-inf, nan, 5, -inf])
        np.testing.assert_array_equal(index[0, 0, :, c], [0, 3, 4, -1])
    dy = normal(1, 1, 4, 9)
    dx = body("pool", language, "max_pool_backward_f32")([x.shape], dy, index, sizes=sizes[:6])
    expected = np.zeros_like(x)
    expected[0, 0, [0, 3, 4]] = dy[0, 0, :3]
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("language", LANGUAGES)
def test_maximum_with_a_gigantic_dilation(language):
    x = normal(2, 3, 3, 5)
    sizes = (2, 5, 3, 3, 3, 3, 2, 2, 1, 1, 0, 0, 2**31 - 1, 2**31 - 1)
    run = body("pool", language, "max_pool_f32")
    y, index = run([x.shape, (x.shape, np.int64)], x, sizes=sizes)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(index, np.arange(9).reshape(1, 3, 3, 1).repeat(2, 0).repeat(5, 3))


@pytest.mark.parametrize("language", LANGUAGES)
def test_means_of_windows_that_are_empty_or_overlap(language):
    x = normal(2, 4, 5, 70)
    rows, cols = np.array([[0, 3], [2, 2], [1, 4]]), np.array([[0, 5], [4, 5]])
    scale = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    sizes = (2, 70, 4, 5, 3, 2)
    run = body("pool", language, "window_mean_f32")
    y = run([(2, 3, 2, 70)], x, rows, cols, scale, sizes=sizes)
    dy = normal(2, 3, 2, 70, seed=1)
    run = body("pool", language, "window_mean_backward_f32")
    dx = run([x.shape], dy, rows, cols, scale, sizes=sizes)
    exact, limit = np.zeros(x.shape), np.zeros(x.shape)
    for i, (h0, h1) in enumerate(rows):
        for j, (w0, w1) in enumerate(cols):
            seen = x[:, h0:h1, w0:w1].astype(np.float64)
            error = np.abs(y[:, i, j] - scale[i, j] * seen.sum((1, 2)))
            assert (error <= 2 * 15 * EPS * scale[i, j] * np.abs(seen).sum((1, 2))).all()
            exact[:, h0:h1, w0:w1] += scale[i, j] * dy[:, i, j, None, None].astype(np.float64)
            limit[:, h0:h1, w0:w1] += scale[i, j] * np.abs(dy[:, i, j, None, None])
    assert (np.abs(dx - exact) <= 2 * 6 * EPS * limit).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_mean_of_a_large_window_is_summed_line_by_line(language):
    """The error of a sum of H·W equal numbers is that of sums of W and of H."""
    side = 64 if numba_is_off(language) else 700
    x = np.full((1, side, side, 8), 0.1, np.float32)
    whole, one = np.array([[0, side]]), np.ones((1, 1), np.float32)
    run = body("pool", language, "window_mean_f32")
    y = run([(1, 1, 1, 8)], x, whole, whole, one, sizes=(1, 8, side, side, 1, 1))
    exact = x[0, 0, 0, 0].astype(np.float64) * side * side
    assert (np.abs(y - exact) <= 2 * (side + side) * EPS * exact).all()


def numba_is_off(language):
    return language == "nb" and pytest.importorskip("numba").config.DISABLE_JIT


# --------------------------------------------------------------------------- shuffle


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("G", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("K", [1, 2, 3, 4, 5, 8, 9, 29])
def test_shuffle_and_back(G, K, language):
    x = normal(5, G * K)
    run = body("shuffle", language, "channel_shuffle_f32")
    y = run([x.shape], x, sizes=(5, G * K, G))
    np.testing.assert_array_equal(y.reshape(5, K, G), x.reshape(5, G, K).transpose(0, 2, 1))
    np.testing.assert_array_equal(run([x.shape], y, sizes=(5, G * K, K)), x)


# --------------------------------------------------------------------------- threads


def norms_of(x, last):
    """The kernels of norms with these images: batch norm, and one group per channel of each."""
    N, C, M = (x.shape[0], *x.shape[:0:-1]) if last else x.shape
    w = normal(C)
    yield "running_norm_f32", [x.shape, (C,)], [x, w, w, w, w**2, 1e-5], (N, C, M, last)
    for A, G in ((1, C), (N, C)):
        of_group, sizes = normal(A, G), (A, N // A, C, M, G, last)
        kind = "batch" if A == 1 else "group"
        shapes = [x.shape, *[of_group.shape] * 3]
        yield f"norm_f32 {kind}", shapes, [x, w, w, 1e-5], sizes
        inputs = [x, x, of_group, of_group, w]
        yield f"norm_backward_f32 {kind}", [x.shape, (C,), (C,)], inputs, (*sizes, 1)


def large(name):
    """Shapes of the outputs, inputs and sizes of a run worth threads; C is no whole tile."""
    x, dy = normal(2, 40, 40, 37), normal(2, 20, 20, 37, seed=1)
    matrix, C = x.reshape(-1, 37), 37
    pool = (2, C, 40, 40, 20, 20, 3, 3, 2, 2, 1, 1, 1, 1)
    index = np.random.default_rng(2).integers(0, 1600, dy.shape)
    index = np.minimum(index, np.arange(20).reshape(1, 20, 1, 1) * 80 + 39)  # rows that i reaches
    rows = np.array([[2 * i, min(2 * i + 3, 40)] for i in range(20)])
    scale = normal(20, 20)
    mean = (2, C, 40, 40, 20, 20)
    wide = normal(200, 1100)
    return {
        "max_pool_f32": ([dy.shape, (dy.shape, np.int64)], [x], pool),
        "max_pool_backward_f32": ([x.shape], [dy, index], pool[:6]),
        "window_max_f32": ([dy.shape, (dy.shape, np.int64)], [x, rows, rows], mean),
        "window_max_only_f32": ([dy.shape], [x, rows, rows], mean),
        "max_unpool_f32": ([x.shape], [dy, index], (2, C, 20, 20, 40, 40)),
        "max_unpool_backward_f32": ([dy.shape], [x, index], (2, C, 20, 20, 40, 40)),
        "window_mean_f32": ([dy.shape], [x, rows, rows, scale], mean),
        "window_mean_backward_f32": ([x.shape], [dy, rows, rows, scale], mean),
        **{
            f"{name} {which}": (shapes, inputs, sizes)
            for which, images, last in (
                ("planes", matrix.reshape(8, C, 400), 0),
                ("columns", matrix.reshape(8, 400, C), 1),
                ("wide columns", wide.reshape(2, 100, 1100), 1),
            )
            for name, shapes, inputs, sizes in norms_of(images, last)
        },
        "silu_f32": ([(x.size,)], [x.reshape(-1)], (x.size,)),
        "silu_backward_f32": ([(x.size,)], [x.reshape(-1), x.reshape(-1)], (x.size,)),
        "channel_shuffle_f32": ([(3200, 36)], [matrix[:, :36].copy()], (3200, 36, 3)),
        "cat_f32": ([(2, 40, 40, 59)], [(x, x[..., 5:27])], (2, 59, 40, 40)),
    }[name]


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("pool", "max_pool_f32"),
        ("pool", "max_pool_backward_f32"),
        ("pool", "window_max_f32"),
        ("pool", "window_max_only_f32"),
        ("pool", "max_unpool_f32"),
        ("pool", "max_unpool_backward_f32"),
        ("pool", "window_mean_f32"),
        ("pool", "window_mean_backward_f32"),
        ("norm", "norm_f32 batch planes"),
        ("norm", "norm_f32 batch columns"),
        ("norm", "norm_f32 batch wide columns"),
        ("norm", "norm_f32 group planes"),
        ("norm", "norm_f32 group columns"),
        ("norm", "norm_f32 group wide columns"),
        ("norm", "norm_backward_f32 batch planes"),
        ("norm", "norm_backward_f32 batch columns"),
        ("norm", "norm_backward_f32 batch wide columns"),
        ("norm", "norm_backward_f32 group planes"),
        ("norm", "norm_backward_f32 group columns"),
        ("norm", "norm_backward_f32 group wide columns"),
        ("norm", "running_norm_f32 planes"),
        ("norm", "running_norm_f32 columns"),
        ("norm", "running_norm_f32 wide columns"),
        ("activation", "silu_f32"),
        ("activation", "silu_backward_f32"),
        ("shuffle", "channel_shuffle_f32"),
        ("cat", "cat_f32"),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(family, name):
    shapes, inputs, sizes = large(name)
    run = body(family, "cy", name.split()[0])
    one = run(shapes, *inputs, sizes=sizes, threads=1)
    for threads in (2, 3, 7):
        again = run(shapes, *inputs, sizes=sizes, threads=threads)
        for first, second in zip(one, again, strict=True):  # outputs, or images of the only one
            np.testing.assert_array_equal(first, second)


# --------------------------------------------------------------------------- memory formats


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("P", [1, 7, 16, 63, 64, 65, 71, 200])
@pytest.mark.parametrize("C", [1, 3, 4, 8, 15, 16, 33])
def test_transpose_of_sizes_around_the_tile(C, P, threads):
    transpose = body("layout", "cy", "transpose_f32")
    x = np.arange(2 * C * P, dtype=np.float32).reshape(2, C, P)
    y = transpose([(2, P, C)], x, sizes=(2, C, P), threads=threads)
    np.testing.assert_array_equal(y, x.transpose(0, 2, 1))


# --------------------------------------------------------------------------- Numba


def test_a_numba_body_compiles_once_and_takes_only_its_layout():
    pytest.importorskip("numba")
    if numba_is_off("nb"):
        pytest.skip("NUMBA_DISABLE_JIT=1")
    from nanoconv._kernels.jit_nb import kernel

    @kernel()
    def double(y, x, sizes):
        for k in range(sizes[0]):
            y[k] = x[k] + x[k]

    x = normal(8)
    writable, frozen = np.empty_like(x), np.empty_like(x)
    double(writable, x, (8,))
    x.flags.writeable = False
    double(frozen, x, (8,))
    np.testing.assert_array_equal(writable, 2 * x)
    np.testing.assert_array_equal(frozen, 2 * x)
    with pytest.raises(TypeError):
        double(np.empty(4, np.float32), x[::2], (4,))
    with pytest.raises(TypeError):
        double(x, writable, (8,))


def test_channels_last_without_the_compiled_transpose(monkeypatch):
    """A build may lose one module; then NumPy makes the copy."""
    x = normal(2, 3, 5, 7)
    image = Body(print, kind="cython").image
    expected = image(x)
    monkeypatch.setitem(sys.modules, "nanoconv._kernels.layout_cy", None)
    np.testing.assert_array_equal(image(x), expected)
    np.testing.assert_array_equal(expected, x.transpose(0, 2, 3, 1))


# --------------------------------------------------------------------------- slices of channels


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (1, 7), (5, 1)])
@pytest.mark.parametrize(
    "channels", [slice(0, 9), slice(9, None), slice(3, 4), slice(None, None, 2)]
)
def test_convolution_of_some_channels_equals_that_of_their_copy(channels, size, stride):
    """Bit for bit, whether the compiled body reads them where they are or not."""
    x = normal(2, *size, 20).transpose(0, 3, 1, 2)[:, channels]
    weight = nc.tensor(normal(6, x.shape[1], 1, 1, seed=1))
    conv = functools.partial(nc.functional.conv2d, weight=weight, stride=stride)
    copied = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    there, alone = (conv(nc.from_numpy(array)).numpy() for array in (x, copied))
    np.testing.assert_array_equal(there, alone)
