"""Statistics, gradient sums and affine maps by image and channel: what batch, group and instance
norm do with their pixels.

Layout: x is (N, M, C): N images of M pixels of C channels, C-contiguous. Batch norm takes all
    pixels for one image. Where C < 512, pixels that lie side by side are taken together as one wide
    row, and its sums are merged at the end.
Loops: images, wide rows, their columns.
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


@helper
def image_stats(mean, var, x):
    """Mean and variance of each channel of one image."""
    M, C = x.shape
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


@kernel(outputs=2)
def channel_stats_f32(mean, var, x, sizes):
    """mean[n,c] = Σ_m x[n,m,c] / M and var[n,c] = Σ_m (x[n,m,c] − mean)² / M, in one reading."""
    if x.size == 0:
        mean[:] = np.nan
        var[:] = np.nan
        return
    for n in range(x.shape[0]):
        image_stats(mean[n], var[n], x[n])


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


@helper
def image_grad_sums(sum_dy, sum_dy_xhat, dy, x, mean, invstd):
    """Both sums for each channel of one image."""
    C = mean.size
    (x_whole, x_rest), (dy_whole, dy_rest) = wide_rows(x), wide_rows(dy)
    rows, wide = x_whole.shape
    means, totals, totals_x = repeated(mean), np.zeros(wide), np.zeros(wide)
    for r in range(0, rows, ROWS):
        add_rows(totals, totals_x, dy_whole[r : r + ROWS], x_whole[r : r + ROWS], means)
    add_rows(totals, totals_x, dy_rest.reshape(1, -1), x_rest.reshape(1, -1), means)
    for c in range(C):
        sum_dy[c] = totals[c::C].sum()
        sum_dy_xhat[c] = totals_x[c::C].sum() * invstd[c]


@kernel(outputs=2)
def channel_grad_sums_f32(sum_dy, sum_dy_xhat, dy, x, mean, invstd, sizes):
    """sum_dy[n,c] = Σ_m dy and sum_dy_xhat[n,c] = Σ_m dy·x̂, x̂ = (x − mean[n,c])·invstd[n,c]."""
    if x.size == 0:
        sum_dy[:] = 0
        sum_dy_xhat[:] = 0
        return
    for n in range(x.shape[0]):
        image_grad_sums(sum_dy[n], sum_dy_xhat[n], dy[n], x[n], mean[n], invstd[n])


# --------------------------------------------------------------------------- maps


@helper
def affine(y, x, scale, shift):
    for c in range(y.size):
        y[c] = x[c] * scale[c] + shift[c]


@helper
def image_affine(y, x, scale, shift):
    """The map of one image."""
    (y_whole, y_rest), (x_whole, x_rest) = wide_rows(y), wide_rows(x)
    scale, shift = repeated(scale), repeated(shift)
    for r in range(y_whole.shape[0]):
        affine(y_whole[r], x_whole[r], scale, shift)
    affine(y_rest, x_rest, scale, shift)


@kernel()
def channel_affine_f32(y, x, scale, shift, sizes):
    """y[n,m,c] = x[n,m,c]·scale[n,c] + shift[n,c]"""
    if x.size:
        for n in range(x.shape[0]):
            image_affine(y[n], x[n], scale[n], shift[n])


@helper
def input_grad(dx, dy, x, a, k, d):
    for c in range(dx.size):
        dx[c] = a[c] * dy[c] + (k[c] * x[c] + d[c])


@helper
def image_input_grad(dx, dy, x, a, k, d):
    """The gradient of one image."""
    (dx_whole, dx_rest), (dy_whole, dy_rest) = wide_rows(dx), wide_rows(dy)
    x_whole, x_rest = wide_rows(x)
    a, k, d = repeated(a), repeated(k), repeated(d)
    for r in range(dx_whole.shape[0]):
        input_grad(dx_whole[r], dy_whole[r], x_whole[r], a, k, d)
    input_grad(dx_rest, dy_rest, x_rest, a, k, d)


@kernel()
def channel_input_grad_f32(dx, dy, x, a, k, d, sizes):
    """dx[n,m,c] = a[n,c]·dy[n,m,c] + k[n,c]·x[n,m,c] + d[n,c]"""
    if x.size:
        for n in range(x.shape[0]):
            image_input_grad(dx[n], dy[n], x[n], a[n], k[n], d[n])
