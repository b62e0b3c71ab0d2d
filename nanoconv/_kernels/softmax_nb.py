"""softmax, log_softmax and their gradients along the middle axis.

Layout: arrays are (A, C, B), C-contiguous, and a line is the C numbers at one place of A and B. In
    B = 1, rows or pixels of channels-last images, it is a run of memory.
Loops: A outside, then C, and B inside; where B = 1, 16 numbers of a line inside.
Tile: 256 columns, or 16 numbers of a row.
Why: the inner loop becomes vectors if it adds to as many sums as it has turns; a line has 16.
"""

import numpy as np

from .jit_nb import helper, kernel
from .math_nb import exp, log

F32 = np.float32
ONE, LOWEST = F32(1), F32(-np.inf)
WIDEST, SUMS = 256, 16


@helper
def raise_to(m, x):
    """m = max(m, x), which takes no notice of NaN: the sum that follows does."""
    for b in range(m.size):
        xb, mb = x[b], m[b]
        m[b] = xb if xb > mb else mb


@helper
def add_exp(total, x, m):
    for b in range(x.size):
        total[b] += exp(x[b] - m[b])


@helper
def add(total, x):
    for b in range(x.size):
        total[b] += x[b]


@helper
def add_products(total, x, y):
    for b in range(x.size):
        total[b] += x[b] * y[b]


@helper
def sums(x, m, total):
    """m = max x and total = Σ e^(x − m) over the first axis."""
    m[:] = LOWEST
    total[:] = 0
    for c in range(x.shape[0]):
        raise_to(m, x[c])
    for c in range(x.shape[0]):
        add_exp(total, x[c], m)


@helper
def line_sums(x):
    """The same of one line."""
    part, m = np.zeros(SUMS, F32), np.full(SUMS, LOWEST)
    whole = x.size - x.size % SUMS
    for c in range(0, whole, SUMS):
        raise_to(m, x[c : c + SUMS])
    raise_to(m[: x.size - whole], x[whole:])
    m[:] = m.max()
    for c in range(0, whole, SUMS):
        add_exp(part, x[c : c + SUMS], m)
    add_exp(part, x[whole:], m)
    return m[0], part.sum()


@helper
def share(y, x, m, r):
    for b in range(y.size):
        y[b] = exp(x[b] - m[b]) * r[b]


@kernel()
def softmax_f32(y, x, sizes):
    """y[a,c,b] = exp(x[a,c,b]) / Σ_k exp(x[a,k,b])"""
    A, C, B = sizes
    top, r = np.empty(WIDEST, F32), np.empty(WIDEST, F32)
    for a in range(A):
        if B == 1 and C > 0:
            m, total = line_sums(x[a].reshape(-1))
            line, result, scale = x[a].reshape(-1), y[a].reshape(-1), ONE / total
            for c in range(C):
                result[c] = exp(line[c] - m) * scale
            continue
        for b in range(0, B, WIDEST):
            tile = x[a, :, b : b + WIDEST]
            n = tile.shape[1]
            sums(tile, top[:n], r[:n])
            for k in range(n):
                r[k] = ONE / r[k]
            for c in range(C):
                share(y[a, c, b : b + n], tile[c], top[:n], r[:n])


@helper
def below(y, x, m, log_sum):
    for b in range(y.size):
        y[b] = (x[b] - m[b]) - log_sum[b]


@kernel()
def log_softmax_f32(y, x, sizes):
    """y[a,c,b] = x[a,c,b] − log Σ_k exp(x[a,k,b])"""
    A, C, B = sizes
    top, s = np.empty(WIDEST, F32), np.empty(WIDEST, F32)
    for a in range(A):
        if B == 1 and C > 0:
            m, total = line_sums(x[a].reshape(-1))
            line, result, log_sum = x[a].reshape(-1), y[a].reshape(-1), log(total)
            for c in range(C):
                result[c] = (line[c] - m) - log_sum
            continue
        for b in range(0, B, WIDEST):
            tile = x[a, :, b : b + WIDEST]
            n = tile.shape[1]
            sums(tile, top[:n], s[:n])
            for k in range(n):
                s[k] = log(s[k])
            for c in range(C):
                below(y[a, c, b : b + n], tile[c], top[:n], s[:n])


@helper
def scaled(dx, dy, y, dot):
    for b in range(dx.size):
        dx[b] = y[b] * (dy[b] - dot[b])


@kernel()
def softmax_backward_f32(dx, dy, y, sizes):
    """dx[a,c,b] = y[a,c,b]·(dy[a,c,b] − Σ_k dy[a,k,b]·y[a,k,b])"""
    A, C, B = sizes
    total = np.empty(WIDEST, F32)
    for a in range(A):
        if B == 1:
            g, line, result = dy[a].reshape(-1), y[a].reshape(-1), dx[a].reshape(-1)
            total[:SUMS] = 0
            for c in range(0, C, SUMS):
                add_products(total, g[c : c + SUMS], line[c : c + SUMS])
            dot = total[:SUMS].sum()
            for c in range(C):
                result[c] = line[c] * (g[c] - dot)
            continue
        for b in range(0, B, WIDEST):
            n = min(WIDEST, B - b)
            total[:n] = 0
            for c in range(C):
                add_products(total, dy[a, c, b : b + n], y[a, c, b : b + n])
            for c in range(C):
                scaled(dx[a, c, b : b + n], dy[a, c, b : b + n], y[a, c, b : b + n], total)


@helper
def spread(dx, dz, z, total):
    for b in range(dx.size):
        dx[b] = dz[b] - exp(z[b]) * total[b]


@kernel()
def log_softmax_backward_f32(dx, dz, z, sizes):
    """dx[a,c,b] = dz[a,c,b] − exp(z[a,c,b])·Σ_k dz[a,k,b]"""
    A, C, B = sizes
    total = np.empty(WIDEST, F32)
    for a in range(A):
        if B == 1:
            g, line, result = dz[a].reshape(-1), z[a].reshape(-1), dx[a].reshape(-1)
            total[:SUMS] = 0
            for c in range(0, C, SUMS):
                add(total, g[c : c + SUMS])
            all_of_it = total[:SUMS].sum()
            for c in range(C):
                result[c] = g[c] - exp(line[c]) * all_of_it
            continue
        for b in range(0, B, WIDEST):
            n = min(WIDEST, B - b)
            total[:n] = 0
            for c in range(C):
                add(total, dz[a, c, b : b + n])
            for c in range(C):
                spread(dx[a, c, b : b + n], dz[a, c, b : b + n], z[a, c, b : b + n], total)
