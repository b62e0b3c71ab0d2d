"""Local response norm: each number by the squares of its neighbours in the channels of one pixel.

Layout: x is (M, C), M pixels of C channels, C-contiguous.
Loops: pixels, shared among the threads; then taps of the window; innermost the channels.
Tile: one pixel. Its squares lie in a row of scratch with zeros at both ends, so that no tap has to
    ask where the channels end.
Why: channels are neighbours in memory, so the windows of 8 or 16 of them are added up at once. The
    power 3/4 of the paper is two square roots, a tenth of the time of `powf`.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, powf, sqrtf
from libc.string cimport memset

cdef enum:
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 13  # elements, of some ten operations each


cdef inline Py_ssize_t room_of(Py_ssize_t C, Py_ssize_t size) noexcept nogil:
    """Floats of a thread's scratch: squares, or gradients, with their zeros; sums; powers."""
    return (3 * C + size + 2 * LINE - 1) // LINE * LINE


def local_response_norm_f32_scratch(sizes, threads):
    _, C, size = sizes
    return room_of(C, size) * threads


local_response_norm_backward_f32_scratch = local_response_norm_f32_scratch


cdef void add_windows(
    float *total, const float *room, float first, float factor, Py_ssize_t C, Py_ssize_t size
) noexcept nogil:
    """total[c] = first + factor · Σ_t room[c + t], t below `size`."""
    cdef Py_ssize_t c, t
    memset(total, 0, C * sizeof(float))
    for t in range(size):
        for c in range(C):
            total[c] += room[c + t]
    for c in range(C):
        total[c] = first + factor * total[c]


cdef void powers(float *p, const float *d, float beta, Py_ssize_t C) noexcept nogil:
    """p = d^beta; as for powf, that of −∞ is ∞."""
    cdef Py_ssize_t c
    cdef float root
    if beta == 0.75:
        for c in range(C):
            root = sqrtf(INFINITY if d[c] == -INFINITY else d[c])
            p[c] = root * sqrtf(root)
    else:
        for c in range(C):
            p[c] = powf(d[c], beta)


cdef void divisors(
    float *room, const float *x, float alpha, float beta, float k, Py_ssize_t C, Py_ssize_t size
) noexcept nogil:
    """Behind the C + size places of padded squares: d, and behind it d^beta."""
    cdef Py_ssize_t c, before = size // 2
    cdef float *d = room + C + size
    memset(room, 0, before * sizeof(float))
    memset(room + before + C, 0, (size - before) * sizeof(float))
    for c in range(C):
        room[before + c] = x[c] * x[c]
    add_windows(d, room, k, alpha / size, C, size)
    powers(d + C, d, beta, C)


cdef void norm_pixel(
    float *y, float *room, const float *x, float alpha, float beta, float k, Py_ssize_t C,
    Py_ssize_t size,
) noexcept nogil:
    cdef Py_ssize_t c
    cdef const float *p = room + 2 * C + size
    divisors(room, x, alpha, beta, k, C, size)
    for c in range(C):
        y[c] = x[c] / p[c]


def local_response_norm_f32(
    float[:, ::1] y, const float[:, ::1] x, float alpha, float beta, float k, float[::1] scratch,
    tuple sizes, int threads,
):
    """y = x / (k + alpha/size · Σ x²)^beta, the sum over the channels from c - size//2 on."""
    cdef Py_ssize_t M, C, size, m
    M, C, size = sizes
    if M * C == 0:
        return
    for m in prange(
        M, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=M * C >= WORTH_THREADS,
    ):
        norm_pixel(
            &y[m, 0], &scratch[threadid() * room_of(C, size)], &x[m, 0], alpha, beta, k, C, size
        )


cdef void grad_pixel(
    float *dx, float *room, const float *dy, const float *x, float alpha, float beta, float k,
    Py_ssize_t C, Py_ssize_t size,
) noexcept nogil:
    """dx = dy/p - 2·alpha·beta/size · x · Σ dy·x/(p·d), over the windows that contain c."""
    cdef Py_ssize_t c, before = size - 1 - size // 2
    cdef float *d = room + C + size
    cdef float *p = d + C
    divisors(room, x, alpha, beta, k, C, size)
    memset(room, 0, before * sizeof(float))
    memset(room + before + C, 0, (size - before) * sizeof(float))
    for c in range(C):
        room[before + c] = dy[c] * (x[c] / p[c] / d[c])
    add_windows(d, room, 0, 2 * alpha * beta / size, C, size)
    for c in range(C):
        dx[c] = dy[c] / p[c] - x[c] * d[c]


def local_response_norm_backward_f32(
    float[:, ::1] dx, const float[:, ::1] dy, const float[:, ::1] x, float alpha, float beta,
    float k, float[::1] scratch, tuple sizes, int threads,
):
    """The gradient by x."""
    cdef Py_ssize_t M, C, size, m
    M, C, size = sizes
    if M * C == 0:
        return
    for m in prange(
        M, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=M * C >= WORTH_THREADS,
    ):
        grad_pixel(
            &dx[m, 0], &scratch[threadid() * room_of(C, size)], &dy[m, 0], &x[m, 0], alpha, beta,
            k, C, size,
        )
