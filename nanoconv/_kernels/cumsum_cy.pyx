"""Running sums along the middle axis, from its start or its end.

Layout: arrays are (A, C, B), C-contiguous, and a line is the C numbers at one place of A and B. In
    B = 1 it is a run of memory.
Loops: tasks of 8 lines that follow each other, or of up to 256 side by side, shared among the
    threads; in a task C outside and its lines inside.
Tile: the sums of a task, in float64.
Why: each sum waits for the one before it, so that one line alone takes as long as several.
"""

from cython.parallel cimport prange

cdef enum:
    SIDE = 8
    WIDEST = 256
    WORTH_THREADS = 1 << 16


cdef void rows(
    float *y, const float *x, Py_ssize_t n, Py_ssize_t C, Py_ssize_t step
) noexcept nogil:
    """n lines that follow each other."""
    cdef double total[SIDE]
    cdef Py_ssize_t c, l
    for l in range(SIDE):
        total[l] = 0
    if n == SIDE:  # a length that the compiler knows
        for c in range(C):
            for l in range(SIDE):
                total[l] += x[l * C + c * step]
                y[l * C + c * step] = <float> total[l]
        return
    for c in range(C):
        for l in range(n):
            total[l] += x[l * C + c * step]
            y[l * C + c * step] = <float> total[l]


cdef void columns(
    float *y, const float *x, Py_ssize_t n, Py_ssize_t C, Py_ssize_t pitch
) noexcept nogil:
    """n lines side by side."""
    cdef double total[WIDEST]
    cdef Py_ssize_t c, b
    for b in range(n):
        total[b] = 0
    for c in range(C):
        for b in range(n):
            total[b] += x[c * pitch + b]
            y[c * pitch + b] = <float> total[b]


def cumsum_f32(float[:, :, ::1] y, const float[:, :, ::1] x, tuple sizes, int threads):
    """y[a, c, b] = Σ_{k ≤ c} x[a, k, b], or k ≥ c if `backwards`"""
    cdef Py_ssize_t A, C, B, backwards, tiles, task, p, b, step
    A, C, B, backwards = sizes
    if A * C * B == 0:
        return
    step = -1 if backwards else 1
    if B == 1:
        for task in prange(
            (A + SIDE - 1) // SIDE, nogil=True, num_threads=threads, schedule="static",
            use_threads_if=A * C >= WORTH_THREADS,
        ):
            p = task * SIDE * C + (C - 1 if backwards else 0)
            rows(&y[0, 0, 0] + p, &x[0, 0, 0] + p, min(SIDE, A - task * SIDE), C, step)
        return
    tiles = (B + WIDEST - 1) // WIDEST
    for task in prange(
        A * tiles, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=A * C * B >= WORTH_THREADS,
    ):
        b = task % tiles * WIDEST
        p = task // tiles * C * B + b + (C - 1 if backwards else 0) * B
        columns(&y[0, 0, 0] + p, &x[0, 0, 0] + p, min(WIDEST, B - b), C, step * B)
