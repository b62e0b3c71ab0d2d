"""PReLU: y = x where x > 0, else w·x, with one w per column, and both gradients.

Layout: x is (M, C), M pixels of C channels, C-contiguous; a single w is C = 1. Where C < 128,
    `fold` pixels that lie side by side are taken as one wide row of fold·C columns.
Loops: rows outside, columns inside. Maps: threads share the rows. The gradient by w: threads share
    the columns, in whole cache lines; each is summed in one order, whatever their number.
Tile: 32 rows by at most 512 columns, whose running sums stay in the L1 cache.
Why: each array is read once, in the order of memory, and the inner loop is long for narrow layers
    too. Within 32 rows sums are in float32, as fast as can be; from there on they are in float64.
"""

from cython.parallel cimport prange
from libc.string cimport memset

cdef enum:
    ROWS = 32
    COLUMNS = 512
    NARROW = 128
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 16  # elements


cdef inline Py_ssize_t fold_of(Py_ssize_t C) noexcept nogil:
    """How many pixels make one wide row."""
    return max(1, NARROW // C)


cdef inline const float *repeat(float *room, const float *w, Py_ssize_t C) noexcept nogil:
    """One weight per channel as one weight per column of a wide row."""
    cdef Py_ssize_t k, c
    if C > NARROW // 2:
        return w
    for k in range(fold_of(C)):
        for c in range(C):
            room[k * C + c] = w[c]
    return room


# ------------------------------------------------------------------------------- maps


cdef void forward_row(float *y, const float *x, const float *w, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(width):
        y[c] = x[c] if x[c] > 0 else w[c] * x[c]


def prelu_f32(float[:, ::1] y, const float[:, ::1] x, const float[::1] w, tuple sizes, int threads):
    """y[m, c] = x[m, c] where that is > 0, else w[c]·x[m, c]"""
    cdef Py_ssize_t M, C, wide, p, row
    cdef float room[NARROW]
    cdef const float *wide_w
    M, C = sizes
    if M * C == 0:
        return
    with nogil:
        wide = fold_of(C) * C
        wide_w = repeat(room, &w[0], C)
        for row in prange(
            (M * C + wide - 1) // wide, num_threads=threads, schedule="static",
            use_threads_if=M * C >= WORTH_THREADS,
        ):
            p = row * wide
            forward_row(&y[0, 0] + p, &x[0, 0] + p, wide_w, min(wide, M * C - p))


cdef void input_grad_row(
    float *dx, const float *dy, const float *x, const float *w, Py_ssize_t width
) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(width):
        dx[c] = dy[c] if x[c] > 0 else w[c] * dy[c]


def prelu_input_grad_f32(
    float[:, ::1] dx, const float[:, ::1] dy, const float[:, ::1] x, const float[::1] w,
    tuple sizes, int threads,
):
    """dx[m, c] = dy[m, c] where x[m, c] > 0, else w[c]·dy[m, c]"""
    cdef Py_ssize_t M, C, wide, p, row
    cdef float room[NARROW]
    cdef const float *wide_w
    M, C = sizes
    if M * C == 0:
        return
    with nogil:
        wide = fold_of(C) * C
        wide_w = repeat(room, &w[0], C)
        for row in prange(
            (M * C + wide - 1) // wide, num_threads=threads, schedule="static",
            use_threads_if=M * C >= WORTH_THREADS,
        ):
            p = row * wide
            input_grad_row(
                &dx[0, 0] + p, &dy[0, 0] + p, &x[0, 0] + p, wide_w, min(wide, M * C - p)
            )


# ------------------------------------------------------------------------------- the gradient by w


cdef inline Py_ssize_t cut(Py_ssize_t width, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Where part `part` of `width` columns begins: on a cache line."""
    return min(width, (width * part // parts + LINE - 1) // LINE * LINE)


cdef void add_rows(
    double *total, const float *dy, const float *x, Py_ssize_t m, Py_ssize_t pitch,
    Py_ssize_t width,
) noexcept nogil:
    """total += Σ x·dy over m rows, where x is not positive.

    Elsewhere both factors are 0, so that a column is summed by the same multiply-adds wherever it
    lies in a vector, and no infinite dy gets in.
    """
    cdef Py_ssize_t r, c, p
    cdef float xp, dyp
    cdef float part[COLUMNS]
    memset(part, 0, width * sizeof(float))
    for r in range(m):
        p = r * pitch
        for c in range(width):
            xp = 0 if x[p + c] > 0 else x[p + c]
            dyp = 0 if x[p + c] > 0 else dy[p + c]
            part[c] += xp * dyp
    for c in range(width):
        total[c] += part[c]


cdef void column_sums(
    double *total, const float *dy, const float *x, Py_ssize_t rows, Py_ssize_t pitch,
    Py_ssize_t width, Py_ssize_t longer,
) noexcept nogil:
    """The sums of `width` columns, of which the first `longer` have one row more."""
    cdef Py_ssize_t n = 0
    memset(total, 0, width * sizeof(double))
    while n < rows:
        add_rows(total, &dy[n * pitch], &x[n * pitch], min(ROWS, rows - n), pitch, width)
        n = n + ROWS
    if longer > 0:
        add_rows(total, &dy[rows * pitch], &x[rows * pitch], 1, pitch, min(width, longer))


def prelu_weight_grad_f32(
    float[::1] dw, const float[:, ::1] dy, const float[:, ::1] x, tuple sizes, int threads
):
    """dw[c] = Σ_m x[m, c]·dy[m, c] over the m where x[m, c] is not positive"""
    cdef Py_ssize_t M, C, fold, rows, wide, longer, first, width, parts, part, a, b, c, k
    cdef double total
    cdef double totals[COLUMNS]
    M, C = sizes
    if M * C == 0:
        dw[:] = 0
        return
    with nogil:
        fold = fold_of(C)
        rows = M // fold
        longer = M % fold * C
        wide = fold * C
        first = 0
        while first < wide:
            width = min(COLUMNS, wide - first)
            parts = min(threads, (width + LINE - 1) // LINE)
            for part in prange(
                parts, num_threads=threads, schedule="static",
                use_threads_if=M * width >= WORTH_THREADS,
            ):
                a = cut(width, part, parts)
                b = cut(width, part + 1, parts)
                column_sums(
                    &totals[a], &dy[0, 0] + first + a, &x[0, 0] + first + a, rows, wide, b - a,
                    longer - a,
                )
            for c in range(min(C, width)):
                total = 0
                for k in range(fold):
                    total = total + totals[k * C + c]
                dw[first + c] = total
            first = first + COLUMNS
