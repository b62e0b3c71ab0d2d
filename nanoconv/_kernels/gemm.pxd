"""The functions of gemm.h, which says what they do."""

cdef extern from "gemm.h" nogil:
    void copy_floats(float *to, const float *source, Py_ssize_t n)
    const Py_ssize_t PANEL, LANES, ROW_BLOCK
    Py_ssize_t whole_vectors(Py_ssize_t N)
    Py_ssize_t panel_count(Py_ssize_t N)
    Py_ssize_t panel_begin(Py_ssize_t p, Py_ssize_t N)
    void pack_rows(
        float *packed, const float *b, Py_ssize_t ldb,
        Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t last)
    void pack_columns(
        float *packed, const float *b, Py_ssize_t ldb,
        Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t last)
    void gemm(
        float *c, Py_ssize_t ldc, const float *a, Py_ssize_t a_rows, Py_ssize_t a_cols,
        const float *packed, const float *bias,
        Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t last)
    void dots(
        float *c, Py_ssize_t ldc, const float *a, const float *b, const float *bias,
        Py_ssize_t M, Py_ssize_t K, Py_ssize_t n0, Py_ssize_t n1)
    Py_ssize_t peak_loop(Py_ssize_t rounds)
