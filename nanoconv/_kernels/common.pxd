"""What the kernels of convolutions share: their sizes, and a few numbers about the machine."""

from libc.stdint cimport uintptr_t

cdef enum:
    LINE = 16               # floats in a cache line: threads share none, vectors straddle none
    IN_L2 = 65_536          # floats that stay in L2: 256 KB, half of a common one
    WORTH_THREADS = 3_000_000  # multiply-adds: below, waking threads and sharing takes longer


cdef struct Geometry:
    Py_ssize_t N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G
    Py_ssize_t Cg, Og       # channels of one group


cdef inline Geometry geometry(sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    return Geometry(
        N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G, C // G, O // G
    )


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline float *aligned(float *p) noexcept nogil:
    """The first place from p on that begins a cache line."""
    return <float *> ((<uintptr_t> p + 63) & ~<uintptr_t> 63)
