"""Losses that compare two arrays number by number, and their gradients, over flat arrays.

Layout: any; the arrays are flat and the elements independent.
Loops: blocks of 4096 elements, shared among the threads; in a block, a loop of `loss.h`.
Tile: one vector of elements, as wide as the instruction set that this is compiled for.
Why: a loss should cost no more than reading its arrays once. In NumPy each step of the formula is
    one more pass over memory, and a choice between two values computes both of them, whole.
"""

from cython.parallel cimport prange

ctypedef void (*loss_map)(
    float *y, const float *x, const float *t, Py_ssize_t n, float p
) noexcept nogil
ctypedef void (*slope_map)(
    float *dx, const float *dy, const float *x, const float *t, Py_ssize_t n, float p
) noexcept nogil

cdef extern from "loss.h":
    loss_map map_mse_loss, map_l1_loss, map_smooth_l1_loss, map_huber_loss
    loss_map map_kl_div, map_kl_div_log, map_binary_cross_entropy
    loss_map map_binary_cross_entropy_with_logits, map_sigmoid_focal_loss
    slope_map map_mse_loss_by_x, map_l1_loss_by_x, map_smooth_l1_loss_by_x, map_huber_loss_by_x
    slope_map map_kl_div_by_x, map_kl_div_by_t, map_kl_div_log_by_x, map_kl_div_log_by_t
    slope_map map_binary_cross_entropy_by_x, map_binary_cross_entropy_by_t
    slope_map map_binary_cross_entropy_with_logits_by_x, map_binary_cross_entropy_with_logits_by_t
    slope_map map_sigmoid_focal_loss_by_x, map_sigmoid_focal_loss_by_t

cdef enum:
    BLOCK = 4096
    WORTH_THREADS = 16 * BLOCK


cdef class Loss:
    """The body of one loss: `body(y, x, t, [p,] sizes, threads)`."""

    cdef loss_map f

    def __call__(self, float[::1] y, const float[::1] x, const float[::1] t, *rest):
        *numbers, sizes, threads = rest
        cdef float p = numbers[0] if numbers else 0
        cdef Py_ssize_t n = sizes[0], k
        cdef int team = threads
        for k in prange(
            (n + BLOCK - 1) // BLOCK,
            nogil=True, num_threads=team, schedule="static", use_threads_if=n >= WORTH_THREADS,
        ):
            self.f(&y[k * BLOCK], &x[k * BLOCK], &t[k * BLOCK], min(BLOCK, n - k * BLOCK), p)


cdef class Slope:
    """The body of one gradient: `body(dx, dy, x, t, [p,] sizes, threads)`."""

    cdef slope_map f

    def __call__(
        self, float[::1] dx, const float[::1] dy, const float[::1] x, const float[::1] t, *rest
    ):
        *numbers, sizes, threads = rest
        cdef float p = numbers[0] if numbers else 0
        cdef Py_ssize_t n = sizes[0], k
        cdef int team = threads
        for k in prange(
            (n + BLOCK - 1) // BLOCK,
            nogil=True, num_threads=team, schedule="static", use_threads_if=n >= WORTH_THREADS,
        ):
            self.f(
                &dx[k * BLOCK], &dy[k * BLOCK], &x[k * BLOCK], &t[k * BLOCK],
                min(BLOCK, n - k * BLOCK), p,
            )


cdef Loss loss(loss_map f):
    cdef Loss body = Loss()
    body.f = f
    return body


cdef Slope slope(slope_map f):
    cdef Slope body = Slope()
    body.f = f
    return body


mse_loss_f32 = loss(map_mse_loss)
mse_loss_by_x_f32 = slope(map_mse_loss_by_x)
l1_loss_f32 = loss(map_l1_loss)
l1_loss_by_x_f32 = slope(map_l1_loss_by_x)
smooth_l1_loss_f32 = loss(map_smooth_l1_loss)
smooth_l1_loss_by_x_f32 = slope(map_smooth_l1_loss_by_x)
huber_loss_f32 = loss(map_huber_loss)
huber_loss_by_x_f32 = slope(map_huber_loss_by_x)
kl_div_f32 = loss(map_kl_div)
kl_div_by_x_f32 = slope(map_kl_div_by_x)
kl_div_by_t_f32 = slope(map_kl_div_by_t)
kl_div_log_f32 = loss(map_kl_div_log)
kl_div_log_by_x_f32 = slope(map_kl_div_log_by_x)
kl_div_log_by_t_f32 = slope(map_kl_div_log_by_t)
binary_cross_entropy_f32 = loss(map_binary_cross_entropy)
binary_cross_entropy_by_x_f32 = slope(map_binary_cross_entropy_by_x)
binary_cross_entropy_by_t_f32 = slope(map_binary_cross_entropy_by_t)
binary_cross_entropy_with_logits_f32 = loss(map_binary_cross_entropy_with_logits)
binary_cross_entropy_with_logits_by_x_f32 = slope(map_binary_cross_entropy_with_logits_by_x)
binary_cross_entropy_with_logits_by_t_f32 = slope(map_binary_cross_entropy_with_logits_by_t)
sigmoid_focal_loss_f32 = loss(map_sigmoid_focal_loss)
sigmoid_focal_loss_by_x_f32 = slope(map_sigmoid_focal_loss_by_x)
sigmoid_focal_loss_by_t_f32 = slope(map_sigmoid_focal_loss_by_t)
