"""softmax, log_softmax and their gradients along the middle axis.

Layout: arrays are (A, C, B), C-contiguous, and a line is the C numbers at one place of A and B. In
    B = 1, rows or pixels of channels-last images, it is a run of memory.
Loops: tasks of one row, of 32 rows if they are short, or of up to 256 lines side by side, shared
    among the threads; in a task the loops of `softmax.h`.
Tile: 16 numbers of a row, 32 rows turned in the cache, or 256 columns.
Why: a line is read three times, for its maximum, its sum and its result, and only the first time
    from beyond the cache. Sums have one order, whatever the number of threads.
"""

from cython.parallel cimport prange

ctypedef void (*lines_map)(
    float *y, const float *x, Py_ssize_t C, Py_ssize_t B, Py_ssize_t width
) noexcept nogil
ctypedef void (*gradient_map)(
    float *dx, const float *dy, const float *y, Py_ssize_t C, Py_ssize_t B, Py_ssize_t width
) noexcept nogil

cdef extern from "softmax.h":
    lines_map softmax_lines, log_softmax_lines
    gradient_map softmax_backward_lines, log_softmax_backward_lines
    void short_lines(
        lines_map f, float *y, const float *x, Py_ssize_t n, Py_ssize_t C
    ) noexcept nogil
    enum:
        SHORT, SIDE

cdef enum:
    WIDEST = 256
    WORTH_THREADS = 1 << 15


cdef void forward(
    lines_map f, float[:, :, ::1] y, const float[:, :, ::1] x, tuple sizes, int threads
):
    cdef Py_ssize_t A, C, B, tiles, task, p, b
    A, C, B = sizes
    if A * C * B == 0:
        return
    if B == 1 and C < SHORT:
        for task in prange(
            (A + SIDE - 1) // SIDE, nogil=True, num_threads=threads, schedule="static",
            use_threads_if=A * C >= WORTH_THREADS,
        ):
            p = task * SIDE * C
            short_lines(f, &y[0, 0, 0] + p, &x[0, 0, 0] + p, min(SIDE, A - task * SIDE), C)
        return
    tiles = (B + WIDEST - 1) // WIDEST
    for task in prange(
        A * tiles, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=A * C * B >= WORTH_THREADS,
    ):
        b = task % tiles * WIDEST
        p = task // tiles * C * B + b
        f(&y[0, 0, 0] + p, &x[0, 0, 0] + p, C, B, min(WIDEST, B - b))


cdef void backward(
    gradient_map f, float[:, :, ::1] dx, const float[:, :, ::1] dy, const float[:, :, ::1] y,
    tuple sizes, int threads,
):
    cdef Py_ssize_t A, C, B, tiles, task, p, b
    A, C, B = sizes
    if A * C * B == 0:
        return
    tiles = (B + WIDEST - 1) // WIDEST
    for task in prange(
        A * tiles, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=A * C * B >= WORTH_THREADS,
    ):
        b = task % tiles * WIDEST
        p = task // tiles * C * B + b
        f(&dx[0, 0, 0] + p, &dy[0, 0, 0] + p, &y[0, 0, 0] + p, C, B, min(WIDEST, B - b))


def softmax_f32(float[:, :, ::1] y, const float[:, :, ::1] x, tuple sizes, int threads):
    """y[a, c, b] = exp(x[a, c, b]) / Σ_k exp(x[a, k, b])"""
    forward(softmax_lines, y, x, sizes, threads)


def log_softmax_f32(float[:, :, ::1] y, const float[:, :, ::1] x, tuple sizes, int threads):
    """y[a, c, b] = x[a, c, b] − log Σ_k exp(x[a, k, b])"""
    forward(log_softmax_lines, y, x, sizes, threads)


def softmax_backward_f32(
    float[:, :, ::1] dx, const float[:, :, ::1] dy, const float[:, :, ::1] y, tuple sizes,
    int threads,
):
    """dx[a, c, b] = y[a, c, b]·(dy[a, c, b] − Σ_k dy[a, k, b]·y[a, k, b])"""
    backward(softmax_backward_lines, dx, dy, y, sizes, threads)


def log_softmax_backward_f32(
    float[:, :, ::1] dx, const float[:, :, ::1] dz, const float[:, :, ::1] z, tuple sizes,
    int threads,
):
    """dx[a, c, b] = dz[a, c, b] − exp(z[a, c, b])·Σ_k dz[a, k, b]"""
    backward(log_softmax_backward_lines, dx, dz, z, sizes, threads)
