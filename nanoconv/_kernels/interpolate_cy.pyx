"""Interpolation: y = A·x·Bᵀ, with sparse A and B, a few weights in each of their rows.

Layout: NHWC, or planes (N·C, H, W, 1). Row i of A has row_weight[k] in the column row_index[k],
    row_start[i] <= k < row_start[i + 1]; B in the same way.
Loops: output rows (n, i) are shared among the threads; then A mixes whole rows of x into a line,
    and for each output pixel B mixes pixels of that line.
Tile: one line, W·C numbers, which stays in the L1 or L2 cache.
Why: both products are sums of a few lines of neighbours; A's are the longest that there are. Of
    each pixel T + T numbers are read with T taps, where both at once would read T·T.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t
from libc.string cimport memset

cdef extern from "interpolate.h" nogil:
    void mix_lines(
        float *y, const float *x, Py_ssize_t stride, const int64_t *index, const float *weight,
        Py_ssize_t taps, Py_ssize_t length)
    void mix_pixels(
        float *y, const float *x, Py_ssize_t C, const int64_t *start, const int64_t *index,
        const float *weight, Py_ssize_t J)
    void mix_numbers(
        float *y, const float *x, const int64_t *start, const int64_t *index, const float *weight,
        Py_ssize_t J, Py_ssize_t taps)

cdef enum:
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 16  # elements written


cdef inline Py_ssize_t line_size(Py_ssize_t W, Py_ssize_t C) noexcept nogil:
    return (W * C + LINE - 1) // LINE * LINE


def interpolate_f32_scratch(sizes, int threads):
    return threads * line_size(sizes[3], sizes[1])


cdef Py_ssize_t taps_of_all(const int64_t[::1] start) noexcept nogil:
    """How many taps each row has; 0 if not all have the same number."""
    cdef Py_ssize_t k, taps = start[1] - start[0]
    for k in range(start.shape[0]):
        if start[k] != k * taps:
            return 0
    return taps


cdef void output_row(
    float *y, const float *x, float *line, Py_ssize_t C, Py_ssize_t W, Py_ssize_t OW,
    const int64_t *row_index, const float *row_weight, Py_ssize_t row_taps,
    const int64_t *col_start, const int64_t *col_index, const float *col_weight,
    Py_ssize_t col_taps,
) noexcept nogil:
    """y (OW, C) of the image x (H, W, C)."""
    cdef const float *source = line
    if row_taps == 0:  # in a gradient, where no output reads this row
        memset(y, 0, OW * C * sizeof(float))
        return
    if row_taps == 1 and row_weight[0] == 1:
        source = x + row_index[0] * W * C
    else:
        mix_lines(line, x, W * C, row_index, row_weight, row_taps, W * C)
    if C == 1:
        mix_numbers(y, source, col_start, col_index, col_weight, OW, col_taps)
    else:
        mix_pixels(y, source, C, col_start, col_index, col_weight, OW)


def interpolate_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x,
    const int64_t[::1] row_start, const int64_t[::1] row_index, const float[::1] row_weight,
    const int64_t[::1] col_start, const int64_t[::1] col_index, const float[::1] col_weight,
    float[::1] scratch, sizes, int threads,
):
    """y[n, i, j] = Σ row_weight[a] · Σ col_weight[b] · x[n, row_index[a], col_index[b]]"""
    cdef Py_ssize_t N, C, W, OH, OW, row, n, i, stride, taps
    N, C, _, W, OH, OW = sizes
    if N * C * OH * OW == 0:
        return
    stride = line_size(W, C)
    taps = taps_of_all(col_start)
    for row in prange(
        N * OH, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * C * OH * OW >= WORTH_THREADS,
    ):
        n = row // OH
        i = row % OH
        output_row(
            &y[n, i, 0, 0], &x[n, 0, 0, 0], &scratch[threadid() * stride], C, W, OW,
            &row_index[0] + row_start[i], &row_weight[0] + row_start[i],
            row_start[i + 1] - row_start[i], &col_start[0], &col_index[0], &col_weight[0], taps,
        )
