"""Layer and RMS norm: the numbers of one row together.

Layout: x is (R, D), R rows of D numbers, C-contiguous; `centred` is 0 for RMS norm, whose mean is 0
    by definition.
Loops: rows outside, shared among the threads; inside, the row is read for its mean, its variance
    and its result. The gradients by weight and bias are sums down the columns: there threads share
    the columns, and each is summed in one order.
Tile: one row, which stays in the cache from its first reading to its last; of the columns 256 by
    32 rows, whose running sums stay in the L1 cache.
Why: statistics in two readings are exact, and the second costs little where the row is near. From
    512 numbers of a row (32 rows of a column) on, sums are in float64.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.string cimport memset

cdef extern from "norm.h" nogil:
    double row_sum(const float *x, Py_ssize_t D)
    double row_squares(const float *x, float mean, Py_ssize_t D)
    void row_grad_sums(
        double *plain, double *with_x, const float *dy, const float *w, const float *x, float mean,
        Py_ssize_t D)

cdef enum:
    ROWS = 32
    COLUMNS = 256
    WORTH_THREADS = 1 << 16  # elements


cdef void norm_row(
    float *y, float *mean, float *invstd, const float *x, const float *w, const float *b,
    double eps, Py_ssize_t D, bint centred,
) noexcept nogil:
    cdef Py_ssize_t c
    cdef double exact = row_sum(x, D) / D if centred else 0
    cdef float m = exact, r
    r = 1 / sqrt(row_squares(x, m, D) / D - (exact - m) * (exact - m) + eps)
    mean[0] = m
    invstd[0] = r
    for c in range(D):
        y[c] = (x[c] - m) * r * w[c] + b[c]


def norm_rows_f32(
    float[:, ::1] y, float[::1] mean, float[::1] invstd, const float[:, ::1] x,
    const float[::1] w, const float[::1] b, double eps, tuple sizes, int threads,
):
    """y = (x - mean)·invstd·w + b for each row."""
    cdef Py_ssize_t R, D, row
    cdef bint centred
    R, D, centred = sizes
    if R * D == 0:
        mean[:] = 0
        invstd[:] = 0
        return
    for row in prange(
        R, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=R * D >= WORTH_THREADS,
    ):
        norm_row(&y[row, 0], &mean[row], &invstd[row], &x[row, 0], &w[0], &b[0], eps, D, centred)


cdef void input_grad_row(
    float *dx, const float *dy, const float *x, float m, float r, const float *w, Py_ssize_t D,
    bint centred,
) noexcept nogil:
    """dx = r·(dy·w - Σ dy·w / D - x̂·Σ dy·w·x̂ / D), without the first sum if not centred."""
    cdef Py_ssize_t c
    cdef double total, total_x
    cdef float k, d
    row_grad_sums(&total, &total_x, dy, w, x, m, D)
    k = -total_x / D * r * r * r
    d = -total / D * r if centred else 0
    for c in range(D):
        dx[c] = dy[c] * w[c] * r + (k * (x[c] - m) + d)


def norm_rows_input_grad_f32(
    float[:, ::1] dx, const float[:, ::1] dy, const float[:, ::1] x, const float[::1] mean,
    const float[::1] invstd, const float[::1] w, tuple sizes, int threads,
):
    """The gradient by x."""
    cdef Py_ssize_t R, D, row
    cdef bint centred
    R, D, centred = sizes
    if R * D == 0:
        return
    for row in prange(
        R, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=R * D >= WORTH_THREADS,
    ):
        input_grad_row(
            &dx[row, 0], &dy[row, 0], &x[row, 0], mean[row], invstd[row], &w[0], D, centred
        )


cdef void add_row(
    float *total, float *products, const float *dy, const float *x, float m, float r,
    Py_ssize_t width,
) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(width):
        total[c] += dy[c]
        products[c] += dy[c] * ((x[c] - m) * r)


cdef void weight_grad_columns(
    float *dw, float *db, const float *dy, const float *x, const float *mean, const float *invstd,
    Py_ssize_t R, Py_ssize_t D, Py_ssize_t width,
) noexcept nogil:
    """Both sums of `width` columns."""
    cdef Py_ssize_t c, row
    cdef float total[COLUMNS]
    cdef float products[COLUMNS]
    cdef double totals[COLUMNS]
    cdef double all_products[COLUMNS]
    memset(totals, 0, width * sizeof(double))
    memset(all_products, 0, width * sizeof(double))
    for row in range(R):
        if row % ROWS == 0:
            memset(total, 0, width * sizeof(float))
            memset(products, 0, width * sizeof(float))
        add_row(total, products, dy + row * D, x + row * D, mean[row], invstd[row], width)
        if row % ROWS == ROWS - 1 or row == R - 1:
            for c in range(width):
                totals[c] += total[c]
                all_products[c] += products[c]
    for c in range(width):
        db[c] = totals[c]
        dw[c] = all_products[c]


def norm_rows_weight_grad_f32(
    float[::1] dw, float[::1] db, const float[:, ::1] dy, const float[:, ::1] x,
    const float[::1] mean, const float[::1] invstd, tuple sizes, int threads,
):
    """dw = Σ dy·x̂ and db = Σ dy, down the columns."""
    cdef Py_ssize_t R, D, part, first
    R, D, _ = sizes
    if R * D == 0:
        dw[:] = 0
        db[:] = 0
        return
    for part in prange(
        (D + COLUMNS - 1) // COLUMNS, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=R * D >= WORTH_THREADS,
    ):
        first = part * COLUMNS
        weight_grad_columns(
            &dw[first], &db[first], &dy[0, first], &x[0, first], &mean[0], &invstd[0], R, D,
            min(COLUMNS, D - first),
        )
