"""Channel shuffle: y[m, k·G + g] = x[m, g·K + k], K = C / G; in each pixel a transposed G×K matrix.

Layout: x and y are (M, C), M = N·H·W pixels of C channels, C-contiguous.
Loops: pixels, shared among the threads; then the two sides of the matrix.
Tile: one pixel.
Why: real nets have 2, 3, 4 or 8 groups, and the gradient, a shuffle with K groups, has as many
    columns. Where the inner side is such a constant, the compiler interleaves whole vectors.
    Otherwise the longer side is inside.
"""

from cython.parallel cimport prange

cdef enum:
    WORTH_THREADS = 1 << 17  # elements


cdef inline void groups_inside(
    float *y, const float *x, Py_ssize_t G, Py_ssize_t K
) noexcept nogil:
    cdef Py_ssize_t g, k
    for k in range(K):
        for g in range(G):
            y[k * G + g] = x[g * K + k]


cdef inline void groups_outside(
    float *y, const float *x, Py_ssize_t G, Py_ssize_t K
) noexcept nogil:
    cdef Py_ssize_t g, k
    for g in range(G):
        for k in range(K):
            y[k * G + g] = x[g * K + k]


cdef void shuffle_pixel(float *y, const float *x, Py_ssize_t G, Py_ssize_t K) noexcept nogil:
    if G == 2:
        groups_inside(y, x, 2, K)
    elif G == 3:
        groups_inside(y, x, 3, K)
    elif G == 4:
        groups_inside(y, x, 4, K)
    elif G == 8:
        groups_inside(y, x, 8, K)
    elif K == 2:
        groups_outside(y, x, G, 2)
    elif K == 3:
        groups_outside(y, x, G, 3)
    elif K == 4:
        groups_outside(y, x, G, 4)
    elif K == 8:
        groups_outside(y, x, G, 8)
    elif G > K:
        groups_inside(y, x, G, K)
    else:
        groups_outside(y, x, G, K)


def channel_shuffle_f32(float[:, ::1] y, const float[:, ::1] x, tuple sizes, int threads):
    """y[m, k·G + g] = x[m, g·K + k]"""
    cdef Py_ssize_t M, C, G, m
    M, C, G = sizes
    if M * C == 0:
        return
    for m in prange(
        M, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=M * C >= WORTH_THREADS,
    ):
        shuffle_pixel(&y[m, 0], &x[m, 0], G, C // G)
