"""Pixel shuffle: y[n, h·r + u, w·r + v, c] = x[n, h, w, c·r² + u·r + v], and the way back.

Layout: NHWC; x is (N, H, W, C·r²), y is (N, H·r, W·r, C).
Loops: rows of x, shared among the threads; then pixels of x, the places (u, v), and C channels.
Tile: one pixel of x, which becomes a block of y; both are in the L1 cache.
Why: of a pixel of x a place reads every r²-th number, and the reading that skips is cheaper than
    the writing. Where r is 2, 3 or 4, a constant, the compiler takes such numbers out of vectors.
"""

from cython.parallel cimport prange

cdef enum:
    WORTH_THREADS = 1 << 16  # elements


cdef inline void to_block(
    float *y, const float *x, Py_ssize_t C, Py_ssize_t line, Py_ssize_t r
) noexcept nogil:
    """The block y (r, r, C), whose rows are `line` apart, of the pixel x (C, r, r)."""
    cdef Py_ssize_t u, v, c
    for u in range(r):
        for v in range(r):
            for c in range(C):
                y[u * line + v * C + c] = x[(c * r + u) * r + v]


cdef inline void from_block(
    float *x, const float *y, Py_ssize_t C, Py_ssize_t line, Py_ssize_t r
) noexcept nogil:
    """The pixel x (C, r, r) of the block y (r, r, C), whose rows are `line` apart."""
    cdef Py_ssize_t u, v, c
    for c in range(C):
        for u in range(r):
            for v in range(r):
                x[(c * r + u) * r + v] = y[u * line + v * C + c]


cdef void row_to_blocks(
    float *y, const float *x, Py_ssize_t C, Py_ssize_t W, Py_ssize_t r
) noexcept nogil:
    cdef Py_ssize_t w, line = W * r * C
    for w in range(W):
        if r == 2:
            to_block(y + w * r * C, x + w * r * r * C, C, line, 2)
        elif r == 3:
            to_block(y + w * r * C, x + w * r * r * C, C, line, 3)
        elif r == 4:
            to_block(y + w * r * C, x + w * r * r * C, C, line, 4)
        else:
            to_block(y + w * r * C, x + w * r * r * C, C, line, r)


cdef void row_from_blocks(
    float *x, const float *y, Py_ssize_t C, Py_ssize_t W, Py_ssize_t r
) noexcept nogil:
    cdef Py_ssize_t w, line = W * r * C
    for w in range(W):
        if r == 2:
            from_block(x + w * r * r * C, y + w * r * C, C, line, 2)
        elif r == 3:
            from_block(x + w * r * r * C, y + w * r * C, C, line, 3)
        elif r == 4:
            from_block(x + w * r * r * C, y + w * r * C, C, line, 4)
        else:
            from_block(x + w * r * r * C, y + w * r * C, C, line, r)


def pixel_shuffle_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, tuple sizes, int threads
):
    """y[n, h·r + u, w·r + v, c] = x[n, h, w, c·r² + u·r + v]"""
    cdef Py_ssize_t N, C, H, W, r, row
    N, C, H, W, r = sizes
    if N * C * H * W == 0:
        return
    for row in prange(
        N * H, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * C * H * W * r * r >= WORTH_THREADS,
    ):
        row_to_blocks(&y[row // H, row % H * r, 0, 0], &x[row // H, row % H, 0, 0], C, W, r)


def pixel_unshuffle_f32(
    float[:, :, :, ::1] x, const float[:, :, :, ::1] y, tuple sizes, int threads
):
    """x[n, h, w, c·r² + u·r + v] = y[n, h·r + u, w·r + v, c]"""
    cdef Py_ssize_t N, C, H, W, r, row
    N, C, H, W, r = sizes
    if N * C * H * W == 0:
        return
    for row in prange(
        N * H, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * C * H * W * r * r >= WORTH_THREADS,
    ):
        row_from_blocks(&x[row // H, row % H, 0, 0], &y[row // H, row % H * r, 0, 0], C, W, r)
