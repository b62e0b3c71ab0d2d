"""Interpolation: y = A·x·Bᵀ, with sparse A and B, a few weights in each of their rows.

Layout: NHWC, or planes (N·C, H, W, 1). Row i of A has row_weight[k] in the column row_index[k],
    row_start[i] ≤ k < row_start[i + 1]; B in the same way.
Loops: output rows (n, i); then A mixes whole rows of x into a line, and for each output pixel B
    mixes pixels of that line.
Tile: one line, W·C numbers, which stays in the L1 or L2 cache.
Why: both products are sums of a few lines of neighbours; A's are the longest that there are. Of
    each pixel T + T numbers are read with T taps, where both at once would read T·T.
"""

import numpy as np

from .jit_nb import helper, kernel

F32 = np.float32


@helper
def mix_lines(y, x, index, weight):
    """y = Σ weight[k] · x[index[k]], two taps at a time."""
    odd = index.size % 2
    if index.size == 0:
        y[:] = 0
    if odd:
        line, by = x[index[0]], weight[0]
        for c in range(y.size):
            y[c] = by * line[c]
    for k in range(odd, index.size, 2):
        p, q, a, b = x[index[k]], x[index[k + 1]], weight[k], weight[k + 1]
        if k == 0:
            for c in range(y.size):
                y[c] = a * p[c] + b * q[c]
        else:
            for c in range(y.size):
                y[c] += a * p[c] + b * q[c]


@helper
def mix_numbers(y, x, start, index, weight):
    """y[j] = Σ weight[k] · x[index[k]] over start[j] ≤ k < start[j + 1]."""
    for j in range(y.size):
        total = F32(0)
        for k in range(start[j], start[j + 1]):
            total += weight[k] * x[index[k]]
        y[j] = total


@kernel()
def interpolate_f32(
    y, x, row_start, row_index, row_weight, col_start, col_index, col_weight, sizes
):
    """y[n,i,j] = Σ row_weight[a] · Σ col_weight[b] · x[n, row_index[a], col_index[b]]"""
    N, C, H, W, OH, OW = sizes
    line = np.empty((W, C), F32)
    for n in range(N):
        rows = x[n].reshape(H, W * C)
        for i in range(OH):
            a, b = row_start[i], row_start[i + 1]
            mix_lines(line.reshape(W * C), rows, row_index[a:b], row_weight[a:b])
            if C == 1:
                numbers = line.reshape(W)
                mix_numbers(y[n, i].reshape(OW), numbers, col_start, col_index, col_weight)
            else:
                for j in range(OW):
                    a, b = col_start[j], col_start[j + 1]
                    mix_lines(y[n, i, j], line, col_index[a:b], col_weight[a:b])
