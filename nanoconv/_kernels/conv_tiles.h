/* The tile of a dense convolution on channels-last images: R pixels of one row × V vectors of
   output channels, from the bias to the activation without leaving the registers.

       y[m, n] = activation(b[n] + Σ_q Σ_k x[m·x_step + q·x_row + place(k)]·w[q, k, n] + r[m, n])

   layout   in an image with a halo, what one pixel sees of one row of its window is one run of K
            floats: the channels of its first tap, of its second … So a window of KH rows is KH such
            segments, x_row floats apart, and the convolution is the matrix product of gemm.h whose
            rows of A overlap: nothing is copied (no im2col), nothing looks at a border.
            place(k) is k; or, gathered, a table: of the channels of a group, of dilated taps, of
            channels that a shuffle has left all over the place. It costs one scalar load more.
            Weights are packed in the panels of gemm.h, [panel][q][k][vectors].
   loops    segments → k
   tile     as in gemm.h: R·V sums, one row of w and one broadcast fill the registers
   why      what follows a convolution, the residual and the activation, costs a pass over memory of
            its own unless it is done here; and with R from 1 up to what fits, rows are cut into
            nearly equal tiles: 7 pixels are one tile of 7, not one of 6 and one of 1.

   Each y[m, n] is one chain of multiply-adds that begins with the bias, in the order of q and k:
   the same bits for every tile, block and number of threads. */
#ifndef NANOCONV_CONV_TILES_H
#define NANOCONV_CONV_TILES_H

#include "epilogue.h"
#include "gemm.h"
#include "step.h"

typedef struct {
    ptrdiff_t x_step, x_row, y_step, r_step;
    const int32_t *gather;
    const float *w, *b; /* of the tile's first vector */
    ptrdiff_t w_step;   /* floats from k to k: the width of the panel */
    ptrdiff_t segments, K;
    const float *ahead;    /* what is read next, */
    ptrdiff_t fetch;       /* and how often some of it is fetched in each STRETCH of k */
    int resume, unfinished; /* sums begin with what is in y; they are left there as they are */
    int32_t activation;
    float low, high;
    int has_low, has_high; /* of a clamp: each bound that is one costs an instruction */
} conv_part;

/* The other activations than clamps, one register after the other, outside of the tiles, where each
   would be unrolled for every sum. */
static ALWAYS_INLINE void activate_pixels_by(const int32_t activation, float *y,
                                             const conv_part *of, ptrdiff_t pixels,
                                             ptrdiff_t width) {
    for (ptrdiff_t m = 0; m < pixels; m++, y += of->y_step)
        for (ptrdiff_t n = 0; n < width; n += LANES)
            store(y + n, activate(load(y + n), activation, of->low, of->high));
}
static NOINLINE void activate_pixels(float *y, const conv_part *of, ptrdiff_t pixels,
                                     ptrdiff_t width) {
    if (of->activation == HARDSWISH) /* so short that to choose it each time would take longer */
        activate_pixels_by(HARDSWISH, y, of, pixels, width);
    else
        activate_pixels_by(of->activation, y, of, pixels, width);
}

#define STRETCH 16
#define FETCHED_LINES 8
#define FETCHED_FLOATS (FETCHED_LINES * LINE_FLOATS)

/* How often each of `tiles` tiles fetches FETCHED_LINES in a stretch, so that when they are done all
   is there that follows a panel of this width. */
static inline ptrdiff_t fetches(ptrdiff_t width, ptrdiff_t tiles) {
    return ceil_div(STRETCH * width, FETCHED_FLOATS * larger(tiles, 1));
}

static ALWAYS_INLINE void conv_tile(const int R, const int V, const int gathered,
                                    const conv_part *of, const float *x, float *y, const float *r) {
    vec sum[MOST_TILE_ROWS][PANEL];
    ptrdiff_t y_step = of->y_step;
    if (of->resume)
        UNROLL for (int m = 0; m < R; m++)
            UNROLL for (int v = 0; v < V; v++) sum[m][v] = load(y + m * y_step + v * LANES);
    else
        UNROLL for (int v = 0; v < V; v++) {
            vec bias = load(of->b + v * LANES);
            UNROLL for (int m = 0; m < R; m++) sum[m][v] = bias;
        }

    const float *w = of->w;
    const int32_t *gather = of->gather;
    const float *ahead = of->ahead;
    ptrdiff_t K = of->K, x_step = of->x_step, w_step = of->w_step;
    const ptrdiff_t fetch = of->fetch;
    for (ptrdiff_t q = of->segments; q; q--, x += of->x_row) {
        /* One pointer for 4 pixels, as in gemm.h. */
        const float *x4[MOST_TILE_ROWS / 4];
        UNROLL for (int p = 0; 4 * p < R; p++) {
            x4[p] = x + 4 * p * x_step;
            OPAQUE(x4[p]);
        }
        for (ptrdiff_t k = 0, end; k < K;) {
            end = K;
            if (fetch) { /* what is read next: a few lines every STRETCH of k */
                for (ptrdiff_t i = 0; i < fetch; i++, ahead += FETCHED_FLOATS)
                    UNROLL for (int l = 0; l < FETCHED_LINES; l++) PREFETCH(ahead + l * LINE_FLOATS);
                end = smaller(K, k + STRETCH);
            }
            for (; k < end; k++) {
                vec row[PANEL];
                UNROLL for (int v = 0; v < V; v++) row[v] = load(w + v * LANES);
                w += w_step;
                ptrdiff_t place = gathered ? gather[k] : k;
                UNROLL for (int m = 0; m < R; m++) {
                    vec factor = splat(x4[m / 4][m % 4 * x_step + place]);
                    UNROLL for (int v = 0; v < V; v++) sum[m][v] += factor * row[v];
                }
            }
        }
    }

    const int32_t activation = of->activation;
    if (!of->unfinished) {
        ptrdiff_t r_step = of->r_step;
        if (r)
            UNROLL for (int m = 0; m < R; m++) {
                UNROLL for (int v = 0; v < V; v++) sum[m][v] += load(r + v * LANES);
                r += r_step;
                OPAQUE(r);
            }
        vec low = splat(of->low), high = splat(of->high);
        if (of->has_low)
            UNROLL for (int m = 0; m < R; m++)
                UNROLL for (int v = 0; v < V; v++) sum[m][v] = more(low, sum[m][v]);
        if (of->has_high)
            UNROLL for (int m = 0; m < R; m++)
                UNROLL for (int v = 0; v < V; v++) sum[m][v] = less(high, sum[m][v]);
    }
    float *to = y;
    UNROLL for (int m = 0; m < R; m++) {
        UNROLL for (int v = 0; v < V; v++) store(to + v * LANES, sum[m][v]);
        to += y_step;
        OPAQUE(to); /* else every address is computed beforehand, and there are too few registers */
    }
    if (activation != CLAMP && !of->unfinished) activate_pixels(y, of, R, V * LANES);
}

typedef void conv_tile_function(const conv_part *of, const float *x, float *y, const float *r);
#define TILE(R, V)                                                                               \
    static NOINLINE void conv_##R##x##V(const conv_part *of, const float *x, float *y,           \
                                        const float *r) {                                        \
        conv_tile(R, V, 0, of, x, y, r);                                                         \
    }                                                                                            \
    static NOINLINE void gathered_##R##x##V(const conv_part *of, const float *x, float *y,       \
                                            const float *r) {                                    \
        conv_tile(R, V, 1, of, x, y, r);                                                         \
    }
ALL_TILES
#undef TILE
#define TILE(R, V) [V][R] = {conv_##R##x##V, gathered_##R##x##V},
static conv_tile_function *const CONV_TILES[PANEL + 1][MOST_TILE_ROWS + 1][2] = {ALL_TILES};
#undef TILE

/* `pixels` of one row × V vectors, cut into nearly equal tiles. Of these vectors only the first
   `columns` floats belong to y: what is behind them may be somebody else's. */
static void conv_run(conv_part *of, const float *x, float *y, const float *r,
                     ptrdiff_t pixels, ptrdiff_t V, ptrdiff_t columns) {
    ptrdiff_t tiles = ceil_div(pixels, TILE_ROWS[V]), least = pixels / tiles;
    ptrdiff_t larger_ones = pixels - tiles * least, R;
    ptrdiff_t step = of->segments * ceil_div(of->K, STRETCH) * of->fetch * FETCHED_FLOATS;
    if (columns == V * LANES) {
        for (ptrdiff_t i = 0, m = 0; i < tiles; i++, m += R) {
            R = least + (i < larger_ones);
            CONV_TILES[V][R][of->gather != NULL](of, x + m * of->x_step, y + m * of->y_step,
                                                 r ? r + m * of->r_step : NULL);
            of->ahead += step;
        }
        return;
    }
    float edge[MOST_FLOATS];
    conv_part part = *of;
    part.y_step = V * LANES;
    for (ptrdiff_t i = 0, m = 0; i < tiles; i++, m += R) {
        R = least + (i < larger_ones);
        for (ptrdiff_t j = 0; j < R && of->resume; j++)
            copy_floats(edge + j * V * LANES, y + (m + j) * of->y_step, columns);
        part.ahead = of->ahead;
        CONV_TILES[V][R][of->gather != NULL](&part, x + m * of->x_step, edge,
                                             r ? r + m * of->r_step : NULL);
        of->ahead += step;
        for (ptrdiff_t j = 0; j < R; j++)
            copy_floats(y + (m + j) * of->y_step, edge + j * V * LANES, columns);
    }
}

#endif
