"""Layer and RMS norm: the numbers of one row together.

Layout: x is (R, D), R rows of D numbers, C-contiguous; `centred` is 0 for RMS norm, whose mean is 0
    by definition.
Loops: rows outside; inside, the row is read for its mean, its variance and its result. The
    gradients by weight and bias go down the columns.
Tile: one row, which stays in the cache; 32 of its numbers, of which each has a running sum of its
    own, for the compiler may not reorder one sum by itself.
Why: statistics in two readings are exact, and the second costs little where the row is near. From
    512 numbers of a row (32 rows of a column) on, sums are in float64.
"""

import numpy as np

from .jit_nb import helper, kernel

F32, F64 = np.float32, np.float64
LANES = 32
BLOCK = 512
ROWS = 32


@helper
def deviations(x, m):
    """Σ (x − m) and Σ (x − m)²."""
    total, squares = 0.0, 0.0
    a, b = np.zeros(LANES, F32), np.zeros(LANES, F32)
    for first in range(0, x.size, BLOCK):
        end = min(first + BLOCK, x.size)
        whole = first + (end - first) // LANES * LANES
        a[:] = 0
        b[:] = 0
        for i in range(first, whole, LANES):
            for k in range(LANES):
                d = x[i + k] - m
                a[k] += d
                b[k] += d * d
        for i in range(whole, end):
            d = x[i] - m
            a[i - whole] += d
            b[i - whole] += d * d
        for k in range(LANES):
            total += F64(a[k])
            squares += F64(b[k])
    return total, squares


@helper
def grad_sums(dy, w, x, m):
    """Σ dy·w and Σ dy·w·(x − m)."""
    total, products = 0.0, 0.0
    a, b = np.zeros(LANES, F32), np.zeros(LANES, F32)
    for first in range(0, x.size, BLOCK):
        end = min(first + BLOCK, x.size)
        whole = first + (end - first) // LANES * LANES
        a[:] = 0
        b[:] = 0
        for i in range(first, whole, LANES):
            for k in range(LANES):
                g = dy[i + k] * w[i + k]
                a[k] += g
                b[k] += g * (x[i + k] - m)
        for i in range(whole, end):
            g = dy[i] * w[i]
            a[i - whole] += g
            b[i - whole] += g * (x[i] - m)
        for k in range(LANES):
            total += F64(a[k])
            products += F64(b[k])
    return total, products


@kernel(outputs=3)
def norm_rows_f32(y, mean, invstd, x, w, b, eps, sizes):
    """y = (x − mean)·invstd·w + b for each row."""
    R, D, centred = sizes
    if x.size == 0:
        mean[:] = 0
        invstd[:] = 0
        return
    for row in range(R):
        m = F32(deviations(x[row], F32(0))[0] / D) if centred else F32(0)
        total, squares = deviations(x[row], m)
        off = total / D if centred else 0.0  # what rounding m left
        r = F32(1 / np.sqrt(squares / D - off * off + eps))
        mean[row] = m
        invstd[row] = r
        for c in range(D):
            y[row, c] = (x[row, c] - m) * r * w[c] + b[c]


@kernel()
def norm_rows_input_grad_f32(dx, dy, x, mean, invstd, w, sizes):
    """dx = r·(dy·w − Σ dy·w / D − x̂·Σ dy·w·x̂ / D), without the first sum if not centred."""
    R, D, centred = sizes
    if x.size == 0:
        return
    for row in range(R):
        m, r = mean[row], invstd[row]
        total, products = grad_sums(dy[row], w, x[row], m)
        k = F32(-products / D * r * r * r)
        d = F32(-total / D * r) if centred else F32(0)
        for c in range(D):
            dx[row, c] = dy[row, c] * w[c] * r + (k * (x[row, c] - m) + d)


@kernel(outputs=2)
def norm_rows_weight_grad_f32(dw, db, dy, x, mean, invstd, sizes):
    """dw = Σ dy·x̂ and db = Σ dy, down the columns."""
    R, D, _ = sizes
    sums, products = np.zeros(D), np.zeros(D)
    a, b = np.zeros(D, F32), np.zeros(D, F32)
    for first in range(0, R, ROWS):
        a[:] = 0
        b[:] = 0
        for row in range(first, min(first + ROWS, R)):
            m, r = mean[row], invstd[row]
            for c in range(D):
                a[c] += dy[row, c]
                b[c] += dy[row, c] * ((x[row, c] - m) * r)
        for c in range(D):
            sums[c] += a[c]
            products[c] += b[c]
    for c in range(D):
        db[c] = sums[c]
        dw[c] = products[c]
