"""Activations: y = f(x) and dx = f'(x) · dy over flat arrays, and the gate of glu.

Gradients get x, those of sigmoid and tanh y in its place.

Layout: any; the arrays are flat and the elements independent. glu: (M, 2, K), of which [:, 0] is
    gated by [:, 1].
Loops: blocks of 4096 elements, shared among the threads; in a block, a loop of `activation.h`.
    glu: rows of K elements, shared among the threads.
Tile: one vector of elements, as wide as the instruction set that this is compiled for.
Why: an activation should cost no more than reading and writing its arrays, but the C library's
    scalar expf takes ten times as long. The selects and the polynomials of `activation.h` and
    `math_f32.h` are vectorised by the compiler. A block pays for the call through a pointer.

Error against the exact value, in units in the last place, except where the value is subnormal:
below 3 for sigmoid, tanh, silu, elu, selu, softplus, logsigmoid and softsign, below 4 for mish.
Where e is raised to something that is rounded itself: below 3 + |x/alpha| for celu, 6 + x² for
gelu, and 4 + 2·|x| + |x|³ for its approximation by tanh.
"""

from cython.parallel cimport prange

cdef extern from "activation.h":
    ctypedef struct attributes:
        float a, b

ctypedef void (*forward_map)(float *y, const float *x, Py_ssize_t n, attributes p) noexcept nogil
ctypedef void (*backward_map)(
    float *dx, const float *dy, const float *x, Py_ssize_t n, attributes p
) noexcept nogil

cdef extern from "activation.h":
    forward_map map_relu, map_relu6, map_leaky_relu, map_hardsigmoid, map_hardswish
    forward_map map_hardtanh, map_threshold, map_hardshrink, map_softshrink
    forward_map map_sigmoid, map_tanh, map_silu, map_elu, map_selu, map_celu
    forward_map map_gelu, map_gelu_tanh, map_mish, map_softplus, map_softsign, map_logsigmoid
    backward_map map_relu_backward, map_relu6_backward, map_leaky_relu_backward
    backward_map map_hardsigmoid_backward, map_hardswish_backward, map_hardtanh_backward
    backward_map map_threshold_backward, map_hardshrink_backward, map_softshrink_backward
    backward_map map_sigmoid_backward, map_tanh_backward, map_silu_backward
    backward_map map_elu_backward, map_selu_backward, map_celu_backward
    backward_map map_gelu_backward, map_gelu_tanh_backward, map_mish_backward
    backward_map map_softplus_backward, map_softsign_backward, map_logsigmoid_backward

    void glu_row(float *y, const float *a, const float *b, Py_ssize_t n) noexcept nogil
    void glu_row_backward(
        float *da, float *db, const float *dy, const float *a, const float *b, Py_ssize_t n
    ) noexcept nogil

cdef enum:
    BLOCK = 4096
    WORTH_THREADS = 32 * BLOCK


cdef attributes attributes_of(list numbers):
    cdef attributes p
    p.a = numbers[0] if numbers else 0
    p.b = numbers[1] if len(numbers) > 1 else 0
    return p


cdef class Forward:
    """The body of one activation: `body(y, x, *attributes, sizes, threads)`."""

    cdef forward_map f

    def __call__(self, float[::1] y, const float[::1] x, *rest):
        *numbers, sizes, threads = rest
        cdef attributes p = attributes_of(numbers)
        cdef Py_ssize_t n = sizes[0], k
        cdef int team = threads
        for k in prange(
            (n + BLOCK - 1) // BLOCK,
            nogil=True, num_threads=team, schedule="static", use_threads_if=n >= WORTH_THREADS,
        ):
            self.f(&y[k * BLOCK], &x[k * BLOCK], min(BLOCK, n - k * BLOCK), p)


cdef class Backward:
    """The body of one gradient: `body(dx, dy, x, *attributes, sizes, threads)`."""

    cdef backward_map df

    def __call__(self, float[::1] dx, const float[::1] dy, const float[::1] x, *rest):
        *numbers, sizes, threads = rest
        cdef attributes p = attributes_of(numbers)
        cdef Py_ssize_t n = sizes[0], k
        cdef int team = threads
        for k in prange(
            (n + BLOCK - 1) // BLOCK,
            nogil=True, num_threads=team, schedule="static", use_threads_if=n >= WORTH_THREADS,
        ):
            self.df(&dx[k * BLOCK], &dy[k * BLOCK], &x[k * BLOCK], min(BLOCK, n - k * BLOCK), p)


cdef tuple bodies(forward_map f, backward_map df):
    cdef Forward forward = Forward()
    cdef Backward backward = Backward()
    forward.f = f
    backward.df = df
    return forward, backward


# ------------------------------------------------------------------------------- piecewise linear

relu_f32, relu_backward_f32 = bodies(map_relu, map_relu_backward)
relu6_f32, relu6_backward_f32 = bodies(map_relu6, map_relu6_backward)
leaky_relu_f32, leaky_relu_backward_f32 = bodies(map_leaky_relu, map_leaky_relu_backward)
hardsigmoid_f32, hardsigmoid_backward_f32 = bodies(map_hardsigmoid, map_hardsigmoid_backward)
hardswish_f32, hardswish_backward_f32 = bodies(map_hardswish, map_hardswish_backward)
hardtanh_f32, hardtanh_backward_f32 = bodies(map_hardtanh, map_hardtanh_backward)
threshold_f32, threshold_backward_f32 = bodies(map_threshold, map_threshold_backward)
hardshrink_f32, hardshrink_backward_f32 = bodies(map_hardshrink, map_hardshrink_backward)
softshrink_f32, softshrink_backward_f32 = bodies(map_softshrink, map_softshrink_backward)

# ------------------------------------------------------------------------------- smooth

sigmoid_f32, sigmoid_backward_f32 = bodies(map_sigmoid, map_sigmoid_backward)
tanh_f32, tanh_backward_f32 = bodies(map_tanh, map_tanh_backward)
silu_f32, silu_backward_f32 = bodies(map_silu, map_silu_backward)
elu_f32, elu_backward_f32 = bodies(map_elu, map_elu_backward)
selu_f32, selu_backward_f32 = bodies(map_selu, map_selu_backward)
celu_f32, celu_backward_f32 = bodies(map_celu, map_celu_backward)
gelu_f32, gelu_backward_f32 = bodies(map_gelu, map_gelu_backward)
gelu_tanh_f32, gelu_tanh_backward_f32 = bodies(map_gelu_tanh, map_gelu_tanh_backward)
mish_f32, mish_backward_f32 = bodies(map_mish, map_mish_backward)
softplus_f32, softplus_backward_f32 = bodies(map_softplus, map_softplus_backward)
softsign_f32, softsign_backward_f32 = bodies(map_softsign, map_softsign_backward)
logsigmoid_f32, logsigmoid_backward_f32 = bodies(map_logsigmoid, map_logsigmoid_backward)


# ------------------------------------------------------------------------------- glu


def glu_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y[m, k] = x[m, 0, k] · s(x[m, 1, k]), s the sigmoid"""
    cdef Py_ssize_t M, K, m
    M, K = sizes
    if M * K == 0:
        return
    for m in prange(
        M, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=M * K >= WORTH_THREADS,
    ):
        glu_row(&y[m * K], &x[2 * m * K], &x[(2 * m + 1) * K], K)


def glu_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx[m, 0] = dy · s(x[m, 1]) and dx[m, 1] = dy · x[m, 0] · s'(x[m, 1])"""
    cdef Py_ssize_t M, K, m
    M, K = sizes
    if M * K == 0:
        return
    for m in prange(
        M, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=M * K >= WORTH_THREADS,
    ):
        glu_row_backward(
            &dx[2 * m * K], &dx[(2 * m + 1) * K], &dy[m * K],
            &x[2 * m * K], &x[(2 * m + 1) * K], K,
        )
