"""Dense and grouped convolution by the tiles of compiled plans, for images as eager mode has them.

conv_steps.h reads an image with a halo, and needs no other copy of it: no im2col. Where a window
sees padding, the rows that some rows of y see are copied, with zeros around them, a few at a time,
so that the copies are still in the cache when they are read:

    x   ▪ ▪ ▪ ▪        · ▪ ▪ ▪ ▪ ·
        ▪ ▪ ▪ ▪   →    · ▪ ▪ ▪ ▪ ·      3 × 3 taps: two rows of y see four of x
        ▪ ▪ ▪ ▪        · ▪ ▪ ▪ ▪ ·
        ▪ ▪ ▪ ▪        · ▪ ▪ ▪ ▪ ·

Without padding the image itself is read.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset

from .common cimport IN_L2, LINE, WORTH_THREADS, Geometry, aligned, ceil_div, geometry
from .gemm cimport LANES, panel_begin, panel_count, whole_vectors
from .step cimport Step, Window, without_halo
from .steps_cy cimport Rows, kernels

cdef extern from "conv_steps.h" nogil:
    const Py_ssize_t FEW_PIXELS
    const int CLAMP
    void conv_weights(
        float *packed, const float *w, Py_ssize_t N, Py_ssize_t C, Py_ssize_t taps, Py_ssize_t p)


cdef inline Py_ssize_t lines(Py_ssize_t n) noexcept nogil:
    return ceil_div(n, LINE) * LINE


# ------------------------------------------------------------------------------ weights


def packed_size(sizes):
    """How many floats the weights are when packed; sizes (O, C/G, KH, KW, G)."""
    O, Cg, KH, KW, G = sizes
    return G * KH * KW * Cg * whole_vectors(O // G)


def pack_f32(float[::1] packed, const float[:, :, :, ::1] w, sizes):
    """w (O, C/G, KH, KW) as conv_steps.h reads it: the panels of gemm.h, group by group."""
    cdef Py_ssize_t O, Cg, KH, KW, G, g, p
    O, Cg, KH, KW, G = sizes
    cdef Py_ssize_t taps = KH * KW, group = packed_size(sizes) // G
    for g in range(G):
        for p in range(panel_count(O // G)):
            conv_weights(
                &packed[g * group], &w[g * (O // G), 0, 0, 0], O // G, Cg, taps, p)


# ------------------------------------------------------------------------------ what is read


cdef inline Geometry flat(Geometry s) noexcept nogil:
    """Where one tap sees every pixel, all images are one row."""
    if (
        s.KH * s.KW == 1 and s.pt == s.pl == 0 and s.OH == s.H and s.OW == s.W
        and s.sh == s.sw == 1
    ):
        s.OW = s.W = s.N * s.OH * s.OW
        s.N = s.H = s.OH = 1
    return s


cdef inline Py_ssize_t seen_rows(Geometry *s, Py_ssize_t count) noexcept nogil:
    """How many rows of x, those outside of it too, `count` rows of y see."""
    return (count - 1) * s.sh + (s.KH - 1) * s.dh + 1


cdef inline Py_ssize_t seen_columns(Geometry *s) noexcept nogil:
    return (s.OW - 1) * s.sw + (s.KW - 1) * s.dw + 1


cdef inline bint in_place(Geometry *s) noexcept nogil:
    return s.pt == s.pl == 0 and seen_rows(s, s.OH) <= s.H and seen_columns(s) <= s.W


cdef inline bint by_table(Geometry *s) noexcept nogil:
    """True if what a pixel sees of a row is not one run of floats."""
    return s.KW > 1 and (s.G > 1 or s.dw > 1)


cdef inline Py_ssize_t band_rows(Geometry *s) noexcept nogil:
    """As many rows of y as see what fits half of L2, but most of a copy must be new."""
    cdef Py_ssize_t fitting = max(IN_L2 // (seen_columns(s) * s.C), 2 * seen_rows(s, 1))
    return s.OH if in_place(s) else min((fitting - seen_rows(s, 1)) // s.sh + 1, s.OH)


cdef void copy_band(
    float *to, const float *x, Geometry *s, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """The rows from `first` on of one image, with what windows see beside and between them."""
    cdef Py_ssize_t width = seen_columns(s) * s.C, left = min(s.pl * s.C, width)
    cdef Py_ssize_t inside = min(s.W * s.C, width - left), h
    for h in range(first, first + count):
        if 0 <= h < s.H:
            memset(to, 0, left * sizeof(float))
            memcpy(to + left, x + h * s.W * s.C, inside * sizeof(float))
            memset(to + left + inside, 0, (width - left - inside) * sizeof(float))
        else:
            memset(to, 0, width * sizeof(float))
        to += width


# ------------------------------------------------------------------------------ convolution


cdef inline bint panels_shared(Geometry *s, int threads) noexcept nogil:
    """True if threads share out panels of weights, each for all pixels."""
    cdef Py_ssize_t panels = panel_count(s.Og)
    return (
        s.G == 1 and s.N * s.H * s.W * s.C <= IN_L2
        and (panels % threads == 0 or panels >= 4 * threads)
    )


cdef struct Parts:
    # Floats of each part of the scratch memory, whole cache lines.
    Py_ssize_t bias, weights, table, band


cdef Parts parts_of(Geometry *s) noexcept nogil:
    cdef Parts p
    cdef Py_ssize_t lanes = s.G * whole_vectors(s.Og)
    p.bias = lines(lanes)
    p.weights = lines(s.KH * s.KW * s.Cg * lanes)
    p.table = lines(s.KW * s.C) if by_table(s) else 0
    p.band = 0
    if not in_place(s):
        p.band = lines(seen_rows(s, band_rows(s)) * seen_columns(s) * s.C)
    return p


cdef void fill_table(int32_t *table, Geometry *s) noexcept nogil:
    """table[g, v, c]: how far it is from the first tap of a row to channel c of tap v."""
    cdef Py_ssize_t g, v, c
    for g in range(s.G):
        for v in range(s.KW):
            for c in range(s.Cg):
                table[(g * s.KW + v) * s.Cg + c] = <int32_t> (v * s.dw * s.C + g * s.Cg + c)


cdef void some_pixels(
    const Step *step, Geometry *s, float *y, const float *x, float *band,
    Py_ssize_t begin, Py_ssize_t end, Py_ssize_t v0, Py_ssize_t v1,
) noexcept nogil:
    """The pixels begin ≤ m < end of y, and of each group the vectors v0 ≤ v < v1."""
    cdef Py_ssize_t m = begin, row, n, i, last
    cdef Rows at
    at.r = NULL
    at.r_row = 0
    at.W = s.OW
    at.x_row = s.sh * step.x.row
    at.y_row = step.y.row
    while m < end:
        row = m // s.OW
        n = row // s.OH
        i = row - n * s.OH
        last = min(end, (row + min(band_rows(s), s.OH - i)) * s.OW)
        at.y = y + row * s.OW * s.O
        at.x = x + n * s.H * s.W * s.C
        if in_place(s):
            at.x += i * at.x_row
        else:
            copy_band(
                band, at.x, s, i * s.sh - s.pt, seen_rows(s, ceil_div(last, s.OW) - row)
            )
            at.x = band
        kernels.conv_blocks(step, &at, m - row * s.OW, last - row * s.OW, v0, v1)
        m = last


def conv2d_tiles_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """y[n,i,j,o] = b[o] + Σ_{u,v,c} x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c]·w[o,c,u,v].

    layout   x (N, H, W, C), y (N, OH, OW, O), w (O, C/G, KH, KW)
    loops    weights; pixels, a share for each thread → bands of rows → those of conv_steps.h
    tile     that of conv_tiles.h: with 32 registers of 16 floats: 6 pixels × 64 output channels
    why      windows overlap: im2col writes and reads each pixel KH·KW times, here it is copied once
             or not at all. Where the image fits L2, each panel of weights is used while it is there
    """
    cdef Geometry s = flat(geometry(sizes))
    cdef Py_ssize_t pixels = s.N * s.OH * s.OW
    if pixels * s.O == 0:
        return
    cdef Parts parts = parts_of(&s)
    cdef Py_ssize_t panels = panel_count(s.Og), lanes = whole_vectors(s.Og)
    cdef Py_ssize_t vectors = lanes // LANES, taps = s.KH * s.KW, g, p, t
    cdef bint parallel = pixels * taps * s.Cg * s.O > WORTH_THREADS
    cdef bint few = pixels <= FEW_PIXELS and vectors >= threads
    cdef float *bias = aligned(&scratch[0])
    cdef float *weights = bias + parts.bias
    cdef float *table = weights + parts.weights
    cdef float *bands = table + parts.table
    cdef float *out = &y[0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0]
    cdef const float *filters = &w[0, 0, 0, 0]
    cdef const float *biases = &b[0]
    cdef Step step
    memset(&step, 0, sizeof(Step))
    cdef Py_ssize_t row = (s.W if in_place(&s) else seen_columns(&s)) * s.C
    step.x = without_halo(NULL, s.H, s.W, s.C, s.C, row)
    step.y = without_halo(NULL, s.OH, s.OW, s.O, s.O, s.OW * s.O)
    step.of = Window(s.KH, s.KW, s.sh, s.sw, s.pt, s.pl, s.dh, s.dw, s.G)
    step.w = weights
    step.b = bias
    step.K = s.KW * s.Cg
    step.activation = CLAMP
    step.low = -INFINITY
    step.high = INFINITY
    with nogil:
        if by_table(&s):
            fill_table(<int32_t *> table, &s)
            step.gather = <int32_t *> table
        memset(bias, 0, parts.bias * sizeof(float))
        for g in range(s.G):
            memcpy(bias + g * lanes, biases + g * s.Og, s.Og * sizeof(float))
        if panels_shared(&s, threads):
            for p in prange(
                panels, schedule="static", num_threads=threads, use_threads_if=parallel
            ):
                conv_weights(weights, filters, s.Og, s.Cg, taps, p)
                some_pixels(
                    &step, &s, out, image, bands + threadid() * parts.band, 0, pixels,
                    panel_begin(p, s.Og) // LANES, panel_begin(p + 1, s.Og) // LANES,
                )
        else:
            for p in prange(
                s.G * panels, schedule="static", num_threads=threads, use_threads_if=parallel
            ):
                g = p // panels
                conv_weights(
                    weights + g * taps * s.Cg * lanes, filters + g * s.Og * s.Cg * taps,
                    s.Og, s.Cg, taps, p - g * panels,
                )
            for t in prange(
                threads, schedule="static", num_threads=threads, use_threads_if=parallel
            ):
                if few:
                    some_pixels(
                        &step, &s, out, image, bands + t * parts.band, 0, pixels,
                        t * vectors // threads, (t + 1) * vectors // threads,
                    )
                else:
                    some_pixels(
                        &step, &s, out, image, bands + t * parts.band,
                        t * pixels // threads, (t + 1) * pixels // threads, 0, vectors,
                    )


def conv2d_tiles_f32_scratch(sizes, int threads):
    cdef Geometry s = flat(geometry(sizes))
    cdef Parts parts = parts_of(&s)
    return parts.bias + parts.weights + parts.table + threads * parts.band + LINE
