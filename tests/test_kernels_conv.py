"""The compiled products and convolutions by themselves, at the sizes where their tiles end.

The ops test every geometry on small shapes; here are the sums longer than one block of K, images of
more pixels than one block, channels beyond one panel, bundle, slice or chunk, against NumPy in
float64 within 2·K·ε·R, and the same bits from 1, 2 and 3 threads.
"""

import importlib

import numpy as np
import pytest

import nanoconv as nc
from nanoconv.ops import conv2d, winograd

if nc.isa() is None:
    pytest.skip("no compiled kernels", allow_module_level=True)

MODULES = ("gemm_cy", "im2col_cy", "conv_cy", "depthwise_cy", "depthwise_rows_cy", "winograd_cy")
gemm_cy, im2col_cy, conv_cy, depthwise_cy, depthwise_rows_cy, winograd_cy = (
    importlib.import_module(f"nanoconv._kernels.{name}") for name in MODULES
)
EPS = float(np.finfo(np.float32).eps)
FENCE = 64

# (rows, columns, length): around the tiles (up to 16 rows, 4 vectors of 16), few rows, blocks of
# 96 rows and 256 of the sum, and the 64 rows per thread from which threads share out rows
PRODUCTS = [
    *((M, 25, 7) for M in (1, 2, 5, 7, 8, 9, 13, 17, 95, 96, 97, 128, 193)),
    *((11, N, 33) for N in (1, 3, 4, 8, 12, 15, 16, 17, 24, 47, 48, 49, 64, 65, 71, 73)),
    *((20, 30, K) for K in (0, 1, 2, 15, 16, 17, 255, 256, 257, 513)),
    (8, 1000, 300),
    (200, 70, 300),
]

# (N, C, H, W, O, kernel, stride, padding, dilation, groups): more than 256 and 128 pixels; a bundle
# of groups and a rest; slices of a group; a view; C/G of 1 to 4; no image at all; windows so large
# that a block has 21 pixels, or 8
CONVOLUTIONS = [
    (1, 3, 23, 25, 33, 3, 2, 1, 1, 1),
    (2, 5, 17, 17, 7, 3, 1, 1, 1, 1),
    (1, 130, 6, 5, 9, 3, 1, 1, 2, 1),
    (1, 60, 12, 12, 8, 5, 1, 2, 1, 1),
    (2, 150, 9, 8, 75, 3, 1, 1, 1, 75),
    (1, 72, 12, 12, 36, 3, 2, 0, 1, 18),
    (3, 24, 7, 7, 40, 1, 1, 0, 1, 8),
    (1, 90, 13, 13, 60, 1, 1, 0, 1, 1),
    (1, 6, 15, 15, 12, 3, 1, 1, 1, 6),
    (0, 8, 6, 6, 4, 3, 1, 1, 1, 2),
    (1, 21, 20, 20, 9, 12, 3, 2, 1, 1),
    (1, 70, 18, 17, 5, 16, 1, 1, 1, 1),
]

# (N, C, H, W, multiplier, kernel, stride, padding, dilation): chunks of channels and a rest, less
# than a vector, runs of 4 steps and a rest, every phase of a stride, more than 3 × 3 taps;
# tiles of 1 to 7 columns and one more; padding beyond the windows of a column
DEPTHWISE = [
    (1, 200, 9, 11, 1, 3, 1, 1, 1),
    (2, 65, 12, 10, 1, 3, 2, 1, 1),
    (1, 17, 16, 21, 1, 5, 1, 2, 1),
    (1, 31, 10, 9, 1, 7, 3, 3, 2),
    (1, 3, 8, 8, 1, 3, 1, 1, 1),
    (2, 9, 7, 7, 3, 3, 2, 1, 1),
    (1, 33, 5, 1, 1, 4, 2, 6, 3),
    (0, 16, 5, 5, 1, 3, 1, 1, 1),
    *(
        (1, 20, 7, W, 1, kernel, stride, kernel // 2, 1)
        for kernel, stride in ((3, 1), (3, 2), (5, 1), (5, 2), (4, 3))
        for W in (1, 6, 7, 8, 15)
    ),
    (2, 70, 6, 9, 1, 5, 1, 9, 1),
]

# (N, C, H, W, O, padding): 49 tiles of 4 and of 2, with so many weights that threads share them;
# one row more; a row of tiles; several panels and a rest; more channels than one block of K
TILES = [
    (1, 75, 28, 28, 90, 1),
    (2, 110, 14, 14, 130, 1),
    (1, 75, 29, 28, 90, 1),
    (1, 24, 15, 14, 9, 1),
    (1, 3, 3, 90, 5, 1),
    (1, 18, 31, 33, 150, 0),
    (1, 270, 6, 5, 7, 2),
]


def run(body, shape, *inputs, sizes):
    """What `body` writes, the same for any number of threads, from poisoned, fenced buffers."""

    def fenced(size):
        return np.full(size + 2 * FENCE, np.nan, np.float32)

    def check(block):
        assert np.isnan(block[:FENCE]).all()
        assert np.isnan(block[-FENCE:]).all()

    for array in inputs:
        array.flags.writeable = False
    module = importlib.import_module(body.__module__)
    size_of = getattr(module, body.__name__ + "_scratch", None)
    results = []
    for threads in (1, 2, 3):
        output = fenced(int(np.prod(shape)))
        arrays = [output[FENCE:-FENCE].reshape(shape), *inputs]
        if size_of is not None:
            scratch = fenced(size_of(sizes, threads))
            arrays.append(scratch[FENCE:-FENCE])
        body(*arrays, sizes, threads)
        check(output)
        if size_of is not None:
            check(scratch)
        results.append(arrays[0])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    return results[0]


def assert_equal(result, reference, *arrays, length):
    """|result − reference(…)| ≤ 2·K·ε·R, R the reference of the absolute values."""
    arrays = [array.astype(np.float64) for array in arrays]
    bound = 2 * length * EPS * reference(*map(np.abs, arrays))
    error = np.abs(result - reference(*arrays))
    assert (error <= bound).all(), f"largest error / bound: {np.nanmax(error / bound)}"


def random(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def geometry(N, C, H, W, O, kernel, stride, padding, dilation, groups):
    OH, OW = ((k + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for k in (H, W))
    s, p, d = stride, padding, dilation
    return (N, C, H, W, O, OH, OW, kernel, kernel, s, s, p, p, d, d, groups)


def taps_of(padded, sizes):
    """(u, v, view of the padded image under tap u, v)."""
    _, _, _, _, _, OH, OW, KH, KW, sh, sw, _, _, dh, dw, _ = sizes
    for u in range(KH):
        for v in range(KW):
            rows = slice(u * dh, u * dh + (OH - 1) * sh + 1, sh)
            columns = slice(v * dw, v * dw + (OW - 1) * sw + 1, sw)
            yield u, v, padded[:, rows, columns]


def pad(x, sizes):
    pt, pl = sizes[11:13]
    return np.pad(x, ((0, 0), (pt, pt), (pl, pl), (0, 0)))


def im2col(x, sizes):
    N, C, _, _, _, OH, OW, KH, KW, *_, G = sizes
    cols = np.empty((N, OH, OW, G, KH, KW, C // G), x.dtype)
    for u, v, seen in taps_of(pad(x, sizes), sizes):
        cols[:, :, :, :, u, v] = seen.reshape(N, OH, OW, G, C // G)
    return cols.reshape(N * OH * OW, G, KH, KW, C // G)


def col2im(cols, sizes):
    N, C, H, W, _, OH, OW, KH, KW, _, _, pt, pl, *_, G = sizes
    dx = pad(np.zeros((N, H, W, C), cols.dtype), sizes)
    cols = cols.reshape(N, OH, OW, G, KH, KW, C // G)
    for u, v, seen in taps_of(dx, sizes):
        seen += cols[:, :, :, :, u, v].reshape(N, OH, OW, C)
    return dx[:, pt : pt + H, pl : pl + W]


@pytest.mark.parametrize(("M", "N", "K"), PRODUCTS)
def test_product(M, N, K):
    a, b, bias = random(M, K), random(N, K), random(N)
    c = run(gemm_cy.matmul_f32, (M, N), a, b, bias, sizes=(M, N, K))
    assert_equal(c, lambda a, b, bias: a @ b.T + bias, a, b, bias, length=K + 1)


@pytest.mark.parametrize(("M", "O", "C"), [sizes for sizes in PRODUCTS if 0 not in sizes])
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise(M, O, C, stride):
    sizes = (1, C, 2, M, O, 2 // stride, -(-M // stride), 1, 1, stride, stride, 0, 0, 1, 1, 1)
    x, w, b = random(1, 2, M, C), random(O, C, 1, 1), random(O)
    dy = random(1, 2 // stride, -(-M // stride), O)
    seen = (slice(None), slice(None, None, stride), slice(None, None, stride))

    def input_grad(dy, w):
        dx = np.zeros(x.shape)
        dx[seen] = dy @ w[:, :, 0, 0]
        return dx

    y = run(gemm_cy.pointwise_f32, dy.shape, x, w, b, sizes=sizes)
    assert_equal(y, lambda x, w, b: x[seen] @ w[:, :, 0, 0].T + b, x, w, b, length=C + 1)
    dx = run(gemm_cy.pointwise_input_grad_f32, x.shape, dy, w, sizes=sizes)
    assert_equal(dx, input_grad, dy, w, length=O)
    dw = run(gemm_cy.pointwise_weight_grad_f32, w.shape, dy, x, sizes=sizes)
    dw = dw[:, :, 0, 0]
    assert_equal(dw, lambda dy, x: np.tensordot(dy, x[seen], ([0, 1, 2],) * 2), dy, x, length=2 * M)


@pytest.mark.parametrize("problem", CONVOLUTIONS)
def test_im2col(problem):
    sizes = geometry(*problem)
    N, C, H, W, *_ = sizes
    x = random(N, H, W, C)
    cols = im2col(x, sizes)
    np.testing.assert_array_equal(run(im2col_cy.im2col_f32, cols.shape, x, sizes=sizes), cols)
    dcols = random(*cols.shape)
    dx = run(im2col_cy.col2im_f32, x.shape, dcols, sizes=sizes)
    assert_equal(dx, lambda dcols: col2im(dcols, sizes), dcols, length=sizes[7] * sizes[8])


@pytest.mark.parametrize("problem", CONVOLUTIONS)
def test_convolution(problem):
    sizes = geometry(*problem)
    N, C, H, W, O, OH, OW, KH, KW, *_, G = sizes
    x, w, b = random(N, H, W, C), random(O, C // G, KH, KW), random(O)
    dy = random(N, OH, OW, O)

    def grouped(w):
        return w.reshape(G, O // G, C // G, KH, KW)

    def forward(x, w, b):
        y = np.einsum("mguvc,gocuv->mgo", im2col(x, sizes), grouped(w))
        return y.reshape(N, OH, OW, O) + b

    def input_grad(dy, w):
        dyg = dy.reshape(N * OH * OW, G, O // G)
        return col2im(np.einsum("mgo,gocuv->mguvc", dyg, grouped(w)), sizes)

    def weight_grad(dy, x):
        dyg = dy.reshape(N * OH * OW, G, O // G)
        return np.einsum("mgo,mguvc->gocuv", dyg, im2col(x, sizes)).reshape(w.shape)

    y = run(conv_cy.conv2d_im2col_f32, dy.shape, x, w, b, sizes=sizes)
    assert_equal(y, forward, x, w, b, length=KH * KW * C // G + 1)
    dx = run(conv_cy.conv2d_im2col_input_grad_f32, x.shape, dy, w, sizes=sizes)
    assert_equal(dx, input_grad, dy, w, length=KH * KW * O // G)
    dw = run(conv_cy.conv2d_im2col_weight_grad_f32, w.shape, dy, x, sizes=sizes)
    assert_equal(dw, weight_grad, dy, x, length=N * OH * OW)


@pytest.mark.parametrize("problem", DEPTHWISE)
def test_depthwise(problem):
    N, C, H, W, m, kernel, *rest = problem
    sizes = geometry(N, C, H, W, C * m, kernel, *rest, C)
    O, OH, OW, KH, KW = sizes[4:9]
    x, w, b, dy = random(N, H, W, C), random(KH, KW, O), random(O), random(N, OH, OW, O)

    def cols(x):
        return im2col(x, sizes)[..., 0]  # (N·OH·OW, C, KH, KW)

    def forward(x, w, b):
        y = np.einsum("mcuv,uvcr->mcr", cols(x), w.reshape(KH, KW, C, m))
        return y.reshape(N, OH, OW, O) + b

    def input_grad(dy, w):
        dyg = dy.reshape(N * OH * OW, C, m)
        return col2im(np.einsum("mcr,uvcr->mcuv", dyg, w.reshape(KH, KW, C, m)), sizes)

    def weight_grad(dy, x):
        dyg = dy.reshape(N * OH * OW, C, m)
        return np.einsum("mcr,mcuv->uvcr", dyg, cols(x)).reshape(KH, KW, O)

    y = run(depthwise_cy.depthwise_f32, dy.shape, x, w, b, sizes=sizes)
    assert_equal(y, forward, x, w, b, length=KH * KW + 1)
    if m == 1:
        y = run(depthwise_rows_cy.depthwise_rows_f32, dy.shape, x, w, b, sizes=sizes)
        assert_equal(y, forward, x, w, b, length=KH * KW + 1)
    dx = run(depthwise_cy.depthwise_input_grad_f32, x.shape, dy, w, sizes=sizes)
    assert_equal(dx, input_grad, dy, w, length=KH * KW * m)
    dw = run(depthwise_cy.depthwise_weight_grad_f32, w.shape, dy, x, sizes=sizes)
    assert_equal(dw, weight_grad, dy, x, length=N * OH * OW)


def test_the_measured_peak_is_a_speed():
    assert 0.1 < gemm_cy.fma_peak_f32(0.01) < 10_000


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("problem", TILES)
def test_winograd(m, problem):
    N, C, H, W, O, padding = problem
    geo = conv2d.conv2d_shape((N, C, H, W), (O, C, 3, 3), 1, padding)
    x, w, b = random(N, H, W, C), random(O, C, 3, 3), random(O)
    body = getattr(winograd_cy, f"conv2d_winograd{m}_f32")
    y = run(body, (N, geo.OH, geo.OW, O), x, w, b, sizes=geo.sizes)
    wide = [a.astype(np.float64) for a in (x.transpose(0, 3, 1, 2), w, b)]
    error = np.abs(y.transpose(0, 3, 1, 2) - conv2d.conv2d_forward(*wide, geo))
    assert (error <= 2 * (9 * C + 1) * EPS * winograd.winograd_bound(*wide, geo, m)).all()


@pytest.mark.parametrize("m", [2, 4])
def test_winograd_reference(m):
    """In float64 it is the convolution, within the bound; the factor is what its docstring says."""
    geo = conv2d.conv2d_shape((2, 3, 11, 8), (4, 3, 3, 3), 1, (1, 2, 0, 1))
    x, w, b = (random(*shape).astype(np.float64) for shape in (geo.x_shape, geo.w_shape, (4,)))
    limit = 2 * 28 * np.finfo(np.float64).eps * winograd.winograd_bound(x, w, b, geo, m)
    truth = conv2d.conv2d_forward(x, w, b, geo)
    assert (np.abs(winograd.winograd_forward(x, w, b, geo, m) - truth) <= limit).all()
    whole = conv2d.conv2d_shape((1, 3, m + 2, m + 2), (1, 3, 3, 3))  # one tile of ones
    ones = winograd.winograd_bound(np.ones(whole.x_shape), np.ones(whole.w_shape), None, whole, m)
    assert ones.max() / 27 == pytest.approx(winograd.winograd_factor(m))


def test_winograd_knows_two_tiles():
    with pytest.raises(ValueError, match="m=3, expected 2 or 4"):
        winograd.matrices(3)
