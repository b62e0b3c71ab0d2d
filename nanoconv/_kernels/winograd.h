/* A dense 3 x 3 convolution with stride 1 by Winograd's F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3).

       Y = Aᵀ·[ Σ_c (G·g·Gᵀ) ⊙ (Bᵀ·d·B) ]·A     for every tile of m x m output pixels

   layout   images of step.h. `w` holds α² matrices U[ξ] (C, O), α = m + 2, one behind the other,
            each packed as gemm.h does. Between the transforms stand V[ξ] (tiles, C) and M[ξ]
            (tiles, O), a plane for each place ξ of a tile:

              image          V, a plane for each ξ            M                    image
              · · · · · ·    ┌─────────┐   U[0] (C, O)    ┌─────────┐
              · d d d d ·    │ ξ=0   C │   ───────────▸   │ ξ=0   O │
              · d d d d ·  ▸ │ tiles   ├─┐ U[1] (C, O)    │ tiles   ├─┐  ▸   y y y y
              · d d d d ·    └─┬───────┘ │ ───────────▸   └─┬───────┘ │      y y y y
              · d d d d ·      └─────────┘                  └─────────┘

   loops    blocks of tiles → input transform; places ξ and panels → gemm; output transform
   tile     the matrix product has that of conv_tiles.h, the transforms one tile x LANES channels
   why      the sum over channels is where the time goes, and in the transformed tile it takes
            α²/(9m²) of the multiplications: 4/9, or 1/4 for m = 4. A block is large enough for
            whole tiles of gemm.h, and small enough for V and M to stay in L2.

   With few tiles and many weights there is one block for all threads: each transforms some tiles,
   then multiplies at some of the places, so that the weights, by far the most there is to read, are
   read once; between these phases all meet. Otherwise each thread has tiles, and scratch, of its
   own. */
#ifndef NANOCONV_WINOGRAD_H
#define NANOCONV_WINOGRAD_H

#include "conv_tiles.h"
#include "winograd_transforms.h"

#define TILE_BLOCK 18       /* tiles of a block of one thread */
#define FEW_TILES 49        /* up to here, */
#define MANY_WEIGHTS 200000 /* and from so many floats on, one block is shared */

typedef struct {
    ptrdiff_t across, tiles; /* tiles in a row; in the map */
    int shared;              /* one block for all threads */
    ptrdiff_t block;         /* tiles at most that stand in scratch at once */
    ptrdiff_t C, O;          /* whole vectors */
    ptrdiff_t v_plane, m_plane;
} winograd;

/* n floats as an odd number of cache lines: the places of a tile then fall into different sets. */
static inline ptrdiff_t odd_lines(ptrdiff_t n) { return ((n + 15) / 16 | 1) * 16; }

static inline winograd winograd_sizes(ptrdiff_t m, ptrdiff_t C, ptrdiff_t O, ptrdiff_t H,
                                      ptrdiff_t W) {
    winograd of = {.across = ceil_div(W, m), .tiles = ceil_div(H, m) * ceil_div(W, m)};
    of.shared = of.tiles <= FEW_TILES && (m + 2) * (m + 2) * C * O >= MANY_WEIGHTS;
    of.block = of.shared ? of.tiles : smaller(of.tiles, TILE_BLOCK);
    of.C = whole_vectors(C), of.O = whole_vectors(O);
    of.v_plane = odd_lines(of.block * of.C), of.m_plane = odd_lines(of.block * of.O);
    return of;
}

/* The floats of scratch for each of T threads, for an output of H x W pixels: zeros, V, M. */
static inline ptrdiff_t winograd_scratch(ptrdiff_t m, ptrdiff_t C, ptrdiff_t O, ptrdiff_t H,
                                         ptrdiff_t W, ptrdiff_t T) {
    winograd of = winograd_sizes(m, C, O, H, W);
    ptrdiff_t all = odd_lines(of.O) + (m + 2) * (m + 2) * (of.v_plane + of.m_plane);
    return of.shared ? odd_lines(ceil_div(all, T)) : all;
}

/* ------------------------------------------------------------------------------ phases */

/* The α x α pixels from (h, w) on of LANES channels, with zeros for those outside of the halo. */
static void cut_out(float *to, const image *x, ptrdiff_t wide, ptrdiff_t h, ptrdiff_t w,
                    ptrdiff_t c) {
    ptrdiff_t left = larger(-x->left - w, 0), right = smaller(x->W + x->right - w, wide);
    clear(to, wide * wide * LANES);
    for (ptrdiff_t i = larger(-x->top - h, 0); i < smaller(x->H + x->bottom - h, wide); i++)
        for (ptrdiff_t j = left; j < right; j++)
            store(to + (i * wide + j) * LANES, load(pixel(x, h + i, w + j) + c));
}

/* V of the tiles first ≤ tile < last; `v` is the place of tile `base`. */
static ALWAYS_INLINE void inputs(const int m, const step *s, const winograd *of, float *v,
                                 ptrdiff_t base, ptrdiff_t first, ptrdiff_t last) {
    const int wide = m + 2;
    const image *x = &s->x;
    float edge[TILE_SIDE * TILE_SIDE * LANES];
    for (ptrdiff_t tile = first; tile < last; tile++) {
        ptrdiff_t h = tile / of->across * m - s->of.pt, w = tile % of->across * m - s->of.pl;
        int inside = h >= -x->top && h + wide <= x->H + x->bottom && w >= -x->left &&
                     w + wide <= x->W + x->right;
        for (ptrdiff_t c = 0; c < of->C; c += LANES) {
            if (!inside) cut_out(edge, x, wide, h, w, c);
            transform_input(m, v + (tile - base) * of->C + c, of->v_plane,
                            inside ? pixel(x, h, w) + c : edge, inside ? x->row : wide * LANES,
                            inside ? x->pitch : LANES);
        }
    }
}

/* M = V·U of `tiles` tiles for the pairs first ≤ ξ·panels + p < last of a place and a panel. In Aᵀ
   the column of the point 1 is all ones: added to the place (1, 1), the bias is in every pixel. */
static void products(const step *s, const winograd *of, float *to, const float *v,
                     const float *zeros, ptrdiff_t one, ptrdiff_t tiles, ptrdiff_t first,
                     ptrdiff_t last, int fetch) {
    ptrdiff_t panels = panel_count(of->O);
    conv_part part = {.x_step = of->C, .y_step = of->O, .segments = 1, .activation = CLAMP};
    for (ptrdiff_t k = first; k < last; k++) {
        ptrdiff_t place = k / panels, p = k % panels, n = panel_begin(p, of->O);
        ptrdiff_t width = panel_begin(p + 1, of->O) - n, V = width / LANES;
        ptrdiff_t pieces = larger(ceil_div(s->K * width, PIECE), 1);
        const float *panel = s->w + (place * of->O + n) * s->K;
        part.w_step = width;
        part.b = (place == one ? s->b : zeros) + n;
        part.fetch = fetch ? fetches(width, ceil_div(tiles, TILE_ROWS[V])) : 0;
        for (ptrdiff_t q = 0; q < pieces; q++) {
            ptrdiff_t k0 = share(s->K, q, pieces);
            part.K = share(s->K, q + 1, pieces) - k0;
            part.w = panel + k0 * width;
            part.ahead = part.w + part.K * width;
            part.resume = q > 0;
            part.unfinished = q < pieces - 1;
            conv_run(&part, v + place * of->v_plane + k0, to + place * of->m_plane + n, NULL,
                     tiles, V, width);
        }
    }
}

/* The output pixels of the tiles first ≤ tile < last; `from` is M at the place of tile `base`. */
static ALWAYS_INLINE void outputs_with(const int m, const int32_t activation, const step *s,
                                       const winograd *of, const float *from, ptrdiff_t base,
                                       ptrdiff_t first, ptrdiff_t last) {
    const image *y = &s->y, *r = &s->r;
    for (ptrdiff_t tile = first; tile < last; tile++) {
        ptrdiff_t i0 = tile / of->across * m, j0 = tile % of->across * m;
        ptrdiff_t rows = smaller(m, y->H - i0), width = smaller(m, y->W - j0);
        for (ptrdiff_t o = 0; o < of->O; o += LANES) {
            vec columns[TILE_SIDE][TILE_SIDE], line[TILE_SIDE], out[TILE_SIDE];
            transform_columns(m, columns, from + (tile - base) * of->O + o, of->m_plane);
            for (ptrdiff_t i = 0; i < rows; i++) {
                UNROLL for (int j = 0; j < m + 2; j++) line[j] = columns[j][i];
                times_at(m, out, line);
                float *to = pixel(y, i0 + i, j0) + o;
                const float *and = r->at ? pixel(r, i0 + i, j0) + o : NULL;
                UNROLL for (int j = 0; j < m; j++) {
                    if (j == width) break;
                    if (and) out[j] += load(and + j * r->pitch);
                    store(to, activate(out[j], activation, s->low, s->high));
                    to += y->pitch;
                }
            }
        }
    }
}

/* A clamp is so short that to choose it for each vector would take longer. */
static ALWAYS_INLINE void outputs(const int m, const step *s, const winograd *of, const float *from,
                                  ptrdiff_t base, ptrdiff_t first, ptrdiff_t last) {
    if (s->activation == CLAMP)
        outputs_with(m, CLAMP, s, of, from, base, first, last);
    else
        outputs_with(m, s->activation, s, of, from, base, first, last);
}

/* ------------------------------------------------------------------------------ steps */

static ALWAYS_INLINE void winograd_step(const int m, const step *s, ptrdiff_t t, ptrdiff_t T) {
    const winograd of = winograd_sizes(m, s->K, s->y.C, s->y.H, s->y.W);
    const ptrdiff_t places = (m + 2) * (m + 2), one = m + 3, pairs = places * panel_count(of.O);
    const ptrdiff_t first = share(of.tiles, t, T), last = share(of.tiles, t + 1, T);
    float *zeros = s->scratch + (of.shared ? 0 : t * s->scratch_floats);
    float *v = zeros + odd_lines(of.O), *sums = v + places * of.v_plane;

    if (t == 0 || !of.shared) clear(zeros, of.O);
    if (of.shared) {
        inputs(m, s, &of, v, 0, first, last);
        meet(s->meet, T);
        products(s, &of, sums, v, zeros, one, of.tiles, share(pairs, t, T), share(pairs, t + 1, T),
                 1);
        meet(s->meet, T);
        outputs(m, s, &of, sums, 0, first, last);
    } else {
        ptrdiff_t blocks = ceil_div(last - first, of.block);
        for (ptrdiff_t k = 0; k < blocks; k++) {
            ptrdiff_t begin = first + share(last - first, k, blocks);
            ptrdiff_t end = first + share(last - first, k + 1, blocks);
            inputs(m, s, &of, v, begin, begin, end);
            products(s, &of, sums, v, zeros, one, end - begin, 0, pairs, k == 0);
            outputs(m, s, &of, sums, begin, begin, end);
        }
    }
    clear_sides(&s->y, share(s->y.H, t, T), share(s->y.H, t + 1, T));
}

static void winograd2_step(const step *s, ptrdiff_t t, ptrdiff_t T) { winograd_step(2, s, t, T); }
static void winograd4_step(const step *s, ptrdiff_t t, ptrdiff_t T) { winograd_step(4, s, t, T); }

#endif
