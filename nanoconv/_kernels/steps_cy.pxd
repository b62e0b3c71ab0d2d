"""The kernels of steps.h, for other modules: `kernels.gemm(…)` is the copy that steps_cy has."""

from .step cimport Step

cdef extern from "steps.h" nogil:
    ctypedef void (*Run)(const Step *, Py_ssize_t, Py_ssize_t) noexcept nogil
    ctypedef struct Band "band":
        pass
    ctypedef struct Rows "conv_rows":
        const float *x
        float *y
        const float *r
        Py_ssize_t x_row, y_row, r_row, W
    ctypedef struct Kernels "kernels":
        Run (*step_named)(const char *name) noexcept nogil
        Py_ssize_t (*band_memory)(const Step *s, float *scratch, Band *b) noexcept nogil
        void (*conv_blocks)(
            const Step *s, const Rows *at, Py_ssize_t p0, Py_ssize_t p1, Py_ssize_t v0,
            Py_ssize_t v1) noexcept nogil
        void (*depthwise_rows)(
            const Step *s, const float *const *rows, float *const *out, const float *const *res,
            Py_ssize_t count) noexcept nogil
        void (*gemm)(
            float *c, Py_ssize_t ldc, const float *a, Py_ssize_t a_rows, Py_ssize_t a_cols,
            const float *packed, const float *bias, Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
            Py_ssize_t first, Py_ssize_t last) noexcept nogil
        void (*pack_rows)(
            float *packed, const float *b, Py_ssize_t ldb, Py_ssize_t N, Py_ssize_t K,
            Py_ssize_t first, Py_ssize_t last) noexcept nogil
        void (*pack_columns)(
            float *packed, const float *b, Py_ssize_t ldb, Py_ssize_t N, Py_ssize_t K,
            Py_ssize_t first, Py_ssize_t last) noexcept nogil

cdef const Kernels *kernels
