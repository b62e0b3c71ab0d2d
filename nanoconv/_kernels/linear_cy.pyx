"""A linear layer of one example by the kernel of compiled plans, for weights as eager has them.

linear_step.h reads packed weights as one stream. A plan packs them once; here each call does, which
takes longer than the layer itself: `gemm_cy.matmul_f32` reads them as they stand.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from .common cimport LINE, WORTH_THREADS, aligned, ceil_div
from .gemm cimport whole_vectors
from .step cimport Step, without_halo
from .steps_cy cimport kernels

cdef extern from "linear_step.h" nogil:
    const int CLAMP
    Py_ssize_t linear_panels(Py_ssize_t O)
    void linear_weights(
        float *packed, const float *w, Py_ssize_t O, Py_ssize_t K, Py_ssize_t p)


cdef inline Py_ssize_t lines(Py_ssize_t n) noexcept nogil:
    return ceil_div(n, LINE) * LINE


def packed_size(sizes):
    """How many floats the weights (O, C) are when packed; sizes (O, C)."""
    O, C = sizes
    return whole_vectors(O) * C


def pack_f32(float[::1] packed, const float[:, ::1] w, sizes):
    """w (O, C) in the panels of linear_step.h."""
    cdef Py_ssize_t O, C, p
    O, C = sizes
    for p in range(linear_panels(O)):
        linear_weights(&packed[0], &w[0, 0], O, C, p)


def gemv_f32(
    float[:, ::1] y, const float[:, :] x, const float[:, :] w, const float[::1] b,
    float[::1] scratch, sizes, int threads,
):
    """y[0, o] = b[o] + Σ_c x[0, c]·w[o, c].

    layout   x (1, C), y (1, O), w (O, C), contiguous; sizes (1, O, C)
    loops    panels of weights, packed; then those of linear_step.h
    tile     8 vectors of outputs
    why      as a plan does it once the weights are packed
    """
    cdef Py_ssize_t O, C, p, t
    _, O, C = sizes
    if O == 0:
        return
    cdef Py_ssize_t lanes = whole_vectors(O)
    cdef bint parallel = O * C > WORTH_THREADS
    cdef float *bias = aligned(&scratch[0])
    cdef float *out = bias + lines(lanes)
    cdef float *weights = out + lines(lanes)
    cdef const float *rows = &w[0, 0]
    cdef Step step
    memset(&step, 0, sizeof(Step))
    step.run = kernels.step_named("linear")
    step.x.at = <float *> &x[0, 0]
    step.y = without_halo(out, 1, 1, O, lanes, lanes)
    step.w = weights
    step.b = bias
    step.K = C
    step.activation = CLAMP
    step.low = -INFINITY
    step.high = INFINITY
    with nogil:
        memset(bias, 0, lanes * sizeof(float))
        memcpy(bias, &b[0], O * sizeof(float))
        for p in prange(
            linear_panels(O), schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            linear_weights(weights, rows, O, C, p)
        for t in prange(threads, schedule="static", num_threads=threads, use_threads_if=parallel):
            step.run(&step, t, threads)
        memcpy(&y[0, 0], out, O * sizeof(float))


def gemv_f32_scratch(sizes, int threads):
    _, O, C = sizes
    return whole_vectors(O) * C + 2 * lines(whole_vectors(O)) + LINE
