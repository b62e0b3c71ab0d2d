"""Statistics, gradient sums and affine maps by channel: what batch norm does with its pixels.

Layout: x is (M, C), M = N·H·W pixels of C channels, C-contiguous. Where C < 512, pixels that lie
    side by side are taken together as one wide row, and its sums are merged at the end.
Loops: wide rows outside, their columns inside.
Tile: 32 rows, whose running sums stay in the cache.
Why: each array is read once, in the order of memory, and the inner loop is long for narrow layers
    too: shorter than four vectors it would not become vectors. Within 32 rows sums are in float32,
    as fast as can be; from there on they are in float64.
"""

import numpy as np

from .jit_nb import helper, kernel

F32, F64 = np.float32, np.float64
ROWS = 32
NARROW = 512


@helper
def wide_rows(x):
    """(M, C) as whole wide rows (M // fold, fold·C), and the (M % fold) · C numbers left over."""
    M, C = x.shape
    fold = max(1, NARROW // C)
    rows = M // fold
    return x[: rows * fold].reshape(rows, fold * C), x[rows * fold :].reshape(-1)


@helper
def repeated(channel):
    """One value per channel as one value per column of a wide row."""
    C = channel.size
    columns = np.empty(max(1, NARROW // C) * C, F32)
    for k in range(columns.size):
        columns[k] = channel[k % C]
    return columns


# --------------------------------------------------------------------------- statistics


@helper
def merge_rows(mean, m2, x, n):
    """Merge the rows x into the mean and the m2 = Σ (x − mean)² of n rows (Chan et al. 1983).

    What is summed is d = x − pivot. The pivot is the mean so far, at first that of these m rows, so
    the d are small and nothing cancels, however far from 0 the mean is:
        Δ = pivot + Σd/m − mean      mean += Δ·m/(n+m)      m2 += Σd² − (Σd)²/m + Δ²·n·m/(n+m)
    """
    m, width = x.shape
    pivot, total, squares = np.zeros(width, F32), np.zeros(width, F32), np.zeros(width, F32)
    if n == 0:
        for r in range(m):
            for c in range(width):
                pivot[c] += x[r, c]
        for c in range(width):
            mean[c] = pivot[c] / F32(m)
    for c in range(width):
        pivot[c] = mean[c]
    for r in range(m):
        for c in range(width):
            d = x[r, c] - pivot[c]
            total[c] += d
            squares[c] += d * d
    weight = m / (n + m)
    for c in range(width):
        t = F64(total[c])
        delta = pivot[c] - mean[c] + t / m
        mean[c] += delta * weight
        m2[c] += squares[c] - t * t / m + delta * delta * (n * weight)


@kernel(outputs=2)
def channel_stats_f32(mean, var, x, sizes):
    """mean[c] = Σ_m x[m,c] / M and var[c] = Σ_m (x[m,c] − mean[c])² / M, in one reading of x."""
    M, C = sizes
    if M == 0 or C == 0:
        mean[:] = np.nan
        var[:] = np.nan
        return
    whole, rest = wide_rows(x)
    rows, wide = whole.shape
    means, m2s = np.zeros(wide), np.zeros(wide)
    for r in range(0, rows, ROWS):
        merge_rows(means, m2s, whole[r : r + ROWS], r)
    if rest.size:
        merge_rows(means, m2s, rest.reshape(1, -1), rows)
    for c in range(C):
        n, mean_c, m2_c = 0, 0.0, 0.0
        for k in range(c, min(wide, M * C), C):
            m = rows + (k < rest.size)
            delta = means[k] - mean_c
            mean_c += delta * m / (n + m)
            m2_c += m2s[k] + delta * delta * n * m / (n + m)
            n += m
        if np.isnan(mean_c):  # an infinite x has no difference from a pivot
            mean_c = 0.0
            for k in range(M):
                mean_c += x[k, c] / M
        mean[c] = mean_c
        var[c] = m2_c / M


# --------------------------------------------------------------------------- gradient sums


@helper
def add_rows(sum_dy, sum_dy_x, dy, x, mean):
    """sum_dy += Σ dy and sum_dy_x += Σ dy·(x − mean) over the rows of dy and x."""
    m, width = x.shape
    total, products = np.zeros(width, F32), np.zeros(width, F32)
    for r in range(m):
        for c in range(width):
            total[c] += dy[r, c]
            products[c] += dy[r, c] * (x[r, c] - mean[c])
    for c in range(width):
        sum_dy[c] += total[c]
        sum_dy_x[c] += products[c]


@kernel(outputs=2)
def channel_grad_sums_f32(sum_dy, sum_dy_xhat, dy, x, mean, invstd, sizes):
    """sum_dy[c] = Σ_m dy and sum_dy_xhat[c] = Σ_m dy·x̂, where x̂ = (x − mean[c])·invstd[c]."""
    M, C = sizes
    if M == 0 or C == 0:
        sum_dy[:] = 0
        sum_dy_xhat[:] = 0
        return
    (x_whole, x_rest), (dy_whole, dy_rest) = wide_rows(x), wide_rows(dy)
    rows, wide = x_whole.shape
    means, totals, totals_x = repeated(mean), np.zeros(wide), np.zeros(wide)
    for r in range(0, rows, ROWS):
        add_rows(totals, totals_x, dy_whole[r : r + ROWS], x_whole[r : r + ROWS], means)
    add_rows(totals, totals_x, dy_rest.reshape(1, -1), x_rest.reshape(1, -1), means)
    for c in range(C):
        sum_dy[c] = totals[c::C].sum()
        sum_dy_xhat[c] = totals_x[c::C].sum() * invstd[c]


# --------------------------------------------------------------------------- maps


@helper
def affine(y, x, scale, shift):
    for c in range(y.size):
        y[c] = x[c] * scale[c] + shift[c]


@kernel()
def channel_affine_f32(y, x, scale, shift, sizes):
    """y[m,c] = x[m,c]·scale[c] + shift[c]"""
    M, C = sizes
    if M == 0 or C == 0:
        return
    (y_whole, y_rest), (x_whole, x_rest) = wide_rows(y), wide_rows(x)
    scale, shift = repeated(scale), repeated(shift)
    for r in range(y_whole.shape[0]):
        affine(y_whole[r], x_whole[r], scale, shift)
    affine(y_rest, x_rest, scale, shift)


@helper
def input_grad(dx, dy, x, a, k, d):
    for c in range(dx.size):
        dx[c] = a[c] * dy[c] + (k[c] * x[c] + d[c])


@kernel()
def channel_input_grad_f32(dx, dy, x, a, k, d, sizes):
    """dx[m,c] = a[c]·dy[m,c] + k[c]·x[m,c] + d[c]"""
    M, C = sizes
    if M == 0 or C == 0:
        return
    (dx_whole, dx_rest), (dy_whole, dy_rest) = wide_rows(dx), wide_rows(dy)
    x_whole, x_rest = wide_rows(x)
    a, k, d = repeated(a), repeated(k), repeated(d)
    for r in range(dx_whole.shape[0]):
        input_grad(dx_whole[r], dy_whole[r], x_whole[r], a, k, d)
    input_grad(dx_rest, dy_rest, x_rest, a, k, d)
