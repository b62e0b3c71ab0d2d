"""im2col and its transpose: what each output pixel sees becomes one row of a matrix.

    cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c]     m = (n, i, j)

im2col writes that matrix, col2im adds a matrix of this form back to where it came from.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from .common cimport WORTH_THREADS, Geometry, ceil_div, geometry
from .taps cimport Part, add_row, read_taps


def im2col_f32(float[:, :, :, :, ::1] cols, const float[:, :, :, ::1] x, sizes, int threads):
    """cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c], 0 outside.

    layout   x (N, H, W, C), cols (N·OH·OW, G, KH, KW, C/G)
    loops    rows of output pixels, one per thread at a time → pixels → groups → taps
    tile     none: runs of channels, whole rows of taps where they lie side by side
    why      cols is written once and in order; x is in the cache when its next reader comes
    """
    cdef Geometry s = geometry(sizes)
    cdef Part all = Part(0, s.G, 0, s.Cg)
    cdef Py_ssize_t K = s.KH * s.KW * s.C, row, j
    if s.N * s.OH * s.OW * K == 0:
        return
    cdef float *out = &cols[0, 0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0]
    for row in prange(
        s.N * s.OH, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * K > WORTH_THREADS,
    ):
        for j in range(s.OW):
            read_taps(
                out + (row * s.OW + j) * K, K // s.G, image + row // s.OH * s.H * s.W * s.C,
                &s, row % s.OH, j, &all,
            )


cdef void add_band(
    float *dx, const float *cols, Geometry *s, Py_ssize_t begin, Py_ssize_t end
) noexcept nogil:
    """The rows begin ≤ n·H + h < end of dx, from all windows that see them."""
    cdef Py_ssize_t K = s.KH * s.KW * s.C, n, h0, h1, i, j, u, h, last
    cdef const float *source
    memset(dx + begin * s.W * s.C, 0, (end - begin) * s.W * s.C * sizeof(float))
    while begin < end:
        n = begin // s.H
        h0 = begin - n * s.H
        h1 = min(end - n * s.H, s.H)
        last = min((h1 - 1 + s.pt) // s.sh + 1, s.OH)
        for i in range(ceil_div(max(h0 + s.pt - (s.KH - 1) * s.dh, 0), s.sh), last):
            for j in range(s.OW):
                source = cols + ((n * s.OH + i) * s.OW + j) * K
                for u in range(s.KH):
                    h = i * s.sh - s.pt + u * s.dh
                    if h0 <= h < h1:
                        add_row(
                            dx + (n * s.H + h) * s.W * s.C, source + u * s.KW * s.Cg, K // s.G,
                            s, j, s.G, s.Cg,
                        )
        begin += h1 - h0


def col2im_f32(float[:, :, :, ::1] dx, const float[:, :, :, :, ::1] dcols, sizes, int threads):
    """dx[n,h,w,c] = Σ dcols[m,g,u,v,c] over all that im2col copied from there: its transpose.

    layout   dx (N, H, W, C), dcols (N·OH·OW, G, KH, KW, C/G)
    loops    bands of rows of dx, one per thread → output pixels that see them → rows of taps
    tile     none: runs of channels, whole rows of taps where they lie side by side
    why      dcols, the larger one, is read in order; no two threads add to the same number
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t rows = s.N * s.H, part
    if rows * s.W * s.C == 0:
        return
    cdef float *out = &dx[0, 0, 0, 0]
    cdef const float *cols = &dcols[0, 0, 0, 0, 0]
    for part in prange(
        threads, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * s.KH * s.KW * s.C > WORTH_THREADS,
    ):
        add_band(out, cols, &s, part * rows // threads, (part + 1) * rows // threads)
