"""Winograd's convolution of a dense 3 × 3 window with stride 1, for calls one at a time.

winograd.h computes one image of a compiled plan, which has a halo and whole vectors of channels,
and whose weights were transformed beforehand. Here all of that is made first: worth it where the
image is large and has many channels, for then the products take longer than all around them.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from .common cimport LINE, WORTH_THREADS, Geometry, aligned, ceil_div, geometry
from .gemm cimport panel_count, whole_vectors
from .step cimport Barrier, Image, Step, run_team
from .steps_cy cimport kernels

cdef extern from "winograd.h" nogil:
    void winograd2_weights(
        float *packed, const float *w, Py_ssize_t O, Py_ssize_t C,
        Py_ssize_t first, Py_ssize_t last)
    void winograd4_weights(
        float *packed, const float *w, Py_ssize_t O, Py_ssize_t C,
        Py_ssize_t first, Py_ssize_t last)
    Py_ssize_t scratch_of_winograd "winograd_scratch"(
        Py_ssize_t m, Py_ssize_t C, Py_ssize_t O, Py_ssize_t H, Py_ssize_t W, Py_ssize_t T)


# ------------------------------------------------------------------------------ weights


cdef void transform(
    int m, float *packed, const float *w, Py_ssize_t O, Py_ssize_t C, int threads, bint parallel
) noexcept nogil:
    cdef Py_ssize_t p
    for p in prange(
        panel_count(O), schedule="static", num_threads=threads, use_threads_if=parallel
    ):
        if m == 2:
            winograd2_weights(packed, w, O, C, p, p + 1)
        else:
            winograd4_weights(packed, w, O, C, p, p + 1)


def winograd_weights(float[::1] packed, const float[:, :, :, ::1] w, int m, int threads):
    """U of the weights w (O, C, 3, 3) for F(m x m, 3 x 3), transformed and packed, for a plan."""
    with nogil:
        transform(m, &packed[0], &w[0, 0, 0, 0], w.shape[0], w.shape[1], threads, threads > 1)


def winograd_scratch(m, C, O, H, W, T):
    """Floats that each of T threads needs for F(m x m, 3 x 3) of an output of H x W pixels."""
    return scratch_of_winograd(m, C, O, H, W, T)


# ------------------------------------------------------------------------------ one call


cdef struct Parts:
    # Floats of each part of the scratch memory, whole cache lines.
    Py_ssize_t bias, weights, image, output, thread


cdef inline Py_ssize_t lines(Py_ssize_t n) noexcept nogil:
    return ceil_div(n, LINE) * LINE


cdef Image halo_image(int m, Geometry *s) noexcept nogil:
    """The input as the step reads it, with a halo that is as wide as the tiles reach."""
    cdef Image x
    x.H, x.W, x.C = s.H, s.W, s.C
    x.pitch = whole_vectors(s.C)
    x.top, x.left = s.pt, s.pl
    x.bottom = ceil_div(s.OH, m) * m + 2 - s.pt - s.H
    x.right = ceil_div(s.OW, m) * m + 2 - s.pl - s.W
    x.row = (x.left + x.W + x.right) * x.pitch
    return x


cdef Parts parts_of(int m, Geometry *s, int threads) noexcept nogil:
    cdef Parts p
    cdef Image x = halo_image(m, s)
    cdef Py_ssize_t lanes = whole_vectors(s.O)
    p.bias = lines(lanes)
    p.weights = lines((m + 2) * (m + 2) * s.C * lanes)
    p.image = lines((x.top + x.H + x.bottom) * x.row)
    p.output = 0 if s.O == lanes else lines(s.OH * s.OW * lanes)
    p.thread = scratch_of_winograd(m, s.C, s.O, s.OH, s.OW, threads)
    return p


cdef void fill(const Image *x, const float *pixels, int threads, bint parallel) noexcept nogil:
    """All rows of an image with its halo, from pixels without."""
    cdef Py_ssize_t h, w
    cdef float *row
    for h in prange(
        -x.top, x.H + x.bottom, schedule="static", num_threads=threads, use_threads_if=parallel
    ):
        row = x.at + h * x.row - x.left * x.pitch
        memset(row, 0, x.row * sizeof(float))
        if 0 <= h < x.H:
            for w in range(x.W):
                memcpy(
                    row + (x.left + w) * x.pitch, pixels + (h * x.W + w) * x.C,
                    x.C * sizeof(float),
                )


cdef convolve(
    int m, float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    cdef Geometry s = geometry(sizes)
    if s.N * s.OH * s.OW * s.O == 0:
        return
    cdef Parts parts = parts_of(m, &s, threads)
    cdef Py_ssize_t n, pixel, lanes = whole_vectors(s.O)
    cdef bint parallel = s.OH * s.OW * s.C * s.O * 9 > WORTH_THREADS
    cdef float *bias = aligned(&scratch[0])
    cdef float *weights = bias + parts.bias
    cdef float *image = weights + parts.weights
    cdef float *padded = image + parts.image
    cdef float *out = &y[0, 0, 0, 0]
    cdef const float *pixels = &x[0, 0, 0, 0]
    cdef const float *taps = &w[0, 0, 0, 0]
    cdef Barrier barrier
    cdef Step step
    memset(&barrier, 0, sizeof(barrier))
    memset(&step, 0, sizeof(step))
    step.run = kernels.step_named("winograd2" if m == 2 else "winograd4")
    step.x = halo_image(m, &s)
    step.x.at = image + step.x.top * step.x.row + step.x.left * step.x.pitch
    step.y.H, step.y.W, step.y.C = s.OH, s.OW, s.O
    step.y.pitch = lanes
    step.y.row = s.OW * lanes
    step.of.KH = step.of.KW = 3
    step.of.sh = step.of.sw = 1
    step.of.pt, step.of.pl = s.pt, s.pl
    step.w = weights
    step.b = bias
    step.K = s.C
    step.scratch = padded + parts.output
    step.scratch_floats = parts.thread
    step.low = -INFINITY
    step.high = INFINITY
    step.meet = &barrier
    with nogil:
        memset(bias, 0, lanes * sizeof(float))
        memcpy(bias, &b[0], s.O * sizeof(float))
        transform(m, weights, taps, s.O, s.C, threads, parallel)
        for n in range(s.N):
            fill(&step.x, pixels + n * s.H * s.W * s.C, threads, parallel)
            step.y.at = padded if parts.output else out + n * s.OH * s.OW * s.O
            run_team(&step, 1, &barrier, threads if parallel else 1)
            if parts.output:
                for pixel in range(s.OH * s.OW):
                    memcpy(
                        out + (n * s.OH * s.OW + pixel) * s.O, padded + pixel * lanes,
                        s.O * sizeof(float),
                    )


cdef Py_ssize_t convolve_scratch(int m, sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Parts p = parts_of(m, &s, threads)
    return p.bias + p.weights + p.image + p.output + threads * p.thread + LINE


def conv2d_winograd2_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """Y = Aᵀ·[Σ_c (G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A, two by two output pixels from 16 products instead of 36.

    layout   x (N, H, W, C), y (N, OH, OW, O), w (O, C, 3, 3)
    loops    weights; images → a copy with a halo → winograd.h
    tile     2 × 2 output pixels; the products have the tile of gemm.h
    why      loses hardly more digits than the sum itself, and small images have few pixels beyond
    """
    convolve(2, y, x, w, b, scratch, sizes, threads)


def conv2d_winograd2_f32_scratch(sizes, int threads):
    return convolve_scratch(2, sizes, threads)


def conv2d_winograd4_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """The same, four by four output pixels from 36 products instead of 144.

    layout   x (N, H, W, C), y (N, OH, OW, O), w (O, C, 3, 3)
    loops    weights; images → a copy with a halo → winograd.h
    tile     4 × 4 output pixels; the products have the tile of gemm.h
    why      the fewest products, for large images; four times the weights, and one digit less
    """
    convolve(4, y, x, w, b, scratch, sizes, threads)


def conv2d_winograd4_f32_scratch(sizes, int threads):
    return convolve_scratch(4, sizes, threads)
