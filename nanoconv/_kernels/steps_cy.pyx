"""The compiled kernels of plans, and of what else is built from them: one copy of each.

Every header's functions are static, so a module that calls a kernel would have its own copy of all
its tiles, most of what an installation weighs. The modules that run plans or make single calls out
of the same tiles take them from the table here instead. What is small or must be inlined they
still include.
"""

cdef extern from "steps.h":
    const Kernels KERNELS

kernels = &KERNELS
