"""Convolution straight from its definition, and im2col, in loops that Numba turns into vectors.

Layout: x and y are NHWC. The weights are copied first, from (O, C/G, KH, KW) into scratch, where
    they are one matrix for each group and tap, whose rows the inner loops read in order.
Loops: images, rows of pixels, taps, groups, the pixels of the row; then the numbers of a pixel, and
    innermost the channels that each of them is multiplied into.
Tile: four numbers at a time, so that the sums are loaded and stored a quarter as often.
Why: nothing but the weights is copied, and the matrix of one tap serves a whole row while it is in
    the cache. The loop over channels streams, but where they are few it is short: then im2col and a
    matrix product are the better way.
"""

import numpy as np

from .jit_nb import helper, kernel

F32 = np.float32


def weight_size(sizes: tuple[int, ...]) -> int:
    """The number of weights: G groups of KH·KW matrices (C/G, O/G)."""
    _, C, _, _, O, _, _, KH, KW, *_, G = sizes
    return O * (C // G) * KH * KW


# --------------------------------------------------------------------------- convolution

conv2d_direct_f32_scratch = weight_size
conv2d_direct_input_grad_f32_scratch = weight_size
conv2d_direct_weight_grad_f32_scratch = weight_size


@helper
def add_product(y, x, w):
    """y[o] += Σ_c x[c]·w[c,o]"""
    C, O = w.shape
    whole = C // 4 * 4
    for c in range(0, whole, 4):
        a0, a1, a2, a3 = x[c], x[c + 1], x[c + 2], x[c + 3]
        w0, w1, w2, w3 = w[c], w[c + 1], w[c + 2], w[c + 3]
        for o in range(O):
            y[o] += a0 * w0[o] + a1 * w1[o] + (a2 * w2[o] + a3 * w3[o])
    for c in range(whole, C):
        a, wc = x[c], w[c]
        for o in range(O):
            y[o] += a * wc[o]


@kernel()
def conv2d_direct_f32(y, x, w, b, scratch, sizes):
    """y[n,i,j,o] = b[o] + Σ_{u,v,c} x[n, i·s + u·d − p, j·s + v·d − p, g·C/G + c] · w[o,c,u,v]"""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg, Og = C // G, O // G
    run = KW if dw == 1 and G == 1 else 1  # taps that lie side by side in memory
    wt = scratch.reshape(G, KH, KW, Cg, Og)
    for o in range(O):
        for c in range(Cg):
            for u in range(KH):
                for v in range(KW):
                    wt[o // Og, u, v, c, o % Og] = w[o, c, u, v]
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                for o in range(O):
                    y[n, i, j, o] = b[o]
            for u in range(KH):
                h = i * sh + u * dh - pt
                if h < 0 or h >= H:
                    continue
                for g in range(G):
                    wg, xh = wt[g, u].reshape(KW * Cg, Og), x[n, h].reshape(W * C)
                    for v in range(0, KW, run):
                        for j in range(OW):
                            q = j * sw + v * dw - pl
                            first, last = max(0, -q), min(run, W - q)  # of the run, what is inside
                            if first < last:
                                add_product(
                                    y[n, i, j, g * Og : (g + 1) * Og],
                                    xh[
                                        (q + first) * C + g * Cg : (q + last - 1) * C + (g + 1) * Cg
                                    ],
                                    wg[(v + first) * Cg : (v + last) * Cg],
                                )


@kernel()
def conv2d_direct_input_grad_f32(dx, dy, w, scratch, sizes):
    """dx[n,h,q,g·C/G + c] = Σ dy[n,i,j,o] · w[o,c,u,v] over all i, j, u, v that read it, o of g."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg, Og = C // G, O // G
    wt = scratch.reshape(G, KH, KW, Og, Cg)
    for o in range(O):
        for c in range(Cg):
            for u in range(KH):
                for v in range(KW):
                    wt[o // Og, u, v, o % Og, c] = w[o, c, u, v]
    for n in range(N):
        for h in range(H):
            dx[n, h] = 0
            for u in range(KH):
                i, between = divmod(h + pt - u * dh, sh)
                if between != 0 or i < 0 or i >= OH:
                    continue
                for v in range(KW):
                    for g in range(G):
                        for j in range(OW):
                            q = j * sw + v * dw - pl
                            if 0 <= q < W:
                                add_product(
                                    dx[n, h, q, g * Cg : (g + 1) * Cg],
                                    dy[n, i, j, g * Og : (g + 1) * Og],
                                    wt[g, u, v],
                                )


@helper
def add_outer_products(dw, x, dy, g, first, last, stride, offset):
    """dw[c,o] += Σ_j x[j·stride + offset, c] · dy[j,o] over first ≤ j < last; c, o of group g."""
    C, O = dw.shape
    c0, begin, end = g * C, g * O, (g + 1) * O
    whole = first + max(0, last - first) // 4 * 4
    for j in range(first, whole, 4):
        q = j * stride + offset
        x0, x1, x2, x3 = x[q], x[q + stride], x[q + 2 * stride], x[q + 3 * stride]
        d0, d1, d2, d3 = dy[j], dy[j + 1], dy[j + 2], dy[j + 3]
        d0, d1, d2, d3 = d0[begin:end], d1[begin:end], d2[begin:end], d3[begin:end]
        for c in range(C):
            row, a0, a1, a2, a3 = dw[c], x0[c0 + c], x1[c0 + c], x2[c0 + c], x3[c0 + c]
            for o in range(O):
                row[o] += a0 * d0[o] + a1 * d1[o] + (a2 * d2[o] + a3 * d3[o])
    for j in range(whole, last):
        xj, dyj = x[j * stride + offset], dy[j, begin:end]
        for c in range(C):
            row, a = dw[c], xj[c0 + c]
            for o in range(O):
                row[o] += a * dyj[o]


@kernel()
def conv2d_direct_weight_grad_f32(dw, dy, x, scratch, sizes):
    """dw[o,c,u,v] = Σ_{n,i,j} dy[n,i,j,o] · x[n, i·s + u·d − p, j·s + v·d − p, g·C/G + c]"""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw_, G = sizes
    Cg, Og = C // G, O // G
    dwt = scratch.reshape(G, KH, KW, Cg, Og)
    dwt[:] = 0
    for n in range(N):
        for i in range(OH):
            for u in range(KH):
                h = i * sh + u * dh - pt
                if h < 0 or h >= H:
                    continue
                for v in range(KW):
                    offset = v * dw_ - pl  # 0 <= j·sw + offset < W
                    first, last = max(0, -(offset // sw)), min(OW, (W - 1 - offset) // sw + 1)
                    for g in range(G):
                        add_outer_products(
                            dwt[g, u, v], x[n, h], dy[n, i], g, first, last, sw, offset
                        )
    for o in range(O):
        for c in range(Cg):
            for u in range(KH):
                for v in range(KW):
                    dw[o, c, u, v] = dwt[o // Og, u, v, c, o % Og]


# --------------------------------------------------------------------------- im2col


@kernel()
def im2col_f32(cols, x, sizes):
    """cols[m,g,u,v,c] = x[n, i·s + u·d − p, j·s + v·d − p, g·C/G + c], 0 outside; m = (n, i, j)."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg = C // G
    for m in range(N * OH * OW):
        n, i, j = m // (OH * OW), m // OW % OH, m % OW
        for g in range(G):
            for u in range(KH):
                h = i * sh + u * dh - pt
                for v in range(KW):
                    q = j * sw + v * dw - pl
                    if 0 <= h < H and 0 <= q < W:
                        for c in range(Cg):
                            cols[m, g, u, v, c] = x[n, h, q, g * Cg + c]
                    else:
                        for c in range(Cg):
                            cols[m, g, u, v, c] = 0


@kernel()
def col2im_f32(dx, dcols, sizes):
    """dx[n,h,q,c] = Σ dcols[m,g,u,v,c] over all that im2col copied from there: its transpose."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg = C // G
    dx[:] = 0
    for m in range(N * OH * OW):
        n, i, j = m // (OH * OW), m // OW % OH, m % OW
        for g in range(G):
            for u in range(KH):
                h = i * sh + u * dh - pt
                for v in range(KW):
                    q = j * sw + v * dw - pl
                    if 0 <= h < H and 0 <= q < W:
                        for c in range(Cg):
                            dx[n, h, q, g * Cg + c] += dcols[m, g, u, v, c]
