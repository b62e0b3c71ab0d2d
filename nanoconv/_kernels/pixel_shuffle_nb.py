"""Pixel shuffle: y[n, h·r + u, w·r + v, c] = x[n, h, w, c·r² + u·r + v], and the way back.

Layout: NHWC; x is (N, H, W, C·r²), y is (N, H·r, W·r, C).
Loops: pixels of x, then the places (u, v) and C channels; the way back, which writes x, the other
    way round.
Tile: one pixel of x, which becomes a block of y; both are in the L1 cache.
Why: the array that is written is written in order, as skipping costs less in reading.
"""

from .jit_nb import kernel


@kernel()
def pixel_shuffle_f32(y, x, sizes):
    """y[n, h·r + u, w·r + v, c] = x[n, h, w, c·r² + u·r + v]"""
    N, C, H, W, r = sizes
    for n in range(N):
        for h in range(H):
            for w in range(W):
                source = x[n, h, w]
                for u in range(r):
                    for v in range(r):
                        to = y[n, h * r + u, w * r + v]
                        for c in range(C):
                            to[c] = source[(c * r + u) * r + v]


@kernel()
def pixel_unshuffle_f32(x, y, sizes):
    """x[n, h, w, c·r² + u·r + v] = y[n, h·r + u, w·r + v, c]"""
    N, C, H, W, r = sizes
    for n in range(N):
        for h in range(H):
            for w in range(W):
                to = x[n, h, w]
                for c in range(C):
                    for u in range(r):
                        for v in range(r):
                            to[(c * r + u) * r + v] = y[n, h * r + u, w * r + v, c]
