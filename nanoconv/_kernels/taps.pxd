"""What im2col and the convolutions by it share: one output pixel's taps, read or added.

In NHWC the channels of one tap lie side by side, and with them those of its right neighbour: most
copies are long.
"""

from libc.string cimport memset

from .common cimport Geometry
from .gemm cimport copy_floats


cdef struct Part:
    # What one task is about: some whole groups, or, of one group, some of its channels.
    Py_ssize_t g, groups, c, channels


cdef inline void copy_each(
    float *to, Py_ssize_t step, const float *source, Py_ssize_t groups, Py_ssize_t channels
) noexcept nogil:
    """to[g·step + c] = source[g, c]."""
    cdef Py_ssize_t g
    if channels == 2:           # a length that the compiler knows takes no loop
        for g in range(groups):
            copy_floats(to + g * step, source + g * 2, 2)
    elif channels == 4:
        for g in range(groups):
            copy_floats(to + g * step, source + g * 4, 4)
    else:
        for g in range(groups):
            copy_floats(to + g * step, source + g * channels, channels)


cdef inline void add_each(
    float *to, const float *source, Py_ssize_t step, Py_ssize_t groups, Py_ssize_t channels
) noexcept nogil:
    """to[g, c] += source[g·step + c]."""
    cdef Py_ssize_t g, c
    if channels == 2:
        for g in range(groups):
            for c in range(2):
                to[g * 2 + c] += source[g * step + c]
    elif channels == 4:
        for g in range(groups):
            for c in range(4):
                to[g * 4 + c] += source[g * step + c]
    else:
        for g in range(groups):
            for c in range(channels):
                to[g * channels + c] += source[g * step + c]


cdef inline void add_run(float *to, const float *source, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        to[k] += source[k]


cdef inline bint side_by_side(Geometry *s, Py_ssize_t channels) noexcept nogil:
    """True if the taps of a row are one run of memory: all channels of neighbouring pixels."""
    return channels == s.C and s.dw == 1


cdef inline void read_taps(
    float *cols, Py_ssize_t step, const float *x, Geometry *s, Py_ssize_t i, Py_ssize_t j,
    Part *of,
) noexcept nogil:
    """cols[g, u, v, c] = x[i·sh + u·dh − pt, j·sw + v·dw − pl, g, c], or 0 outside, of one image.

    The groups of cols lie `step` floats apart; x points to the first channel of the part.
    """
    cdef Py_ssize_t u, v, h, w, left, right, g, n = of.channels, w0 = j * s.sw - s.pl
    cdef const float *source
    for u in range(s.KH):
        h = i * s.sh - s.pt + u * s.dh
        source = x + (h * s.W + w0) * s.C
        if 0 <= h < s.H and side_by_side(s, n):
            left = min(max(-w0, 0), s.KW)
            right = max(min(s.W - w0, s.KW), left)
            if left > 0:
                memset(cols, 0, left * n * sizeof(float))
            copy_floats(cols + left * n, source + left * n, (right - left) * n)
            if right < s.KW:
                memset(cols + right * n, 0, (s.KW - right) * n * sizeof(float))
            cols += s.KW * n
            continue
        for v in range(s.KW):
            w = w0 + v * s.dw
            if h < 0 or h >= s.H or w < 0 or w >= s.W:
                for g in range(of.groups):
                    memset(cols + g * step, 0, n * sizeof(float))
            else:
                copy_each(cols, step, source, of.groups, n)
            source += s.dw * s.C
            cols += n


cdef inline void add_row(
    float *dx, const float *dcols, Py_ssize_t step, Geometry *s, Py_ssize_t j,
    Py_ssize_t groups, Py_ssize_t channels,
) noexcept nogil:
    """dx[j·sw + v·dw − pl, g, c] += dcols[g, v, c], of one row of the image."""
    cdef Py_ssize_t v, w, left, right, w0 = j * s.sw - s.pl
    if side_by_side(s, channels):
        left = min(max(-w0, 0), s.KW)
        right = max(min(s.W - w0, s.KW), left)
        add_run(dx + (w0 + left) * s.C, dcols + left * s.C, (right - left) * s.C)
        return
    for v in range(s.KW):
        w = w0 + v * s.dw
        if 0 <= w < s.W:
            add_each(dx + w * s.C, dcols + v * channels, step, groups, channels)


cdef inline void add_taps(
    float *dx, const float *dcols, Py_ssize_t step, Geometry *s, Py_ssize_t i, Py_ssize_t j,
    Part *of,
) noexcept nogil:
    """dx[i·sh + u·dh − pt, j·sw + v·dw − pl, g, c] += dcols[g, u, v, c]: read_taps transposed."""
    cdef Py_ssize_t u, h
    for u in range(s.KH):
        h = i * s.sh - s.pt + u * s.dh
        if 0 <= h < s.H:
            add_row(dx + h * s.W * s.C, dcols, step, s, j, of.groups, of.channels)
        dcols += s.KW * of.channels
