"""What the machine is, as far as plans ask: its vectors, and how fast it reads memory."""

from cython.parallel cimport prange

from time import perf_counter

cdef extern from "run.h" nogil:
    const int LANES
    const int REGISTERS
    float sum_of(const float *p, Py_ssize_t n)


def lanes():
    """Floats in a vector of this level: what channels are padded to."""
    return LANES


def registers():
    """Vector registers of this level: with `lanes`, what weights are packed for."""
    return REGISTERS


cdef void read_block(
    const float *block, Py_ssize_t floats, Py_ssize_t times
) noexcept nogil:
    cdef Py_ssize_t _k
    for _k in range(times):
        sum_of(block, floats)


def bandwidth(const float[::1] block, int threads):
    """GB/s at which threads read their parts of a block again and again: the best of some times."""
    cdef Py_ssize_t t, T = threads, whole = 8 * LANES
    cdef Py_ssize_t floats = block.shape[0] // T // whole * whole
    if floats == 0:
        raise ValueError(f"bandwidth: a block of {block.shape[0]} floats is too small")
    cdef Py_ssize_t times = max(1, (1 << 23) // floats)
    cdef double best = 0
    for _ in range(10):
        begin = perf_counter()
        with nogil:
            for t in prange(T, schedule="static", num_threads=threads):
                read_block(&block[t * floats], floats, times)
        best = max(best, 4e-9 * floats * times * T / (perf_counter() - begin))
    return best
