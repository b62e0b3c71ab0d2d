"""Depthwise convolution by the tiles of compiled plans, for images as eager mode has them.

A plan keeps its images with a halo and in whole vectors of channels; depthwise_rows.h reads no
others. Here the rows that a window sees are copied into such rows of each thread's own, a few at a
time, so that the copies are still in the cache when they are read:

    x    row 0   row 1   row 2   row 3   row 4  …
           ↓       ↓       ↓       ↓       ↓
    ring  [0]     [1]     [2]     [3]     [0]        3 × 3 taps, 2 rows of y at once: 4 slots

A row above or below the image is one row of zeros, the same for all.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from .common cimport LINE, WORTH_THREADS, Geometry, aligned, ceil_div, geometry
from .step cimport Step, Window, without_halo
from .steps_cy cimport kernels

cdef extern from "depthwise_rows.h" nogil:
    const Py_ssize_t LANES
    const Py_ssize_t DEPTHWISE_INPUTS
    const int CLAMP
    void depthwise_pack(float *packed, const float *w, Py_ssize_t taps, Py_ssize_t C)
    void copy_floats(float *to, const float *source, Py_ssize_t n)


cdef inline Py_ssize_t whole_vectors(Py_ssize_t C) noexcept nogil:
    return ceil_div(C, LANES) * LANES


# ------------------------------------------------------------------------------ weights


def packed_size(sizes):
    """How many floats the weights (KH, KW, C) are when packed; sizes (KH, KW, C)."""
    KH, KW, C = sizes
    return KH * KW * whole_vectors(C)


def pack_f32(float[::1] packed, const float[:, :, ::1] w, sizes):
    """w (KH, KW, C) in the order in which the tiles read it: (C / LANES, KH, KW, LANES)."""
    KH, KW, C = sizes
    if KH * KW * C:
        depthwise_pack(&packed[0], &w[0, 0, 0], KH * KW, C)


# ------------------------------------------------------------------------------ rows


cdef inline Py_ssize_t ring_rows(Geometry *s) noexcept nogil:
    return (s.KH - 1) * s.dh + 1 + s.sh         # two rows of y see so many rows of x


cdef inline Py_ssize_t ring_width(Geometry *s) noexcept nogil:
    return (s.OW - 1) * s.sw + (s.KW - 1) * s.dw + 1


cdef inline Py_ssize_t private_floats(Geometry *s) noexcept nogil:
    # Of each thread: zeros, the ring, and two rows of y where y itself has no whole vectors.
    cdef Py_ssize_t pitch = whole_vectors(s.C)
    cdef Py_ssize_t floats = (1 + ring_rows(s)) * ring_width(s) * pitch
    if pitch > s.C:
        floats += 2 * s.OW * pitch
    return ceil_div(floats, LINE) * LINE


cdef inline void copy_pixels(
    float *to, Py_ssize_t to_pitch, const float *source, Py_ssize_t pitch, Py_ssize_t C,
    Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t k
    if to_pitch == pitch:
        memcpy(to, source, n * C * sizeof(float))
    else:
        for k in range(n):
            copy_floats(to + k * to_pitch, source + k * pitch, C)


cdef void band(
    const Step *step, Geometry *s, float *y, const float *x, float *private,
    Py_ssize_t begin, Py_ssize_t end,
) noexcept nogil:
    """The rows begin ≤ n·OH + i < end of y."""
    cdef const float *rows[DEPTHWISE_INPUTS]
    cdef float *out[2]
    cdef Py_ssize_t pitch = step.x.pitch, row = begin, image = -1, ring = ring_rows(s)
    cdef Py_ssize_t width = ring_width(s) * pitch, left = min(s.pl, ring_width(s))
    cdef Py_ssize_t columns = min(s.W, ring_width(s) - left), right
    cdef Py_ssize_t n, i, h, k, first, count, inputs
    cdef Py_ssize_t fresh = 0                   # from this row of x on none is in the ring
    cdef float *slots = private + width
    cdef float *results = slots + ring * width
    # Copies fill all of a slot but for what is beside the image, and lanes that are no channels.
    for k in range(1 + ring):
        if k == 0 or pitch > s.C:
            memset(private + k * width, 0, width * sizeof(float))
        else:
            right = (left + columns) * pitch
            memset(private + k * width, 0, left * pitch * sizeof(float))
            memset(private + k * width + right, 0, (width - right) * sizeof(float))
    while row < end:
        n = row // s.OH
        i = row - n * s.OH
        count = min(min(2, s.OH - i), end - row)
        first = i * s.sh - s.pt
        inputs = (count - 1) * s.sh + (s.KH - 1) * s.dh + 1
        fresh = max(0, first) if n != image else max(fresh, first)
        image = n
        while fresh < min(first + inputs, s.H):
            copy_pixels(
                slots + fresh % ring * width + left * pitch, pitch,
                x + (n * s.H + fresh) * s.W * s.C, s.C, s.C, columns,
            )
            fresh += 1
        for k in range(inputs):
            h = first + k
            rows[k] = slots + h % ring * width if 0 <= h < s.H else private
        for k in range(count):
            out[k] = results + k * s.OW * pitch if pitch > s.C else y + (row + k) * s.OW * s.C
        kernels.depthwise_rows(step, rows, out, NULL, count)
        for k in range(count if pitch > s.C else 0):
            copy_pixels(y + (row + k) * s.OW * s.C, s.C, out[k], pitch, s.C, s.OW)
        row += count


def depthwise_rows_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """y[n,i,j,c] = b[c] + Σ_{u,v} x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, c]·w[u,v,c].

    layout   x (N, H, W, C), y (N, OH, OW, C), w (KH, KW, C)
    loops    bands of rows, one per thread → two rows → those of depthwise_rows.h
    tile     that of depthwise_rows.h: with 32 registers of 16 floats: 2 × 7 pixels × 16 channels
    why      the copy costs less than a window that must ask at each tap where the image ends
    """
    cdef Geometry s = geometry(sizes)
    cdef Step step
    cdef Py_ssize_t part, taps = s.KH * s.KW, pitch = whole_vectors(s.C), rows = s.N * s.OH
    cdef Py_ssize_t private = private_floats(&s)
    if rows * s.OW * s.C == 0:
        return
    cdef float *bias = aligned(&scratch[0])
    cdef float *packed = bias + ceil_div(pitch, LINE) * LINE
    cdef float *privates = packed + ceil_div(taps * pitch, LINE) * LINE
    cdef float *out = &y[0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0] if s.H * s.W else NULL
    memset(&step, 0, sizeof(Step))
    memset(bias, 0, pitch * sizeof(float))
    memcpy(bias, &b[0], s.C * sizeof(float))
    depthwise_pack(packed, &w[0, 0, 0], taps, s.C)
    step.x = without_halo(NULL, s.H, s.W, s.C, pitch, s.W * pitch)
    step.y = without_halo(NULL, s.OH, s.OW, s.C, pitch, s.OW * pitch)
    step.of = Window(s.KH, s.KW, s.sh, s.sw, s.pt, s.pl, s.dh, s.dw, s.G)
    step.w = packed
    step.b = bias
    step.activation = CLAMP
    step.low = -INFINITY
    step.high = INFINITY
    for part in prange(
        threads, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=rows * s.OW * s.C * taps > WORTH_THREADS,
    ):
        band(
            &step, &s, out, image, privates + part * private,
            part * rows // threads, (part + 1) * rows // threads,
        )


def depthwise_rows_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t pitch = ceil_div(s.C, LINE) * LINE
    return (1 + s.KH * s.KW) * pitch + threads * private_floats(&s) + LINE
