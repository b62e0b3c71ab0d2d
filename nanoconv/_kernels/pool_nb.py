"""Pooling: the maximum or the mean of what a window sees, and where their gradients go.

Layout: NHWC; every loop over channels runs over neighbours in memory and becomes vectors.
Loops: images, output rows and pixels; then the taps of the window, innermost the channels. Taps
    outside of the image are cut off before the loop, not tested in it.
Tile: one output pixel, which stays in the L1 cache while the taps go by.
Why: the pixels of a window are C floats apart, so a loop over taps would jump; a loop over channels
    streams, and windows that overlap find their pixels in the cache.
"""

import numpy as np

from .jit_nb import helper, kernel

F32 = np.float32
LOWEST = F32(-np.inf)


# --------------------------------------------------------------------------- maximum


@helper
def inside(start, d):
    """The first of start, start + d, start + 2d … that is not negative."""
    return start if start >= 0 else start + (d - 1 - start) // d * d


@helper
def max_pool_pixel(y, index, x, best, where, h0, h1, dh, w0, w1, dw):
    """One output pixel, whose taps are the rows h0, h0 + dh … below h1 and such columns.

    The maximum so far is read from one row of `best` and written to the other: a choice between a
    number and what stands there already would become a store or none, and never a vector.
    """
    C, W = y.size, x.shape[1]
    a, b = 0, 1
    for c in range(C):
        best[a, c] = LOWEST
        where[a, c] = h0 * W + w0 if h0 < h1 and w0 < w1 else -1
    for h in range(h0, h1, dh):
        for w in range(w0, w1, dw):
            a, b = b, a
            for c in range(C):  # of equals the first, but NaN beats all
                v, m, at = x[h, w, c], best[b, c], where[b, c]
                best[a, c] = v if (v > m) | (v != v) else m
                where[a, c] = h * W + w if (v > m) | (v != v) else at
    for c in range(C):
        y[c] = best[a, c]
        index[c] = where[a, c]


@kernel(outputs=2)
def max_pool_f32(y, index, x, sizes):
    """y = the maximum of each window, index = h·W + w of its first place, −1 in an empty one."""
    N, C, H, W, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw = sizes
    best, where = np.empty((2, C), F32), np.empty((2, C), np.int64)
    for n in range(N):
        for i in range(OH):
            h0, h1 = inside(i * sh - pt, dh), min(H, i * sh - pt + (KH - 1) * dh + 1)
            for j in range(OW):
                w0, w1 = inside(j * sw - pl, dw), min(W, j * sw - pl + (KW - 1) * dw + 1)
                pixel, at = y[n, i, j], index[n, i, j]
                max_pool_pixel(pixel, at, x[n], best, where, h0, h1, dh, w0, w1, dw)


@kernel(outputs=2)
def window_max_f32(y, index, x, rows, cols, sizes):
    """As max_pool_f32, of rows[i,0] ≤ h < rows[i,1] and such columns."""
    N, C, H, W, OH, OW = sizes
    best, where = np.empty((2, C), F32), np.empty((2, C), np.int64)
    for n in range(N):
        for i in range(OH):
            h0, h1 = rows[i, 0], rows[i, 1]
            for j in range(OW):
                w0, w1 = cols[j, 0], cols[j, 1]
                pixel, at = y[n, i, j], index[n, i, j]
                max_pool_pixel(pixel, at, x[n], best, where, h0, h1, 1, w0, w1, 1)


@kernel()
def window_max_only_f32(y, x, rows, cols, sizes):
    """The maxima of window_max_f32, without the positions that only a gradient needs."""
    N, C, H, W, OH, OW = sizes
    best = np.empty((2, C), F32)
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                a, b = 0, 1
                best[a] = LOWEST
                for h in range(rows[i, 0], rows[i, 1]):
                    for w in range(cols[j, 0], cols[j, 1]):
                        a, b = b, a
                        for c in range(C):
                            v, m = x[n, h, w, c], best[b, c]
                            best[a, c] = v if (v > m) | (v != v) else m
                for c in range(C):
                    y[n, i, j, c] = best[a, c]


@kernel()
def max_pool_backward_f32(dx, dy, index, sizes):
    """dx = 0, then dx[n, index[n,i,j,c], c] += dy[n,i,j,c]."""
    N, C, H, W, OH, OW = sizes
    dx[:] = 0
    for n in range(N):
        pixels = dx[n].reshape(H * W, C)
        for i in range(OH):
            for j in range(OW):
                for c in range(C):
                    if index[n, i, j, c] >= 0:
                        pixels[index[n, i, j, c], c] += dy[n, i, j, c]


@kernel()
def max_unpool_f32(y, x, index, sizes):
    """y = 0, then y[n, index[n,i,j,c], c] = x[n,i,j,c]; of two for one pixel the last."""
    N, C, H, W, OH, OW = sizes
    y[:] = 0
    for n in range(N):
        pixels = y[n].reshape(OH * OW, C)
        for i in range(H):
            for j in range(W):
                for c in range(C):
                    pixels[index[n, i, j, c], c] = x[n, i, j, c]


@kernel()
def max_unpool_backward_f32(dx, dy, index, sizes):
    """dx[n,i,j,c] = dy[n, index[n,i,j,c], c]."""
    N, C, H, W, OH, OW = sizes
    for n in range(N):
        pixels = dy[n].reshape(OH * OW, C)
        for i in range(H):
            for j in range(W):
                for c in range(C):
                    dx[n, i, j, c] = pixels[index[n, i, j, c], c]


# --------------------------------------------------------------------------- mean


@helper
def add_scaled(total, x, scale):
    for c in range(total.size):
        total[c] += scale * x[c]


@kernel()
def window_mean_f32(y, x, rows, cols, scale, sizes):
    """y[n,i,j] = scale[i,j] · Σ x[n,h,w] over rows[i,0] ≤ h < rows[i,1] and such columns.

    Each line of a window is summed first: the shorter a sum, the smaller its error.
    """
    N, C, H, W, OH, OW = sizes
    line = np.empty(C, F32)
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                y[n, i, j] = 0
                for h in range(rows[i, 0], rows[i, 1]):
                    line[:] = 0
                    for w in range(cols[j, 0], cols[j, 1]):
                        add_scaled(line, x[n, h, w], F32(1))
                    add_scaled(y[n, i, j], line, scale[i, j])


@kernel()
def window_mean_backward_f32(dx, dy, rows, cols, scale, sizes):
    """dx[n,h,w] = Σ scale[i,j] · dy[n,i,j] over the windows (i, j) that see (h, w)."""
    N, C, H, W, OH, OW = sizes
    dx[:] = 0
    for n in range(N):
        for i in range(OH):
            for h in range(rows[i, 0], rows[i, 1]):
                for j in range(OW):
                    for w in range(cols[j, 0], cols[j, 1]):
                        add_scaled(dx[n, h, w], dy[n, i, j], scale[i, j])
