"""Convolution without a matrix: rows of weights, scaled by one pixel, are added to rows of sums.

Layout: images (N, H, W, C), channels innermost. Scratch holds the weights with the channel that the
    inner loop runs over innermost, too.
Loops: output pixels outside, then the taps that are inside of the image, then channels. Tap (u, v)
    of pixel (i, j) reads row h = i·sh + u·dh − pt and column q = j·sw + v·dw − pl.
Tile: four numbers of one pixel at a time, so that a sum is loaded and stored once for four
    multiply-adds.
Why: the literal loops run over the taps in the innermost loop, where neighbours in memory are far
    apart; run over channels, the same sums become vectors.
"""

import numpy as np

from .jit_nb import helper, kernel

F32 = np.float32


# --------------------------------------------------------------------------- im2col, col2im


@kernel()
def im2col_f32(cols, x, sizes):
    """cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c], 0 outside."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg = C // G
    for m in range(N * OH * OW):
        n, i, j = m // (OH * OW), m // OW % OH, m % OW
        for u in range(KH):
            h = i * sh + u * dh - pt
            for v in range(KW):
                q = j * sw + v * dw - pl
                inside = (0 <= h < H) and (0 <= q < W)
                for g in range(G):
                    for c in range(Cg):
                        cols[m, g, u, v, c] = x[n, h, q, g * Cg + c] if inside else F32(0)


@kernel()
def col2im_f32(dx, dcols, sizes):
    """dx[n,h,w,c] = Σ dcols[m,g,u,v,c] over all that im2col copied from there: its transpose."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg = C // G
    dx[:] = F32(0)
    for m in range(N * OH * OW):
        n, i, j = m // (OH * OW), m // OW % OH, m % OW
        for u in range(KH):
            h = i * sh + u * dh - pt
            for v in range(KW):
                q = j * sw + v * dw - pl
                if (0 <= h < H) and (0 <= q < W):
                    for g in range(G):
                        for c in range(Cg):
                            dx[n, h, q, g * Cg + c] += dcols[m, g, u, v, c]


# --------------------------------------------------------------------------- convolution


@helper
def add_scaled_rows(total, factors, rows):
    """total[k] += Σ_r factors[r]·rows[r, k], four r at a time."""
    R, K = rows.shape
    r = 0
    while r + 4 <= R:
        f0, f1, f2, f3 = factors[r], factors[r + 1], factors[r + 2], factors[r + 3]
        for k in range(K):
            total[k] += (
                f0 * rows[r, k] + f1 * rows[r + 1, k] + f2 * rows[r + 2, k] + f3 * rows[r + 3, k]
            )
        r += 4
    while r < R:
        for k in range(K):
            total[k] += factors[r] * rows[r, k]
        r += 1


@helper
def add_pixels(total, dy, x, o, channel, j, end, stride, offset):
    """total[c] += Σ_j dy[j, o]·x[j·stride + offset, channel + c], four j at a time."""
    C, stop = total.size, channel + total.size
    while j + 4 <= end:
        f0, f1, f2, f3 = dy[j, o], dy[j + 1, o], dy[j + 2, o], dy[j + 3, o]
        q = j * stride + offset
        x0, x1 = x[q][channel:stop], x[q + stride][channel:stop]
        x2, x3 = x[q + 2 * stride][channel:stop], x[q + 3 * stride][channel:stop]
        for c in range(C):
            total[c] += f0 * x0[c] + f1 * x1[c] + f2 * x2[c] + f3 * x3[c]
        j += 4
    while j < end:
        x0 = x[j * stride + offset][channel:stop]
        for c in range(C):
            total[c] += dy[j, o] * x0[c]
        j += 1


def conv2d_direct_f32_scratch(sizes):
    """The weights once more."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    return O * (C // G) * KH * KW


conv2d_direct_input_grad_f32_scratch = conv2d_direct_f32_scratch
conv2d_direct_weight_grad_f32_scratch = conv2d_direct_f32_scratch


@kernel()
def conv2d_direct_f32(y, x, w, b, scratch, sizes):
    """y[n,i,j,o] = b[o] + Σ_{u,v,c} x[n, h, q, g·C/G + c]·w[o,c,u,v], 0 where x has no (h, q)."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg, Og = C // G, O // G
    rows = scratch.reshape(G, KH, KW, Cg, Og)
    for g in range(G):
        for o in range(Og):
            for c in range(Cg):
                for u in range(KH):
                    for v in range(KW):
                        rows[g, u, v, c, o] = w[g * Og + o, c, u, v]
    for m in range(N * OH * OW):
        n, i, j = m // (OH * OW), m // OW % OH, m % OW
        total = y[n, i, j]
        total[:] = b
        for u in range(KH):
            h = i * sh + u * dh - pt
            for v in range(KW):
                q = j * sw + v * dw - pl
                if (0 <= h < H) and (0 <= q < W):
                    for g in range(G):
                        add_scaled_rows(
                            total[g * Og : (g + 1) * Og],
                            x[n, h, q, g * Cg : (g + 1) * Cg],
                            rows[g, u, v],
                        )


@kernel()
def conv2d_direct_input_grad_f32(dx, dy, w, scratch, sizes):
    """dx[n, h, q, g·C/G + c] += dy[n,i,j,o]·w[o,c,u,v], from 0, for every o, i, j, u, v."""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg, Og = C // G, O // G
    rows = scratch.reshape(G, KH, KW, Og, Cg)
    for g in range(G):
        for o in range(Og):
            for c in range(Cg):
                for u in range(KH):
                    for v in range(KW):
                        rows[g, u, v, o, c] = w[g * Og + o, c, u, v]
    dx[:] = F32(0)
    for m in range(N * OH * OW):
        n, i, j = m // (OH * OW), m // OW % OH, m % OW
        for u in range(KH):
            h = i * sh + u * dh - pt
            for v in range(KW):
                q = j * sw + v * dw - pl
                if (0 <= h < H) and (0 <= q < W):
                    for g in range(G):
                        add_scaled_rows(
                            dx[n, h, q, g * Cg : (g + 1) * Cg],
                            dy[n, i, j, g * Og : (g + 1) * Og],
                            rows[g, u, v],
                        )


@kernel()
def conv2d_direct_weight_grad_f32(dweight, dy, x, scratch, sizes):
    """dweight[o,c,u,v] = Σ_{n,i,j} dy[n,i,j,o]·x[n, h, q, g·C/G + c]"""
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    Cg, Og = C // G, O // G
    totals = scratch.reshape(KH, KW, O, Cg)
    totals[:] = F32(0)
    for u in range(KH):
        for v in range(KW):
            for n in range(N):
                for i in range(OH):
                    h = i * sh + u * dh - pt
                    # The columns first ≤ j < end are those whose tap is inside of the image.
                    first = max(0, -((v * dw - pl) // sw))
                    end = min(OW, (W - 1 + pl - v * dw) // sw + 1)
                    if not (0 <= h < H) or first >= end:
                        continue
                    for o in range(O):
                        add_pixels(
                            totals[u, v, o], dy[n, i], x[n, h], o, o // Og * Cg,
                            first, end, sw, v * dw - pl,
                        )  # fmt: skip
    for o in range(O):
        for c in range(Cg):
            for u in range(KH):
                for v in range(KW):
                    dweight[o, c, u, v] = totals[u, v, o, c]
