"""What step.h and run.h declare: a step, and the team of threads that runs some."""

from libc.stdint cimport int32_t
from libc.string cimport memset

cdef extern from "run.h" nogil:
    ctypedef struct Barrier "barrier":
        pass
    void run_steps(const Step *steps, Py_ssize_t n, Barrier *b, Py_ssize_t t, Py_ssize_t T)
    double run_team(const Step *steps, Py_ssize_t n, Barrier *b, Py_ssize_t T)
    void time_team(const Step *steps, Py_ssize_t n, Barrier *b, Py_ssize_t T, double *seconds)

cdef extern from "step.h" nogil:
    ctypedef struct Image "image":
        float *at
        Py_ssize_t H, W, C, pitch, row, top, bottom, left, right
    ctypedef struct Window "window":
        Py_ssize_t KH, KW, sh, sw, pt, pl, dh, dw, G
    ctypedef struct Step "step":
        void (*run)(const Step *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Image x, r, y
        Window of
        const float *w
        const float *b
        const int32_t *gather
        float *scratch
        Py_ssize_t scratch_floats, K
        int32_t panel, activation
        float low, high
        const Step *parts
        Py_ssize_t part_count
        Barrier *meet


cdef inline Image without_halo(
    float *at, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C, Py_ssize_t pitch, Py_ssize_t row
) noexcept nogil:
    cdef Image image
    memset(&image, 0, sizeof(Image))
    image.at, image.H, image.W, image.C, image.pitch, image.row = at, H, W, C, pitch, row
    return image
