"""Pooling: the maximum or the mean of what a window sees, and where their gradients go.

Layout: NHWC; every loop over channels runs over neighbours in memory and becomes vectors.
Loops: output rows (n, i) are shared among the threads; then j, channel tiles, taps (h, w), and
    innermost the channels. Taps outside of the image are cut off before the loop, not tested in it.
Tile: 64 channels of one output pixel; what is known of them so far, the maximum with its index or
    the sum, stays in the L1 cache while the taps go by.
Why: the pixels of a window are C floats apart, so a loop over taps would jump; a loop over channels
    streams, and windows that overlap find their pixels in the cache.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

cdef extern from "pool.h" nogil:
    void add_where(
        float *dx, const float *dy, const int64_t *index, Py_ssize_t C, Py_ssize_t c,
        Py_ssize_t end)

cdef enum:
    TILE = 64
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 16  # elements read


# ------------------------------------------------------------------------------- maximum


cdef inline Py_ssize_t inside(Py_ssize_t start, Py_ssize_t d) noexcept nogil:
    """The first of start, start + d, start + 2d … that is not negative."""
    return start if start >= 0 else start + (d - 1 - start) // d * d


cdef inline void take_maximum(
    float *best, int32_t *where, const float *x, int32_t here, Py_ssize_t tile
) noexcept nogil:
    """best = max(best, x) and where it was; of equals the first, but NaN beats all."""
    cdef Py_ssize_t c
    cdef bint better
    for c in range(tile):
        better = (x[c] > best[c]) | (x[c] != x[c])
        best[c] = x[c] if better else best[c]
        where[c] = here if better else where[c]


cdef void max_pool_pixel(
    float *y, int64_t *index, const float *x, Py_ssize_t C, Py_ssize_t W,
    Py_ssize_t h0, Py_ssize_t h1, Py_ssize_t dh, Py_ssize_t w0, Py_ssize_t w1, Py_ssize_t dw,
) noexcept nogil:
    """One output pixel, whose taps are the rows h0, h0 + dh … below h1 and such columns."""
    cdef Py_ssize_t k, c0, c, h, w, tile
    cdef int64_t first = h0 * W + w0 if h0 < h1 and w0 < w1 else -1
    cdef float best[TILE]
    cdef int32_t where[TILE]  # counted from `first`: half as wide as index, twice as fast
    for k in range((C + TILE - 1) // TILE):
        c0 = k * TILE
        tile = min(TILE, C - c0)
        for c in range(tile):
            best[c] = -INFINITY
            where[c] = 0
        h = h0
        while h < h1:
            w = w0
            while w < w1:
                take_maximum(best, where, &x[(h * W + w) * C + c0], h * W + w - first, tile)
                w = w + dw
            h = h + dh
        for c in range(tile):
            y[c0 + c] = best[c]
            index[c0 + c] = first + where[c]


def max_pool_f32(
    float[:, :, :, ::1] y, int64_t[:, :, :, ::1] index, const float[:, :, :, ::1] x,
    tuple sizes, int threads,
):
    """y = the maximum of each window, index = h·W + w of its first place, -1 in an empty one."""
    cdef Py_ssize_t N, C, H, W, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, row, n, i, j, h, w
    N, C, H, W, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw = sizes
    if N * C * OH * OW == 0:
        return
    for row in prange(
        N * OH, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * OH * OW * C * KH * KW >= WORTH_THREADS,
    ):
        n = row // OH
        i = row % OH
        h = i * sh - pt
        for j in range(OW):
            w = j * sw - pl
            max_pool_pixel(
                &y[n, i, j, 0], &index[n, i, j, 0], &x[n, 0, 0, 0], C, W,
                inside(h, dh), min(H, h + (KH - 1) * dh + 1), dh,
                inside(w, dw), min(W, w + (KW - 1) * dw + 1), dw,
            )


def window_max_f32(
    float[:, :, :, ::1] y, int64_t[:, :, :, ::1] index, const float[:, :, :, ::1] x,
    const int64_t[:, ::1] rows, const int64_t[:, ::1] cols, tuple sizes, int threads,
):
    """As max_pool_f32, of rows[i, 0] <= h < rows[i, 1] and such columns."""
    cdef Py_ssize_t N, C, H, W, OH, OW, row, n, i, j
    N, C, H, W, OH, OW = sizes
    if N * C * OH * OW == 0:
        return
    for row in prange(
        N * OH, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * H * W * C >= WORTH_THREADS,
    ):
        n = row // OH
        i = row % OH
        for j in range(OW):
            max_pool_pixel(
                &y[n, i, j, 0], &index[n, i, j, 0], &x[n, 0, 0, 0], C, W,
                rows[i, 0], rows[i, 1], 1, cols[j, 0], cols[j, 1], 1,
            )


cdef inline void put_where(
    float *y, const float *x, const int64_t *index, Py_ssize_t C, Py_ssize_t c, Py_ssize_t end
) noexcept nogil:
    while c < end:
        y[index[c] * C + c] = x[c]
        c = c + 1


cdef void scatter_image(
    float *dx, const float *dy, const int64_t *index, bint add, Py_ssize_t C, Py_ssize_t c0,
    Py_ssize_t c1, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    """The channels c0 <= c < c1 of one image of `inputs` pixels, pooled to `outputs`."""
    cdef Py_ssize_t p
    if c1 - c0 == C:
        memset(dx, 0, inputs * C * sizeof(float))
    else:
        for p in range(inputs):
            memset(&dx[p * C + c0], 0, (c1 - c0) * sizeof(float))
    for p in range(outputs):
        if add:
            add_where(dx, &dy[p * C], &index[p * C], C, c0, c1)
        else:
            put_where(dx, &dy[p * C], &index[p * C], C, c0, c1)


cdef void scatter(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const int64_t[:, :, :, ::1] index,
    bint add, int threads,
):
    """Windows overlap, so threads share images and, within an image, cache lines of channels."""
    cdef Py_ssize_t N, C, parts, width, k, n, c0
    N, C = dx.shape[0], dx.shape[3]
    if N * C * dx.shape[1] * dx.shape[2] == 0:
        return
    parts = 1 if N % threads == 0 else min(threads, (C + LINE - 1) // LINE)
    width = ((C + parts - 1) // parts + LINE - 1) // LINE * LINE
    for k in prange(
        N * parts, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * C * dx.shape[1] * dx.shape[2] >= WORTH_THREADS,
    ):
        n = k // parts
        c0 = k % parts * width
        scatter_image(
            &dx[n, 0, 0, 0], &dy[n, 0, 0, 0], &index[n, 0, 0, 0], add, C, min(c0, C),
            min(c0 + width, C), dx.shape[1] * dx.shape[2], dy.shape[1] * dy.shape[2],
        )


def max_pool_backward_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const int64_t[:, :, :, ::1] index,
    tuple sizes, int threads,
):
    """dx = 0, then dx[n, index[n, i, j, c], c] += dy[n, i, j, c]."""
    scatter(dx, dy, index, True, threads)


def max_unpool_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const int64_t[:, :, :, ::1] index,
    tuple sizes, int threads,
):
    """y = 0, then y[n, index[n, i, j, c], c] = x[n, i, j, c]; of two for one pixel the last."""
    scatter(y, x, index, False, threads)


def max_unpool_backward_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const int64_t[:, :, :, ::1] index,
    tuple sizes, int threads,
):
    """dx[n, i, j, c] = dy[n, index[n, i, j, c], c]."""
    cdef Py_ssize_t N, C, H, W, row, n, i, j, c
    cdef const float *image
    N, C, H, W = sizes[:4]
    if N * C * H * W == 0:
        return
    for row in prange(
        N * H, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * H * W * C >= WORTH_THREADS,
    ):
        n = row // H
        i = row % H
        image = &dy[n, 0, 0, 0]
        for j in range(W):
            for c in range(C):
                dx[n, i, j, c] = image[index[n, i, j, c] * C + c]


# ------------------------------------------------------------------------------- mean


cdef inline void sum_line(
    float *line, const float *x, Py_ssize_t pixels, Py_ssize_t C, Py_ssize_t tile
) noexcept nogil:
    """line = the sum of 1, 2, 3 … pixels; taken in pairs, to touch `line` half as often."""
    cdef Py_ssize_t c, w = 2 - pixels % 2
    for c in range(tile):
        line[c] = x[c] + x[C + c] if w == 2 else x[c]
    while w < pixels:
        for c in range(tile):
            line[c] += x[w * C + c] + x[(w + 1) * C + c]
        w = w + 2


cdef void window_mean_pixel(
    float *y, const float *x, Py_ssize_t C, Py_ssize_t W, float scale, Py_ssize_t tile,
    Py_ssize_t h0, Py_ssize_t h1, Py_ssize_t w0, Py_ssize_t w1,
) noexcept nogil:
    """`tile` channels of one output pixel; line by line, as short sums have small errors."""
    cdef Py_ssize_t h, c
    cdef float line[TILE]
    if h0 >= h1 or w0 >= w1:
        memset(y, 0, tile * sizeof(float))
        return
    for h in range(h0, h1):
        sum_line(line, &x[(h * W + w0) * C], w1 - w0, C, tile)
        for c in range(tile):
            y[c] = scale * line[c] + (y[c] if h > h0 else 0)


def window_mean_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const int64_t[:, ::1] rows,
    const int64_t[:, ::1] cols, const float[:, ::1] scale, tuple sizes, int threads,
):
    """y[n, i, j] = scale[i, j] · Σ x[n, h, w] over rows[i, 0] <= h < rows[i, 1] and such columns.

    The channel tiles are shared among the threads too: a global mean has only one pixel.
    """
    cdef Py_ssize_t N, C, H, W, OH, OW, tiles, k, n, i, j, c
    N, C, H, W, OH, OW = sizes
    if N * C * OH * OW == 0:
        return
    tiles = (C + TILE - 1) // TILE
    for k in prange(
        N * OH * tiles, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * H * W * C >= WORTH_THREADS,
    ):
        n = k // (OH * tiles)
        i = k // tiles % OH
        c = k % tiles * TILE
        for j in range(OW):
            window_mean_pixel(
                &y[n, i, j, c], &x[n, 0, 0, c], C, W, scale[i, j], min(TILE, C - c),
                rows[i, 0], rows[i, 1], cols[j, 0], cols[j, 1],
            )


cdef inline void add_scaled(
    float *total, const float *x, float scale, Py_ssize_t C
) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(C):
        total[c] += scale * x[c]


def window_mean_backward_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const int64_t[:, ::1] rows,
    const int64_t[:, ::1] cols, const float[:, ::1] scale, tuple sizes, int threads,
):
    """dx[n, h, w] = Σ scale[i, j] · dy[n, i, j] over the windows (i, j) that see (h, w).

    Threads share the rows of dx; each collects what the windows send there.
    """
    cdef Py_ssize_t N, C, H, W, OH, OW, row, n, h, i, j, w
    N, C, H, W, OH, OW = sizes
    if N * C * H * W == 0:
        return
    for row in prange(
        N * H, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * H * W * C >= WORTH_THREADS,
    ):
        n = row // H
        h = row % H
        memset(&dx[n, h, 0, 0], 0, W * C * sizeof(float))
        for i in range(OH):
            if rows[i, 0] <= h < rows[i, 1]:
                for j in range(OW):
                    for w in range(cols[j, 0], cols[j, 1]):
                        add_scaled(&dx[n, h, w, 0], &dy[n, i, j, 0], scale[i, j], C)
