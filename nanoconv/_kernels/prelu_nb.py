"""PReLU: y = x where x > 0, else w·x, with one w per column, and both gradients.

Layout: x is (M, C), M pixels of C channels, C-contiguous; a single w is C = 1. Where C < 512,
    pixels that lie side by side are taken together as one wide row.
Loops: wide rows outside, their columns inside.
Tile: 32 rows, whose running sums stay in the cache.
Why: each array is read once, in the order of memory, and the inner loop is long for narrow layers
    too. Within 32 rows sums are in float32, as fast as can be; from there on they are in float64.
"""

import numpy as np

from .jit_nb import helper, kernel
from .norm_nb import ROWS, repeated, wide_rows

F32 = np.float32
ZERO = F32(0)


@helper
def forward_row(y, x, w):
    for c in range(y.size):
        below = w[c] * x[c]
        y[c] = x[c] if x[c] > ZERO else below


@kernel()
def prelu_f32(y, x, w, sizes):
    """y[m,c] = x[m,c] where that is > 0, else w[c]·x[m,c]"""
    M, C = sizes
    if M == 0 or C == 0:
        return
    (y_whole, y_rest), (x_whole, x_rest) = wide_rows(y), wide_rows(x)
    w = repeated(w)
    for r in range(y_whole.shape[0]):
        forward_row(y_whole[r], x_whole[r], w)
    forward_row(y_rest, x_rest, w)


@helper
def input_grad_row(dx, dy, x, w):
    for c in range(dx.size):
        above, below = dy[c], w[c] * dy[c]
        dx[c] = above if x[c] > ZERO else below


@kernel()
def prelu_input_grad_f32(dx, dy, x, w, sizes):
    """dx[m,c] = dy[m,c] where x[m,c] > 0, else w[c]·dy[m,c]"""
    M, C = sizes
    if M == 0 or C == 0:
        return
    (dx_whole, dx_rest), (dy_whole, dy_rest) = wide_rows(dx), wide_rows(dy)
    x_whole, x_rest = wide_rows(x)
    w = repeated(w)
    for r in range(dx_whole.shape[0]):
        input_grad_row(dx_whole[r], dy_whole[r], x_whole[r], w)
    input_grad_row(dx_rest, dy_rest, x_rest, w)


@helper
def add_rows(total, dy, x):
    """total += Σ x·dy over the rows of dy and x, where x is not positive."""
    m, width = x.shape
    part = np.zeros(width, F32)
    for r in range(m):
        for c in range(width):
            product = x[r, c] * dy[r, c]
            part[c] += ZERO if x[r, c] > ZERO else product
    for c in range(width):
        total[c] += part[c]


@kernel()
def prelu_weight_grad_f32(dw, dy, x, sizes):
    """dw[c] = Σ_m x[m,c]·dy[m,c] over the m where x[m,c] is not positive"""
    M, C = sizes
    if M == 0 or C == 0:
        dw[:] = 0
        return
    (x_whole, x_rest), (dy_whole, dy_rest) = wide_rows(x), wide_rows(dy)
    rows, wide = x_whole.shape
    totals = np.zeros(wide)
    for r in range(0, rows, ROWS):
        add_rows(totals, dy_whole[r : r + ROWS], x_whole[r : r + ROWS])
    add_rows(totals, dy_rest.reshape(1, -1), x_rest.reshape(1, -1))
    for c in range(C):
        dw[c] = totals[c::C].sum()
