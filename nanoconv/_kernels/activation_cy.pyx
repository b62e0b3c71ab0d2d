"""Activations: y = f(x) and dx = f'(x) · dy over flat arrays.

Layout: any; the arrays are flat and the elements independent.
Loops: blocks of 4096 elements, shared among the threads; in a block, a loop of `activation.h`.
Tile: one vector of elements, as wide as the instruction set that this is compiled for.
Why: an activation should cost no more than reading and writing its arrays, but the C library's
    scalar expf takes ten times as long. The selects and the polynomial of `activation.h` and
    `math_f32.h` are vectorised by the compiler. A block pays for the call through a pointer.

Error against the exact value: sigmoid, tanh and silu below 3 units in the last place, except where
silu itself is subnormal (x < -87).
"""

from cython.parallel cimport prange

ctypedef void (*forward_map)(float *y, const float *x, Py_ssize_t n, float p) noexcept nogil
ctypedef void (*backward_map)(
    float *dx, const float *dy, const float *x, Py_ssize_t n, float p
) noexcept nogil

cdef extern from "activation.h":
    forward_map map_relu, map_relu6, map_leaky_relu, map_hardsigmoid, map_hardswish
    forward_map map_sigmoid, map_tanh, map_silu
    backward_map map_relu_backward, map_relu6_backward, map_leaky_relu_backward
    backward_map map_hardsigmoid_backward, map_hardswish_backward
    backward_map map_sigmoid_backward, map_tanh_backward, map_silu_backward

cdef enum:
    BLOCK = 4096
    WORTH_THREADS = 16 * BLOCK


cdef void forward(
    forward_map f, float[::1] y, const float[::1] x, float p, tuple sizes, int threads
):
    cdef Py_ssize_t n = sizes[0], k
    for k in prange(
        (n + BLOCK - 1) // BLOCK,
        nogil=True, num_threads=threads, schedule="static", use_threads_if=n >= WORTH_THREADS,
    ):
        f(&y[k * BLOCK], &x[k * BLOCK], min(BLOCK, n - k * BLOCK), p)


cdef void backward(
    backward_map df, float[::1] dx, const float[::1] dy, const float[::1] x, float p,
    tuple sizes, int threads,
):
    cdef Py_ssize_t n = sizes[0], k
    for k in prange(
        (n + BLOCK - 1) // BLOCK,
        nogil=True, num_threads=threads, schedule="static", use_threads_if=n >= WORTH_THREADS,
    ):
        df(&dx[k * BLOCK], &dy[k * BLOCK], &x[k * BLOCK], min(BLOCK, n - k * BLOCK), p)


def relu_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = max(x, 0)"""
    forward(map_relu, y, x, 0, sizes, threads)


def relu_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy where x > 0, else 0"""
    backward(map_relu_backward, dx, dy, x, 0, sizes, threads)


def relu6_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = min(max(x, 0), 6)"""
    forward(map_relu6, y, x, 0, sizes, threads)


def relu6_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy where 0 < x < 6, else 0"""
    backward(map_relu6_backward, dx, dy, x, 0, sizes, threads)


def leaky_relu_f32(float[::1] y, const float[::1] x, float slope, tuple sizes, int threads):
    """y = x where x > 0, else slope · x"""
    forward(map_leaky_relu, y, x, slope, sizes, threads)


def leaky_relu_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, float slope,
    tuple sizes, int threads,
):
    """dx = dy where x > 0, else slope · dy"""
    backward(map_leaky_relu_backward, dx, dy, x, slope, sizes, threads)


def hardsigmoid_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = min(max(x + 3, 0), 6) / 6"""
    forward(map_hardsigmoid, y, x, 0, sizes, threads)


def hardsigmoid_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy / 6 where -3 < x < 3, else 0"""
    backward(map_hardsigmoid_backward, dx, dy, x, 0, sizes, threads)


def hardswish_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = x · min(max(x + 3, 0), 6) / 6"""
    forward(map_hardswish, y, x, 0, sizes, threads)


def hardswish_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy · (x / 3 + 1/2) where -3 < x < 3, dy above, 0 below"""
    backward(map_hardswish_backward, dx, dy, x, 0, sizes, threads)


def sigmoid_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = s(x) = 1 / (1 + e^-x)"""
    forward(map_sigmoid, y, x, 0, sizes, threads)


def sigmoid_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy · s(x) · (1 - s(x))"""
    backward(map_sigmoid_backward, dx, dy, x, 0, sizes, threads)


def tanh_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = tanh(x)"""
    forward(map_tanh, y, x, 0, sizes, threads)


def tanh_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy · (1 - tanh²(x))"""
    backward(map_tanh_backward, dx, dy, x, 0, sizes, threads)


def silu_f32(float[::1] y, const float[::1] x, tuple sizes, int threads):
    """y = x · s(x), s the sigmoid"""
    forward(map_silu, y, x, 0, sizes, threads)


def silu_backward_f32(
    float[::1] dx, const float[::1] dy, const float[::1] x, tuple sizes, int threads
):
    """dx = dy · (s(x) + x · s(x) · (1 - s(x)))"""
    backward(map_silu_backward, dx, dy, x, 0, sizes, threads)
