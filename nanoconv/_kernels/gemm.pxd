"""The small functions of gemm.h, which says what they do; steps_cy.pxd has the others."""

cdef extern from "gemm.h" nogil:
    void copy_floats(float *to, const float *source, Py_ssize_t n)
    const Py_ssize_t PANEL, LANES, ROW_BLOCK
    Py_ssize_t whole_vectors(Py_ssize_t N)
    Py_ssize_t panel_count(Py_ssize_t N)
    Py_ssize_t panel_begin(Py_ssize_t p, Py_ssize_t N)
    void dots(
        float *c, Py_ssize_t ldc, const float *a, const float *b, const float *bias,
        Py_ssize_t M, Py_ssize_t K, Py_ssize_t n0, Py_ssize_t n1)
    Py_ssize_t peak_loop(Py_ssize_t rounds)
