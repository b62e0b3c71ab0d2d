"""Pooling: the maximum or the mean of what a window sees, and where their gradients go.

Layout: NHWC; every loop over channels runs over neighbours in memory and becomes vectors.
Loops: output rows (n, i) are shared among the threads; then j, strips of channels, taps (h, w), and
    innermost the channels. Taps outside of the image are cut off before the loop, not tested in it.
Tile: the strips of pool.h; what is known of them so far, the maximum with its index or the sum,
    stays in registers while the taps go by.
Why: the pixels of a window are C floats apart, so a loop over taps would jump; a loop over channels
    streams, and windows that overlap find their pixels in the cache.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

cdef extern from "pool.h" nogil:
    ctypedef struct taps:
        Py_ssize_t h0, h1, dh, w0, w1, dw, W

    void max_where(
        float *y, int32_t *where, const float *x, Py_ssize_t C, Py_ssize_t n, taps t)
    void max_only(float *y, const float *x, Py_ssize_t C, Py_ssize_t n, taps t)
    void max_line(
        float *y, const float *x, Py_ssize_t h0, Py_ssize_t h1, const int64_t *cols,
        Py_ssize_t W, Py_ssize_t n, Py_ssize_t even)
    Py_ssize_t side_by_side(const int64_t *cols, Py_ssize_t n)
    void add_where(
        float *dx, const float *dy, const int64_t *index, Py_ssize_t C, Py_ssize_t c,
        Py_ssize_t end)
    void mean(float *y, const float *x, float scale, Py_ssize_t C, Py_ssize_t n, taps t)

cdef enum:
    TILE = 64
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 17  # elements read


# ------------------------------------------------------------------------------- maximum


cdef inline Py_ssize_t inside(Py_ssize_t start, Py_ssize_t d) noexcept nogil:
    """The first of start, start + d, start + 2d … that is not negative."""
    return start if start >= 0 else start + (d - 1 - start) // d * d


cdef inline taps taps_of(
    Py_ssize_t h0, Py_ssize_t h1, Py_ssize_t dh, Py_ssize_t w0, Py_ssize_t w1, Py_ssize_t dw,
    Py_ssize_t W,
) noexcept nogil:
    cdef taps t
    t.h0, t.h1, t.dh, t.w0, t.w1, t.dw, t.W = h0, h1, dh, w0, w1, dw, W
    return t


cdef void max_pool_pixel(
    float *y, int64_t *index, const float *x, Py_ssize_t C, taps t
) noexcept nogil:
    """One output pixel."""
    cdef Py_ssize_t c0 = 0, c, tile
    cdef int64_t first = t.h0 * t.W + t.w0 if t.h0 < t.h1 and t.w0 < t.w1 else -1
    cdef int32_t where[TILE]  # counted from `first`: half as wide as index, twice as fast
    while c0 < C:
        tile = min(TILE, C - c0)
        max_where(&y[c0], where, &x[c0], C, tile, t)
        for c in range(tile):
            index[c0 + c] = first + where[c]
        c0 = c0 + TILE


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
                &y[n, i, j, 0], &index[n, i, j, 0], &x[n, 0, 0, 0], C,
                taps_of(
                    inside(h, dh), min(H, h + (KH - 1) * dh + 1), dh,
                    inside(w, dw), min(W, w + (KW - 1) * dw + 1), dw, W,
                ),
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
                &y[n, i, j, 0], &index[n, i, j, 0], &x[n, 0, 0, 0], C,
                taps_of(rows[i, 0], rows[i, 1], 1, cols[j, 0], cols[j, 1], 1, W),
            )


def window_max_only_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const int64_t[:, ::1] rows,
    const int64_t[:, ::1] cols, tuple sizes, int threads,
):
    """The maxima of window_max_f32, without the positions that only a gradient needs."""
    cdef Py_ssize_t N, C, H, W, OH, OW, row, n, i, j, even
    N, C, H, W, OH, OW = sizes
    if N * C * OH * OW == 0:
        return
    even = side_by_side(&cols[0, 0], OW)
    for row in prange(
        N * OH, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * H * W * C >= WORTH_THREADS,
    ):
        n = row // OH
        i = row % OH
        if C == 1:
            max_line(
                &y[n, i, 0, 0], &x[n, 0, 0, 0], rows[i, 0], rows[i, 1], &cols[0, 0], W, OW,
                even,
            )
            continue
        for j in range(OW):
            max_only(
                &y[n, i, j, 0], &x[n, 0, 0, 0], C, C,
                taps_of(rows[i, 0], rows[i, 1], 1, cols[j, 0], cols[j, 1], 1, W),
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


def window_mean_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const int64_t[:, ::1] rows,
    const int64_t[:, ::1] cols, const float[:, ::1] scale, tuple sizes, int threads,
):
    """y[n, i, j] = scale[i, j] · Σ x[n, h, w] over rows[i, 0] <= h < rows[i, 1] and such columns.

    Where rows are few, as of a global mean, threads share tiles of channels too.
    """
    cdef Py_ssize_t N, C, H, W, OH, OW, tile, tiles, k, n, i, j, c
    N, C, H, W, OH, OW = sizes
    if N * C * OH * OW == 0:
        return
    tile = TILE if N * OH < threads else C
    tiles = (C + tile - 1) // tile
    for k in prange(
        N * OH * tiles, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * H * W * C >= WORTH_THREADS,
    ):
        n = k // (OH * tiles)
        i = k // tiles % OH
        c = k % tiles * tile
        for j in range(OW):
            mean(
                &y[n, i, j, c], &x[n, 0, 0, c], scale[i, j], C, min(tile, C - c),
                taps_of(rows[i, 0], rows[i, 1], 1, cols[j, 0], cols[j, 1], 1, W),
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
