"""How Numba compiles: the literal loops of the op files as they stand, and the bodies of `*_nb`."""

import functools
import inspect
from collections.abc import Callable

import numba


def compile_loops(loops: Callable) -> Callable:
    """`loops` as machine code; its first call for each combination of dtypes compiles."""
    return numba.njit(nogil=True, cache=True)(loops)


# Products may be fused with sums; any more freedom (fastmath=True) would lose NaN, or the order of
# sums in which they are exact. Without `error_model` a division checks for 0 and stops vectors.
helper = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


def kernel(outputs: int = 1) -> Callable[[Callable], Callable]:
    """Compile a body at its first call, once for writable and read-only inputs alike.

    Its first `outputs` arguments and its `scratch` are written. All other arrays are taken as
    read-only, which a writable one may pass for; they must be C-contiguous.
    """

    def decorate(body: Callable) -> Callable:
        if numba.config.DISABLE_JIT:
            return body
        compiled = helper(body)
        names = list(inspect.signature(body).parameters)
        written = {*names[:outputs], "scratch"}

        def type_of(name: str, arg: object) -> numba.types.Type:
            found = numba.typeof(arg)
            if isinstance(found, numba.types.Array):
                return found.copy(layout="C", readonly=name not in written)
            return found

        @functools.wraps(body)
        def call(*args: object) -> None:
            if not compiled.signatures:
                compiled.compile(tuple(map(type_of, names, args)))
                compiled.disable_compile()
            compiled(*args)

        return call

    return decorate
