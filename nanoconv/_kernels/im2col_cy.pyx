"""im2col and its transpose: what each output pixel sees becomes one row of a matrix.

    cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c]     m = (n, i, j)

im2col writes that matrix, col2im adds a matrix of this form back to where it came from.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from .taps cimport WORTH_THREADS, Geometry, Part, add_each, geometry, read_taps


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


def col2im_f32(float[:, :, :, ::1] dx, const float[:, :, :, :, ::1] dcols, sizes, int threads):
    """dx[n,h,w,c] = Σ dcols[m,g,u,v,c] over all that im2col copied from there: its transpose.

    layout   dx (N, H, W, C), dcols (N·OH·OW, G, KH, KW, C/G)
    loops    rows of dx, one per thread at a time → taps u that reach it → pixels j → taps v
    tile     none: runs of channels
    why      a thread gathers what belongs to its row, so no two add to the same number
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t K = s.KH * s.KW * s.C, row, h, i, j, u, v, w
    cdef const float *source
    cdef float *to
    if s.N * s.H * s.W * s.C == 0:
        return
    cdef float *out = &dx[0, 0, 0, 0]
    cdef const float *cols = &dcols[0, 0, 0, 0, 0]
    for row in prange(
        s.N * s.H, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * K > WORTH_THREADS,
    ):
        to = out + row * s.W * s.C
        memset(to, 0, s.W * s.C * sizeof(float))
        for u in range(s.KH):
            h = row % s.H + s.pt - u * s.dh
            i = h // s.sh
            if h < 0 or h % s.sh != 0 or i >= s.OH:
                continue
            for j in range(s.OW):
                source = cols + ((row // s.H * s.OH + i) * s.OW + j) * K + u * s.KW * s.Cg
                for v in range(s.KW):
                    w = j * s.sw - s.pl + v * s.dw
                    if 0 <= w < s.W:
                        add_each(to + w * s.C, source + v * s.Cg, K // s.G, s.G, s.Cg)
