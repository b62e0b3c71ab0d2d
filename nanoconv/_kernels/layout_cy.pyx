"""Memory formats: y[n, p, c] = x[n, c, p], which makes channels-last images of contiguous ones.

Layout: x (N, C, P), y (N, P, C), with P = H·W pixels.
Loops: strips of pixels, shared among the threads; layout.h goes through a strip.
Tile: 64 pixels with all their channels; they stay in the L1 or L2 cache until they are complete.
Why: one of the two sides has to jump. NumPy jumps from number to number and touches each cache line
    as often as it has numbers; here whole vectors are read, and a line is filled while it is there.
"""

from cython.parallel cimport prange

cdef extern from "layout.h" nogil:
    void transpose_pixels(
        float *y, const float *x, Py_ssize_t C, Py_ssize_t P, Py_ssize_t first, Py_ssize_t end)

cdef enum:
    STRIP = 64  # pixels
    WORTH_THREADS = 1 << 17  # elements


def transpose_f32(float[:, :, ::1] y, const float[:, :, ::1] x, tuple sizes, int threads):
    """y[n, p, c] = x[n, c, p]"""
    cdef Py_ssize_t N, C, P, strips, k, n, p
    N, C, P = sizes
    if N * C * P == 0:
        return
    strips = (P + STRIP - 1) // STRIP
    for k in prange(
        N * strips, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=N * C * P >= WORTH_THREADS,
    ):
        n = k // strips
        p = k % strips * STRIP
        transpose_pixels(&y[n, 0, 0], &x[n, 0, 0], C, P, p, min(p + STRIP, P))
