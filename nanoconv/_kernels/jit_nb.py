"""The literal loops of an op file, compiled by Numba as they stand: what a JIT alone buys."""

from collections.abc import Callable

import numba


def compile_loops(loops: Callable) -> Callable:
    """`loops` as machine code; its first call for each combination of dtypes compiles."""
    return numba.njit(nogil=True, cache=True)(loops)
