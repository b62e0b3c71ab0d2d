"""Batch, group and instance norm, a whole direction in one call; and the map of evaluation.

Layout: x is (A·R, C, M), or (A·R, M, C) if `last`: A batches that are normalised apart, of R images
    of M pixels of C channels in G groups. Batch norm is A = 1, G = C; group norm is R = 1.
Loops: `last`: rows of all channels, down which each column is summed. Where C < 512, pixels that
    lie side by side are taken together as one wide row, and its sums are merged at the end.
    Otherwise: groups, and the planes of each.
Tile: 32 rows, whose running sums stay in the cache; one group.
Why: memory is read in its order. Columns are read once for their statistics, as sums over
    x − pivot, where the pivot is the mean of a few pixels: near enough to the mean that nothing
    cancels. A group of planes is read twice. Shorter inner loops than four vectors would not become
    vectors. Within 32 rows, or 512 numbers, sums are in float32; from there on in float64.
"""

import numpy as np

from .jit_nb import helper, kernel
from .layernorm_nb import deviations

F32, F64 = np.float32, np.float64
ROWS = 32
NARROW = 512
PIVOT = 8  # wide rows whose mean is the pivot
LANES, BLOCK = 32, 512


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


# --------------------------------------------------------------------------- columns


@helper
def add_rows(first, second, dy, x, pivot):
    """first += Σ dy and second += Σ dy·(x − pivot) over the rows of dy and x."""
    m, width = x.shape
    total, products = np.zeros(width, F32), np.zeros(width, F32)
    for r in range(m):
        for c in range(width):
            total[c] += dy[r, c]
            products[c] += dy[r, c] * (x[r, c] - pivot[c])
    for c in range(width):
        first[c] += total[c]
        second[c] += products[c]


@helper
def add_squares(first, second, x, pivot):
    """The same of x − pivot in place of dy."""
    m, width = x.shape
    total, squares = np.zeros(width, F32), np.zeros(width, F32)
    for r in range(m):
        for c in range(width):
            d = x[r, c] - pivot[c]
            total[c] += d
            squares[c] += d * d
    for c in range(width):
        first[c] += total[c]
        second[c] += squares[c]


@helper
def channel_stats(mean, var, x):
    """Mean and variance of each channel: pivot + Σd/M and Σd²/M − (Σd/M)², d = x − pivot."""
    M, C = x.shape
    some = min(M, PIVOT * max(1, NARROW // C))
    mean[:] = 0
    for m in range(some):
        for c in range(C):
            mean[c] += x[m, c]
    for c in range(C):  # nothing can differ from infinity
        mean[c] = mean[c] / F32(some) if np.isfinite(mean[c]) else F32(0)
    pivot = repeated(mean)
    whole, rest = wide_rows(x)
    first, second = np.zeros(pivot.size), np.zeros(pivot.size)
    for r in range(0, whole.shape[0], ROWS):
        add_squares(first, second, whole[r : r + ROWS], pivot)
    add_squares(first, second, rest.reshape(1, -1), pivot)
    for c in range(C):
        d = first[c::C].sum() / M
        square = second[c::C].sum() / M - d * d
        mean[c] += d
        var[c] = 0 if square < 0 else square


@helper
def channel_grad_sums(sum_dy, sum_dy_xhat, dy, x, mean, invstd):
    """Σ dy and Σ dy·x̂ of each channel."""
    C = mean.size
    (x_whole, x_rest), (dy_whole, dy_rest) = wide_rows(x), wide_rows(dy)
    means = repeated(mean)
    first, second = np.zeros(means.size), np.zeros(means.size)
    for r in range(0, x_whole.shape[0], ROWS):
        add_rows(first, second, dy_whole[r : r + ROWS], x_whole[r : r + ROWS], means)
    add_rows(first, second, dy_rest.reshape(1, -1), x_rest.reshape(1, -1), means)
    for c in range(C):
        sum_dy[c] = first[c::C].sum()
        sum_dy_xhat[c] = second[c::C].sum() * invstd[c]


@helper
def affine(y, x, scale, shift):
    for c in range(y.size):
        y[c] = x[c] * scale[c] + shift[c]


@helper
def image_affine(y, x, scale, shift):
    """y = x·scale + shift of each channel."""
    (y_whole, y_rest), (x_whole, x_rest) = wide_rows(y), wide_rows(x)
    scale, shift = repeated(scale), repeated(shift)
    for r in range(y_whole.shape[0]):
        affine(y_whole[r], x_whole[r], scale, shift)
    affine(y_rest, x_rest, scale, shift)


@helper
def input_grad(dx, dy, x, a, k, d):
    for c in range(dx.size):
        dx[c] = a[c] * dy[c] + (k[c] * x[c] + d[c])


@helper
def image_input_grad(dx, dy, x, a, k, d):
    """dx = a·dy + k·x + d of each channel."""
    (dx_whole, dx_rest), (dy_whole, dy_rest) = wide_rows(dx), wide_rows(dy)
    x_whole, x_rest = wide_rows(x)
    a, k, d = repeated(a), repeated(k), repeated(d)
    for r in range(dx_whole.shape[0]):
        input_grad(dx_whole[r], dy_whole[r], x_whole[r], a, k, d)
    input_grad(dx_rest, dy_rest, x_rest, a, k, d)


@helper
def norm_image(y, mean, var, invstd, x, w, b, eps):
    """Forward, of one batch (R·M, C)."""
    C, G = w.size, mean.size
    K = C // G
    scale, shift = np.empty(C, F32), np.empty(C, F32)
    channel_stats(scale, shift, x)  # mean and variance, until they are known by group
    for g in range(G):
        total, squares = 0.0, 0.0
        for c in range(g * K, (g + 1) * K):
            total += F64(scale[c])
        for c in range(g * K, (g + 1) * K):
            apart = scale[c] - total / K
            squares += shift[c] + apart * apart
        mean[g] = total / K
        var[g] = squares / K
        invstd[g] = 1 / np.sqrt(squares / K + eps)
        for c in range(g * K, (g + 1) * K):
            scale[c] = invstd[g] * w[c]
            shift[c] = b[c] - mean[g] * scale[c]
    image_affine(y, x, scale, shift)


@helper
def norm_image_backward(dx, dw, db, dy, x, mean, invstd, w, training):
    """Backward, of one batch (R·M, C)."""
    (M, C), G = x.shape, mean.size
    K = C // G
    a, k, d = np.empty(C, F32), np.empty(C, F32), np.zeros(C, F32)
    for c in range(C):
        a[c], k[c] = mean[c // K], invstd[c // K]
    channel_grad_sums(db, dw, dy, x, a, k)
    for g in range(G):
        total, total_x = 0.0, 0.0
        for c in range(g * K, (g + 1) * K):
            total += F64(w[c]) * db[c]
            total_x += F64(w[c]) * dw[c]
        for c in range(g * K, (g + 1) * K):
            a[c] = invstd[g] * w[c]
            k[c] = -F64(invstd[g]) * invstd[g] * total_x / (K * M)
            if training:
                d[c] = -F64(invstd[g]) * total / (K * M) - k[c] * mean[g]
    if training:
        image_input_grad(dx, dy, x, a, k, d)
    else:
        image_affine(dx, dy, a, d)


# --------------------------------------------------------------------------- planes


@helper
def plane_grad_sums(dy, x, m):
    """Σ dy and Σ dy·(x − m)."""
    total, products = 0.0, 0.0
    a, b = np.zeros(LANES, F32), np.zeros(LANES, F32)
    for first in range(0, x.size, BLOCK):
        end = min(first + BLOCK, x.size)
        whole = first + (end - first) // LANES * LANES
        a[:] = 0
        b[:] = 0
        for i in range(first, whole, LANES):
            for k in range(LANES):
                a[k] += dy[i + k]
                b[k] += dy[i + k] * (x[i + k] - m)
        for i in range(whole, end):
            a[i - whole] += dy[i]
            b[i - whole] += dy[i] * (x[i] - m)
        for k in range(LANES):
            total += F64(a[k])
            products += F64(b[k])
    return total, products


@helper
def plane_affine(y, x, mean, scale, shift):
    for m in range(y.size):
        y[m] = (x[m] - mean) * scale + shift


@helper
def plane_input_grad(dx, dy, x, mean, a, k, d):
    for m in range(dx.size):
        dx[m] = a * dy[m] + ((x[m] - mean) * k + d)


@helper
def norm_group(y, x, w, b, eps):
    """Forward, of the planes (R, K, M) of one group; returns its mean, variance and invstd."""
    R, K, M = x.shape
    n = R * K * M
    total, squares = 0.0, 0.0
    for i in range(R):
        for k in range(K):
            total += deviations(x[i, k], F32(0))[0]
    mean = F32(total / n)
    total = 0.0
    for i in range(R):
        for k in range(K):
            plain, square = deviations(x[i, k], mean)
            total += plain
            squares += square
    off = total / n  # what the first sum and rounding left
    var = squares / n - off * off
    var = 0.0 if var < 0 else var
    if np.isfinite(mean):
        mean = F32(mean + off)
    invstd = F32(1 / np.sqrt(var + eps))
    for i in range(R):
        for k in range(K):
            plane_affine(y[i, k], x[i, k], mean, invstd * w[k], b[k])
    return mean, var, invstd


@helper
def norm_group_backward(dx, dw, db, dy, x, mean, invstd, w, training):
    """Backward, of one group; adds to dw and db."""
    R, K, M = x.shape
    total, total_x = 0.0, 0.0
    for k in range(K):
        of_one, of_x = 0.0, 0.0
        for i in range(R):
            plain, with_x = plane_grad_sums(dy[i, k], x[i, k], mean)
            of_one += plain
            of_x += with_x * invstd
        db[k] += of_one
        dw[k] += of_x
        total += of_one * w[k] / (R * K * M)
        total_x += of_x * w[k] / (R * K * M)
    slope, d = F32(-total_x * invstd * invstd), F32(-total * invstd)
    for i in range(R):
        for k in range(K):
            if training:
                plane_input_grad(dx[i, k], dy[i, k], x[i, k], mean, invstd * w[k], slope, d)
            else:
                plane_affine(dx[i, k], dy[i, k], F32(0), invstd * w[k], F32(0))


# --------------------------------------------------------------------------- the kernels


@kernel(outputs=4)
def norm_f32(y, mean, var, invstd, x, w, b, eps, sizes):
    """y = (x − mean)·invstd·w + b, and mean, var and invstd (A, G) of the groups."""
    A, R, C, M, G, last = sizes
    if x.size == 0:
        mean[:] = 0
        var[:] = 0
        invstd[:] = 0
        return
    K = C // G
    for i in range(A):
        of_batch = slice(i * R, (i + 1) * R)
        if last:
            y_rows, x_rows = y[of_batch].reshape(R * M, C), x[of_batch].reshape(R * M, C)
            norm_image(y_rows, mean[i], var[i], invstd[i], x_rows, w, b, eps)
        else:
            for g in range(G):
                of = slice(g * K, (g + 1) * K)
                mean[i, g], var[i, g], invstd[i, g] = norm_group(
                    y[of_batch, of], x[of_batch, of], w[of], b[of], eps
                )


@kernel(outputs=3)
def norm_backward_f32(dx, dw, db, dy, x, mean, invstd, w, sizes):
    """dx, dw = Σ dy·x̂ and db = Σ dy; mean and invstd are constants unless `training`."""
    A, R, C, M, G, last, training = sizes
    K = C // G if G else 0
    dws, dbs = np.zeros(C), np.zeros(C)
    dw_one, db_one = np.empty(C, F32), np.empty(C, F32)
    for i in range(A if x.size else 0):
        of_batch = slice(i * R, (i + 1) * R)
        if last:
            dx_rows, x_rows = dx[of_batch].reshape(R * M, C), x[of_batch].reshape(R * M, C)
            dy_rows = dy[of_batch].reshape(R * M, C)
            norm_image_backward(
                dx_rows, dw_one, db_one, dy_rows, x_rows, mean[i], invstd[i], w, training
            )
            dws += dw_one
            dbs += db_one
        else:
            for g in range(G):
                of = slice(g * K, (g + 1) * K)
                norm_group_backward(
                    dx[of_batch, of], dws[of], dbs[of], dy[of_batch, of], x[of_batch, of],
                    mean[i, g], invstd[i, g], w[of], training,
                )  # fmt: skip
    dw[:] = dws
    db[:] = dbs


@kernel(outputs=2)
def running_norm_f32(y, invstd, x, w, b, mean, var, eps, sizes):
    """y = (x - mean)·invstd·w + b with statistics that are given, and invstd (C,) of them."""
    N, C, M, last = sizes
    scale, shift = np.empty(C, F32), np.empty(C, F32)
    for c in range(C):
        invstd[c] = 1 / np.sqrt(var[c] + eps)
        scale[c] = invstd[c] * w[c]
        shift[c] = b[c] - mean[c] * scale[c]
    for n in range(N if x.size else 0):
        if last:
            image_affine(y[n], x[n], scale, shift)
        else:
            for c in range(C):
                plane_affine(y[n, c], x[n, c], F32(0), scale[c], shift[c])
