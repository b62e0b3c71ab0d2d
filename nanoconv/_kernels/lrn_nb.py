"""Local response norm: each number by the squares of its neighbours in the channels of one pixel.

Layout: x is (M, C), M pixels of C channels, C-contiguous.
Loops: pixels, taps of the window, innermost the channels.
Tile: one pixel. Its squares lie in a row with zeros at both ends, so that no tap has to ask where
    the channels end.
Why: channels are neighbours in memory, so the windows of 8 or 16 of them are added up at once. The
    power 3/4 of the paper is two square roots, faster than any power.
"""

import numpy as np

from .jit_nb import helper, kernel

F32 = np.float32


@helper
def add_windows(total, room, first, factor, size):
    """total[c] = first + factor · Σ_t room[c + t], t below `size`."""
    C = total.size
    total[:] = 0
    for t in range(size):
        for c in range(C):
            total[c] += room[c + t]
    for c in range(C):
        total[c] = first + factor * total[c]


@helper
def divisors(d, p, room, x, alpha, beta, k, size):
    """d = k + alpha/size · Σ x², and p = d^beta."""
    C, before = x.size, size // 2
    room[:] = 0
    for c in range(C):
        room[before + c] = x[c] * x[c]
    add_windows(d, room, F32(k), F32(alpha / size), size)
    if beta == 0.75:
        for c in range(C):
            root = np.sqrt(-d[c] if d[c] == -np.inf else d[c])  # (−∞)^¾ = ∞
            p[c] = root * np.sqrt(root)
    else:
        for c in range(C):
            p[c] = d[c] ** F32(beta)


@kernel()
def local_response_norm_f32(y, x, alpha, beta, k, sizes):
    """y = x / (k + alpha/size · Σ x²)^beta, the sum over the channels from c − size//2 on."""
    M, C, size = sizes
    room, d, p = np.empty(C + size, F32), np.empty(C, F32), np.empty(C, F32)
    for m in range(M):
        divisors(d, p, room, x[m], alpha, beta, k, size)
        for c in range(C):
            y[m, c] = x[m, c] / p[c]


@kernel()
def local_response_norm_backward_f32(dx, dy, x, alpha, beta, k, sizes):
    """dx = dy/p − 2·alpha·beta/size · x · Σ dy·x/(p·d), over the windows that contain c."""
    M, C, size = sizes
    before = size - 1 - size // 2
    room, d, p = np.empty(C + size, F32), np.empty(C, F32), np.empty(C, F32)
    for m in range(M):
        divisors(d, p, room, x[m], alpha, beta, k, size)
        room[:] = 0
        for c in range(C):
            room[before + c] = dy[m, c] * (x[m, c] / p[c] / d[c])
        add_windows(d, room, F32(0), F32(2 * alpha * beta / size), size)
        for c in range(C):
            dx[m, c] = dy[m, c] / p[c] - x[m, c] * d[c]
