"""Depthwise convolution: every channel has filters of its own, and nothing is summed over channels.

Layout: x and y are NHWC, the weights (KH, KW, O): filter o, of input channel o // m, m = O / C.
Loops: images, rows, pieces of a row, taps; innermost the numbers of the piece.
Tile: a piece, about 512 neighbours in a row: some pixels with all their channels. It stays in the
    L1 cache with all that the taps add to it.
Why: at stride 1 with m = 1, what a tap adds to a row of outputs is a row of inputs, shifted, times
    weights that repeat with every pixel: one long loop even where the channels are few. Other
    strides and m come down to this by laying the image out anew: in each row the pixels 0, s, 2s …,
    then 1, s + 1 …, every channel m times.
"""

import numpy as np

from .jit_nb import helper, kernel

F32 = np.float32
PIECE = 512


@helper
def add_product(y, x, w):
    """y[k] += x[k]·w[k]"""
    for k in range(y.size):
        y[k] += x[k] * w[k]


@helper
def repeated(w):
    """(KH, KW, O) as (KH, KW, piece): the O weights of each tap as often as they fit in a piece."""
    KH, KW, O = w.shape
    pixels = max(1, PIECE // O)
    wide = np.empty((KH, KW, pixels, O), F32)
    for u in range(KH):
        for v in range(KW):
            for p in range(pixels):
                wide[u, v, p] = w[u, v]
    return wide.reshape(KH, KW, pixels * O)


@helper
def overlap(start, end, offset, s, W, OW, O):
    """Which of the outputs start ≤ k < end of a row a tap reaches, and where it reads for them.

    The tap reads pixel q = j·s + offset for output pixel j, in lines[h, r] at k + shift. Returns
    (first, last, r, shift) such that 0 ≤ q < W for the outputs first ≤ k < last.
    """
    pixels, r = divmod(offset, s)
    j0, j1 = max(0, -pixels), min(OW, (W - 1 - offset) // s + 1)
    return max(start, j0 * O), min(end, j1 * O), r, pixels * O


@helper
def laid_out(x, s, m):
    """lines[h, r, p·O + c·m + k] = x[h, p·s + r, c]"""
    H, W, C = x.shape
    if s == 1 and m == 1:
        return x.reshape(H, 1, W * C)
    lines = np.empty((H, s, -(-W // s) * C * m), F32)
    for h in range(H):
        for q in range(W):
            start = q // s * C * m
            pixel, line = x[h, q], lines[h, q % s, start : start + C * m]
            if m == 1:
                for c in range(C):
                    line[c] = pixel[c]
            else:
                for o in range(C * m):
                    line[o] = pixel[o // m]
    return lines


@helper
def put_back(dx, lines, s, m):
    """dx[h, p·s + r, c] = Σ_k lines[h, r, p·O + c·m + k]"""
    H, W, C = dx.shape
    for h in range(H):
        for q in range(W):
            start = q // s * C * m
            pixel, line = dx[h, q], lines[h, q % s, start : start + C * m]
            if m == 1:
                for c in range(C):
                    pixel[c] = line[c]
            else:
                pixel[:] = 0
                for o in range(C * m):
                    pixel[o // m] += line[o]


@kernel()
def depthwise_f32(y, x, w, b, sizes):
    """y[n,i,j,o] = b[o] + Σ_{u,v} x[n, i·s + u·d − p, j·s + v·d − p, o // m] · w[u,v,o]"""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    weights, bias = repeated(w), repeated(b.reshape(1, 1, O))[0, 0]
    for n in range(N):
        lines = laid_out(x[n], sw, O // C)
        for i in range(OH):
            row = y[n, i].reshape(OW * O)
            for start in range(0, row.size, bias.size):
                end = min(start + bias.size, row.size)
                row[start:end] = bias[: end - start]
                for u in range(KH):
                    h = i * sh + u * dh - pt
                    if h < 0 or h >= H:
                        continue
                    for v in range(KW):
                        k0, k1, r, shift = overlap(start, end, v * dw - pl, sw, W, OW, O)
                        if k0 < k1:
                            add_product(
                                row[k0:k1],
                                lines[h, r, k0 + shift : k1 + shift],
                                weights[u, v, k0 - start : k1 - start],
                            )


@kernel()
def depthwise_input_grad_f32(dx, dy, w, sizes):
    """dx[n,h,q,c] = Σ dy[n,i,j,o] · w[u,v,o] over all i, j, u, v that read it, o // m = c."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    m = O // C
    weights = repeated(w)
    piece = weights.shape[2]
    for n in range(N):
        lines = laid_out(dx[n], sw, m)
        lines[:] = 0
        for h in range(H):
            for u in range(KH):
                i, between = divmod(h + pt - u * dh, sh)
                if between != 0 or i < 0 or i >= OH:
                    continue
                row = dy[n, i].reshape(OW * O)
                for start in range(0, row.size, piece):
                    end = min(start + piece, row.size)
                    for v in range(KW):
                        k0, k1, r, shift = overlap(start, end, v * dw - pl, sw, W, OW, O)
                        if k0 < k1:
                            add_product(
                                lines[h, r, k0 + shift : k1 + shift],
                                row[k0:k1],
                                weights[u, v, k0 - start : k1 - start],
                            )
        if sw > 1 or m > 1:
            put_back(dx[n], lines, sw, m)


@kernel()
def depthwise_weight_grad_f32(dw, dy, x, sizes):
    """dw[u,v,o] = Σ_{n,i,j} dy[n,i,j,o] · x[n, i·s + u·d − p, j·s + v·d − p, o // m]"""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw_, G = sizes
    sums = np.zeros((KH, KW, max(1, PIECE // O), O), F32)
    wide = sums.reshape(KH, KW, -1)
    piece = wide.shape[2]
    for n in range(N):
        lines = laid_out(x[n], sw, O // C)
        for i in range(OH):
            row = dy[n, i].reshape(OW * O)
            for start in range(0, row.size, piece):
                end = min(start + piece, row.size)
                for u in range(KH):
                    h = i * sh + u * dh - pt
                    if h < 0 or h >= H:
                        continue
                    for v in range(KW):
                        k0, k1, r, shift = overlap(start, end, v * dw_ - pl, sw, W, OW, O)
                        if k0 < k1:
                            add_product(
                                wide[u, v, k0 - start : k1 - start],
                                row[k0:k1],
                                lines[h, r, k0 + shift : k1 + shift],
                            )
    dw[:] = 0
    for u in range(KH):
        for v in range(KW):
            for p in range(sums.shape[2]):
                for o in range(O):
                    dw[u, v, o] += sums[u, v, p, o]
