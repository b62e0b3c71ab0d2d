/* The three transforms of Winograd's convolution F(m x m, 3 x 3), which ops/winograd.py derives:

       V = Bᵀ·d·B     the α x α pixels d that a tile of m x m outputs sees, α = m + 2
       U = G·g·Gᵀ     the 3 x 3 weights g
       Y = Aᵀ·M·A     the tile, from the products M = Σ_c V·U of each of the α² places ξ

   layout   one channel in each lane; a tile is α² (m²) vectors
   loops    columns → rows: each two-dimensional transform is the same one-dimensional one, twice
   tile     one line of 4 or 6 vectors in registers, the whole tile in L1
   why      36 vectors do not fit in registers. With the halves of a transform as two loops over an
            array, each half has room, and the compiler nothing to spill. */
#ifndef NANOCONV_WINOGRAD_TRANSFORMS_H
#define NANOCONV_WINOGRAD_TRANSFORMS_H

#include "gemm.h"
#include "step.h"

#define TILE_SIDE 6 /* α of F(4 x 4) */

/* Bᵀ·d, with the points 0, 1, -1, ∞ and 0, 1, -1, 2, -2, ∞ */
static ALWAYS_INLINE void times_bt(const int m, vec v[TILE_SIDE], const vec d[TILE_SIDE]) {
    if (m == 2) {
        v[0] = d[2] - d[0];
        v[1] = d[2] + d[1];
        v[2] = d[2] - d[1];
        v[3] = d[3] - d[1];
        return;
    }
    vec even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1];
    vec even2 = d[4] - d[2], odd2 = 2.0f * (d[3] - d[1]);
    v[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

/* Aᵀ·p */
static ALWAYS_INLINE void times_at(const int m, vec y[TILE_SIDE], const vec p[TILE_SIDE]) {
    vec sum = p[1] + p[2], difference = p[1] - p[2];
    if (m == 2) {
        y[0] = p[0] + sum;
        y[1] = difference + p[3];
        return;
    }
    vec sum2 = p[3] + p[4], difference2 = p[3] - p[4];
    y[0] = p[0] + sum + sum2;
    y[1] = difference + 2.0f * difference2;
    y[2] = sum + 4.0f * sum2;
    y[3] = difference + 8.0f * difference2 + p[5];
}

/* V of one tile for LANES channels, whose place (u, v) goes to v + (u·α + v)·plane. */
static ALWAYS_INLINE void transform_input(const int m, float *v, ptrdiff_t plane, const float *d,
                                          ptrdiff_t row, ptrdiff_t pitch) {
    const int wide = m + 2;
    vec columns[TILE_SIDE][TILE_SIDE], line[TILE_SIDE], out[TILE_SIDE];
    for (int j = 0; j < wide; j++) {
        const float *p = d + j * pitch;
        UNROLL for (int i = 0; i < wide; i++) {
            line[i] = load(p);
            p += row;
            OPAQUE(p);
        }
        times_bt(m, columns[j], line);
    }
    for (int i = 0; i < wide; i++) {
        UNROLL for (int j = 0; j < wide; j++) line[j] = columns[j][i];
        times_bt(m, out, line);
        UNROLL for (int j = 0; j < wide; j++) {
            store(v, out[j]);
            v += plane;
            OPAQUE(v);
        }
    }
}

/* The columns of Aᵀ·M: all that the rows of a tile are made from. */
static ALWAYS_INLINE void transform_columns(const int m, vec columns[TILE_SIDE][TILE_SIDE],
                                            const float *products, ptrdiff_t plane) {
    const int wide = m + 2;
    for (int j = 0; j < wide; j++) {
        vec line[TILE_SIDE];
        const float *p = products + j * plane;
        UNROLL for (int i = 0; i < wide; i++) {
            line[i] = load(p);
            p += wide * plane;
            OPAQUE(p);
        }
        times_at(m, columns[j], line);
    }
}

/* ------------------------------------------------------------------------------ weights */

/* G·g for LANES weights, in double precision: what is rounded here is wrong in every tile. */
static ALWAYS_INLINE void times_g(const int m, double u[TILE_SIDE][LANES],
                                  const double g[3][LANES]) {
    for (int l = 0; l < LANES; l++) {
        double even = g[0][l] + g[2][l], even2 = g[0][l] + 4 * g[2][l];
        u[0][l] = m == 2 ? -g[0][l] : g[0][l] / 4;
        if (m == 2) {
            u[1][l] = (even + g[1][l]) / 2;
            u[2][l] = (even - g[1][l]) / 2;
            u[3][l] = g[2][l];
        } else {
            u[1][l] = (even + g[1][l]) * (-1 / 6.0);
            u[2][l] = (even - g[1][l]) * (-1 / 6.0);
            u[3][l] = (even2 + 2 * g[1][l]) * (1 / 24.0);
            u[4][l] = (even2 - 2 * g[1][l]) * (1 / 24.0);
            u[5][l] = g[2][l];
        }
    }
}

/* U of the weights w (O, C, 3, 3) for the panels first ≤ p < last of every place: `packed` holds
   α² matrices (C, O), one behind the other, each as gemm.h packs it. */
static ALWAYS_INLINE void transform_weights(const int m, float *packed, const float *w, ptrdiff_t O,
                                            ptrdiff_t C, ptrdiff_t first, ptrdiff_t last) {
    const int wide = m + 2;
    for (ptrdiff_t p = first; p < last; p++) {
        ptrdiff_t begin = panel_begin(p, O), end = panel_begin(p + 1, O);
        for (ptrdiff_t o = begin; o < end; o += LANES) {
            for (ptrdiff_t c = 0; c < C; c++) {
                double g[3][3][LANES] = {0}, columns[3][TILE_SIDE][LANES], line[3][LANES];
                double u[TILE_SIDE][LANES];
                for (ptrdiff_t l = 0; l < smaller(O - o, LANES); l++)
                    for (int k = 0; k < 9; k++) g[k % 3][k / 3][l] = w[((o + l) * C + c) * 9 + k];
                for (int j = 0; j < 3; j++) times_g(m, columns[j], g[j]);
                for (int i = 0; i < wide; i++) {
                    for (int j = 0; j < 3; j++) memcpy(line[j], columns[j][i], sizeof line[j]);
                    times_g(m, u, line);
                    for (int j = 0; j < wide; j++) {
                        float *to = packed + (i * wide + j) * C * whole_vectors(O) + begin * C;
                        for (int l = 0; l < LANES; l++)
                            to[c * (end - begin) + o - begin + l] = u[j][l];
                    }
                }
            }
        }
    }
}

static void winograd2_weights(float *packed, const float *w, ptrdiff_t O, ptrdiff_t C,
                              ptrdiff_t first, ptrdiff_t last) {
    transform_weights(2, packed, w, O, C, first, last);
}
static void winograd4_weights(float *packed, const float *w, ptrdiff_t O, ptrdiff_t C,
                              ptrdiff_t first, ptrdiff_t last) {
    transform_weights(4, packed, w, O, C, first, last);
}

#endif
