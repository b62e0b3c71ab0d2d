"""What step.h and run.h declare, for kernels that run a single step."""

from libc.stdint cimport int32_t

cdef extern from "step.h" nogil:
    ctypedef struct Image "image":
        float *at
        Py_ssize_t H, W, C, pitch, row
    ctypedef struct Window "window":
        Py_ssize_t KH, KW, sh, sw, pt, pl, dh, dw, G
    ctypedef struct Step "step":
        Image x, y
        Window of
        const float *w
        const float *b
        const int32_t *gather
        Py_ssize_t K
        int32_t activation
        float low, high
