"""Channel shuffle: y[m, k·G + g] = x[m, g·K + k], K = C / G; in each pixel a transposed G×K matrix.

Layout: x and y are (M, C), M = N·H·W pixels of C channels, C-contiguous.
Loops: pixels, then the shorter side of the matrix, innermost the longer.
Tile: one pixel.
Why: nothing is computed, so one loads and stores number by number; the long loop inside has the
    fewest beginnings and ends. The gradient is the shuffle with K groups, whose long side is G.
"""

from .jit_nb import kernel


@kernel()
def channel_shuffle_f32(y, x, sizes):
    """y[m, k·G + g] = x[m, g·K + k]"""
    M, C, G = sizes
    K = C // G
    for m in range(M):
        to, source = y[m], x[m]
        if G < K:
            for g in range(G):
                for k in range(K):
                    to[k * G + g] = source[g * K + k]
        else:
            for k in range(K):
                for g in range(G):
                    to[k * G + g] = source[g * K + k]
