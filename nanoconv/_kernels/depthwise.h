/* The inner loops of depthwise convolution: walks over an image with a few weights in registers.

   In NHWC the channels of a pixel lie side by side and never meet, so LANES of them are one vector,
   and the loops below read as if there were only one channel. For one such vector a walk goes n
   steps along y and over x. At each step it sees rows × taps inputs, at most 3 × 3:

        x   · · [▪ ▪ ▪] · · ·  →         correlate:   y[j] = start[j] + Σ_{u,v} x[j,u,v]·w[u,v]
            · · [▪ ▪ ▪] · · ·            accumulate:  w[u,v] += Σ_j y[j]·x[j,u,v]
            · · [▪ ▪ ▪] · · ·

   layout   all steps are given in floats: from output to output, tap to tap, row to row. So a walk
            may as well go down a column, or over every second pixel
   loops    vectors of channels → steps
   tile     4 steps × LANES channels × rows × taps, where neighbouring steps see the same inputs: of
            3 × 3 taps, 18 loads feed 36 multiply-adds; otherwise 1 step
   why      9 weights (or 9 sums), 4 sums (or 4 of y) and one input are 14 registers, of 16 or more;
            more taps are walked again, starting from the result so far

   Each y[j], and each w[u,v], is one chain of multiply-adds, in the same order for any tile. */
#ifndef NANOCONV_DEPTHWISE_H
#define NANOCONV_DEPTHWISE_H

#include "simd.h"

typedef struct {
    int to_weights; /* accumulate, not correlate */
    ptrdiff_t n, y_step, start_step, x_step, x_tap, x_row, w_tap, w_row;
    float *y;
    const float *start, *x;
    float *w;
} walk;

#define STEPS 4 /* of a tile */

/* `steps` steps of a walk; x and y are where they begin, one pointer for each row of x. */
static ALWAYS_INLINE void steps_of(const int to_weights, const int steps, const int rows,
                                   const int taps, float *y, ptrdiff_t y_step, const float *start,
                                   ptrdiff_t start_step, const float *x[3], ptrdiff_t x_tap,
                                   vec w[3][3]) {
    vec row[STEPS];
    UNROLL for (int j = 0; j < steps; j++)
        row[j] = load(to_weights ? y + j * y_step : start + j * start_step);
    UNROLL for (int u = 0; u < rows; u++)
        UNROLL for (int q = 0; q < steps + taps - 1; q++) {
            vec value = load(x[u] + q * x_tap); /* tap v of step j, wherever j + v = q */
            UNROLL for (int j = 0; j < steps; j++) {
                int v = q - j;
                if (v < 0 || v >= taps) continue;
                if (to_weights)
                    w[u][v] += row[j] * value;
                else
                    row[j] += value * w[u][v];
            }
        }
    UNROLL for (int j = 0; j < steps && !to_weights; j++) store(y + j * y_step, row[j]);
}

static ALWAYS_INLINE void walk_vectors(const int to_weights, const int rows, const int taps,
                                       const walk *by, ptrdiff_t c, ptrdiff_t end) {
    ptrdiff_t x_step = by->x_step, x_tap = by->x_tap, y_step = by->y_step;
    ptrdiff_t start_step = by->start_step;
    for (; c < end; c += LANES) {
        vec w[3][3];
        const float *x[3], *start = by->start + c;
        float *y = by->y + c;
        UNROLL for (int u = 0; u < rows; u++) {
            x[u] = by->x + u * by->x_row + c;
            UNROLL for (int v = 0; v < taps; v++)
                w[u][v] = load(by->w + u * by->w_row + v * by->w_tap + c);
        }
        ptrdiff_t left = by->n;
        if (x_step == x_tap) {
            for (; left >= STEPS; left -= STEPS) {
                steps_of(to_weights, STEPS, rows, taps, y, y_step, start, start_step, x, x_tap, w);
                UNROLL for (int u = 0; u < rows; u++) x[u] += STEPS * x_step;
                y += STEPS * y_step, start += STEPS * start_step;
            }
        }
        for (; left > 0; left--) {
            steps_of(to_weights, 1, rows, taps, y, y_step, start, start_step, x, x_tap, w);
            UNROLL for (int u = 0; u < rows; u++) x[u] += x_step;
            y += y_step, start += start_step;
        }
        UNROLL for (int u = 0; u < rows && to_weights; u++)
            UNROLL for (int v = 0; v < taps; v++)
                store(by->w + u * by->w_row + v * by->w_tap + c, w[u][v]);
    }
}

typedef void walk_function(const walk *by, ptrdiff_t c, ptrdiff_t end);
#define WITH_ROWS(R) WALK(R, 1) WALK(R, 2) WALK(R, 3)
#define ALL_WALKS WITH_ROWS(1) WITH_ROWS(2) WITH_ROWS(3)
#define WALK(R, T)                                                                               \
    static NOINLINE void correlate_##R##x##T(const walk *by, ptrdiff_t c, ptrdiff_t end) {       \
        walk_vectors(0, R, T, by, c, end);                                                       \
    }                                                                                            \
    static NOINLINE void accumulate_##R##x##T(const walk *by, ptrdiff_t c, ptrdiff_t end) {      \
        walk_vectors(1, R, T, by, c, end);                                                       \
    }
ALL_WALKS
#undef WALK
#define WALK(R, T) [R][T] = {correlate_##R##x##T, accumulate_##R##x##T},
static walk_function *const WALKS[4][4][2] = {ALL_WALKS};
#undef WALK

/* One tap of less than LANES channels. */
static void walk_few(const walk *by, ptrdiff_t channels) {
    for (ptrdiff_t j = 0; j < by->n; j++)
        for (ptrdiff_t c = 0; c < channels; c++) {
            float x = by->x[j * by->x_step + c], *y = by->y + j * by->y_step + c;
            if (by->to_weights)
                by->w[c] += *y * x;
            else
                *y = by->start[j * by->start_step + c] + x * by->w[c];
        }
}

/* The channels c ≤ k < end, whole vectors or less than one, of any number of rows and taps. */
static void walk_taps(const walk *by, ptrdiff_t rows, ptrdiff_t taps, ptrdiff_t c, ptrdiff_t end) {
    ptrdiff_t most = end - c < LANES ? 1 : 3;
    walk piece = *by;
    if (rows * taps == 0 && !by->to_weights)
        for (ptrdiff_t j = 0; j < by->n; j++)
            copy_floats(by->y + j * by->y_step + c, by->start + c, end - c);
    for (ptrdiff_t u = 0, r; u < rows; u += r) {
        r = rows - u < most ? rows - u : most;
        for (ptrdiff_t v = 0, t; v < taps; v += t) {
            t = taps - v < most ? taps - v : most;
            piece.x = by->x + u * by->x_row + v * by->x_tap;
            piece.w = by->w + u * by->w_row + v * by->w_tap;
            if (most == 1)
                walk_few(&piece, end);
            else
                WALKS[r][t][by->to_weights](&piece, c, end);
            piece.start = by->y, piece.start_step = by->y_step; /* the rest is added to this */
        }
    }
}

#endif
