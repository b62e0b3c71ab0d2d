"""Running sums along the middle axis, from its start or its end.

Layout: arrays are (A, C, B), C-contiguous, and a line is the C numbers at one place of A and B.
Loops: A outside, then C, and B inside; where B = 1, 8 lines of A inside.
Tile: the sums of these lines, in float64.
Why: each sum waits for the one before it, so that one line alone takes as long as several.
"""

import numpy as np

from .jit_nb import helper, kernel

SIDE = 8


@helper
def add(y, total, x):
    for b in range(x.size):
        total[b] += x[b]
        y[b] = total[b]


@kernel()
def cumsum_f32(y, x, sizes):
    """y[a,c,b] = Σ_{k ≤ c} x[a,k,b], or k ≥ c if `backwards`"""
    A, C, B, backwards = sizes
    total = np.zeros(max(B, SIDE))
    for a in range(0, A, SIDE if B == 1 else 1):
        total[:] = 0
        for k in range(C):
            c = C - 1 - k if backwards else k
            if B == 1:
                for i in range(a, min(a + SIDE, A)):
                    total[i - a] += x[i, c, 0]
                    y[i, c, 0] = total[i - a]
            else:
                add(y[a, c], total, x[a, c])
