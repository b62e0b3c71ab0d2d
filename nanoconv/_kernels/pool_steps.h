/* Steps that pool: the maximum or the mean of each window, or of the whole image.

   layout   images as in step.h; a slice of a wider one, too
   loops    output rows, which the threads share, pixels, strips of channels, taps; of the mean of
            the whole image rows, too, and then the sums of all rows
   tile     at most 4 vectors of channels, whose maxima or sums stay in registers; of 3 × 3 windows
            1 or 2 pixels apart, a strip walks along a row
   why      taps outside of the image are left out before the loop over channels, so there is no
            border inside it. A maximum may see a number twice: 3 × 3 windows at the border look at
            its pixels again instead, and neighbours share the maximum of the columns that they
            both see */
#ifndef NANOCONV_POOL_STEPS_H
#define NANOCONV_POOL_STEPS_H

#include "pool.h"
#include "step.h"

/* ----------------------------------------------------------------------- maximum */

/* The largest of three rows, at one pixel. */
static ALWAYS_INLINE vec column_largest(const float *const row[3], ptrdiff_t at) {
    return maximum_of_3(load(row[0] + at), load(row[1] + at), load(row[2] + at));
}

static ALWAYS_INLINE ptrdiff_t inside(ptrdiff_t h, ptrdiff_t H) {
    return larger(0, smaller(h, H - 1));
}

/* A row of 3 × 3 windows, sw = 1 or 2 columns apart, of V vectors of channels from c on. */
static ALWAYS_INLINE void walk_3x3(const step *s, const float *const rows[3], float *to,
                                   ptrdiff_t c, const int V, const int sw) {
    image x = s->x, y = s->y;
    const float *row[3];
    UNROLL for (int u = 0; u < 3; u++) row[u] = rows[u] + c;
    to += c;
    ptrdiff_t w = -s->of.pl;
    vec left[4], middle[4];
    UNROLL for (int k = 0; k < V; k++) {
        left[k] = column_largest(row, inside(w, x.W) * x.pitch + k * LANES);
        middle[k] = column_largest(row, inside(w + 1, x.W) * x.pitch + k * LANES);
    }
    for (ptrdiff_t j = 0; j < y.W; j++, w += sw, to += y.pitch) {
        ptrdiff_t here = inside(w + 1, x.W) * x.pitch, next = inside(w + 2, x.W) * x.pitch;
        UNROLL for (int k = 0; k < V; k++) {
            if (sw == 2) middle[k] = column_largest(row, here + k * LANES);
            vec right = column_largest(row, next + k * LANES);
            store(to + k * LANES, maximum_of_3(left[k], middle[k], right));
            left[k] = sw == 2 ? right : middle[k];
            middle[k] = right;
        }
    }
}

static ALWAYS_INLINE void walk_strips(const step *s, const float *const rows[3], float *to,
                                      const int sw) {
    ptrdiff_t c = 0, C = vectors(s->y.C) * LANES;
    for (; c + 4 * LANES <= C; c += 4 * LANES) walk_3x3(s, rows, to, c, 4, sw);
    for (; c + 2 * LANES <= C; c += 2 * LANES) walk_3x3(s, rows, to, c, 2, sw);
    for (; c < C; c += LANES) walk_3x3(s, rows, to, c, 1, sw);
}

/* True for windows of 3 × 3 neighbours, 1 or 2 columns apart, which a strip can walk along. */
static int max_pool_walks(const step *s) {
    const window *k = &s->of;
    return k->KH == 3 && k->KW == 3 && k->sw <= 2 && k->dh == 1 && k->dw == 1;
}

/* One row of y from pixel 0 on, of windows that walk. rows[u] is the row that tap u sees, or, where
   there is none, the nearest one that there is. */
static void max_pool_row(const step *s, const float *const rows[3], float *to) {
    if (s->of.sw == 1) walk_strips(s, rows, to, 1);
    else walk_strips(s, rows, to, 2);
}

/* The taps of `KH` rows from h on, `dh` apart, that lie among H; the same of columns. */
static ALWAYS_INLINE void cut(ptrdiff_t h, ptrdiff_t KH, ptrdiff_t dh, ptrdiff_t H, ptrdiff_t *from,
                              ptrdiff_t *to) {
    *from = h < 0 ? h + (-h + dh - 1) / dh * dh : h;
    *to = smaller(h + (KH - 1) * dh + 1, H);
}

static ALWAYS_INLINE void max_of_taps(const step *s, float *to, taps of) {
    ptrdiff_t c = 0, C = vectors(s->y.C) * LANES, pitch = s->x.pitch;
    for (; c + 4 * LANES <= C; c += 4 * LANES)
        max_strip(to + c, NULL, s->x.at + c, pitch, of, 4);
    for (; c < C; c += LANES) max_strip(to + c, NULL, s->x.at + c, pitch, of, 1);
}

/* y[i, j] = the maximum of x over the window `of`; taps outside of the image do not count. */
static void max_pool_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *x = &s->x, *y = &s->y;
    window k = s->of;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T);
    int walks = max_pool_walks(s);
    for (ptrdiff_t i = h0; i < h1; i++) {
        const float *rows[3];
        for (int u = 0; u < 3; u++) rows[u] = pixel(x, inside(i * k.sh - k.pt + u, x->H), 0);
        if (walks) max_pool_row(s, rows, pixel(y, i, 0));
        for (ptrdiff_t j = 0; j < y->W && !walks; j++) {
            taps of = {.dh = k.dh, .dw = k.dw, .W = x->row / x->pitch};
            cut(i * k.sh - k.pt, k.KH, k.dh, x->H, &of.h0, &of.h1);
            cut(j * k.sw - k.pl, k.KW, k.dw, x->W, &of.w0, &of.w1);
            max_of_taps(s, pixel(y, i, j), of);
        }
    }
    clear_sides(y, h0, h1);
}

/* ----------------------------------------------------------------------- windows of any size */

/* Output row i sees the rows gather[2i] ≤ h < gather[2i + 1], column j the same of the columns,
   whose pairs stand behind those of all y.H rows. */
static ALWAYS_INLINE taps window_taps(const step *s, ptrdiff_t i, ptrdiff_t j) {
    const int32_t *rows = s->gather + 2 * i, *cols = s->gather + 2 * (s->y.H + j);
    return (taps){rows[0], rows[1], 1, cols[0], cols[1], 1, s->x.row / s->x.pitch};
}

/* y[i, j] = the maximum over the rows and columns of `gather`. */
static void window_max_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    ptrdiff_t h0 = share(s->y.H, t, T), h1 = share(s->y.H, t + 1, T);
    for (ptrdiff_t i = h0; i < h1; i++)
        for (ptrdiff_t j = 0; j < s->y.W; j++)
            max_of_taps(s, pixel(&s->y, i, j), window_taps(s, i, j));
    clear_sides(&s->y, h0, h1);
}

/* y[i, j] = w[i, j] · the sum over the rows and columns of `gather`: every mean of
   ops/pool2d.py, where w is 1 / its divisor. */
static void window_mean_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *y = &s->y;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T), C = vectors(y->C) * LANES;
    for (ptrdiff_t i = h0; i < h1; i++)
        for (ptrdiff_t j = 0; j < y->W; j++) {
            float scale = s->w[i * y->W + j], *to = pixel(y, i, j);
            taps of = window_taps(s, i, j);
            ptrdiff_t c = 0, pitch = s->x.pitch;
            for (; c + 4 * LANES <= C; c += 4 * LANES)
                mean_strip(to + c, s->x.at + c, scale, pitch, of, 4);
            for (; c < C; c += LANES) mean_strip(to + c, s->x.at + c, scale, pitch, of, 1);
        }
    clear_sides(y, h0, h1);
}

/* ----------------------------------------------------------------------- the whole image */

/* Sums of V vectors of channels over one row. Its pixels join 4 sums of each vector in turn: one
   addition need not wait for the one before, and short sums have small errors. */
static ALWAYS_INLINE void sum_of_row(float *sum, const float *p, ptrdiff_t W, ptrdiff_t pitch,
                                     const int V) {
    vec part[4][4];
    UNROLL for (int k = 0; k < V; k++)
        UNROLL for (int q = 0; q < 4; q++) part[k][q] = (vec){0};
    ptrdiff_t w = 0;
    for (; w + 4 <= W; w += 4)
        UNROLL for (int q = 0; q < 4; q++, p += pitch)
            UNROLL for (int k = 0; k < V; k++) part[k][q] += load(p + k * LANES);
    for (; w < W; w++, p += pitch)
        UNROLL for (int k = 0; k < V; k++) part[k][0] += load(p + k * LANES);
    UNROLL for (int k = 0; k < V; k++)
        store(sum + k * LANES, (part[k][0] + part[k][1]) + (part[k][2] + part[k][3]));
}

/* Floats of scratch: the sums of every row. */
static inline ptrdiff_t global_pool_scratch(ptrdiff_t C, ptrdiff_t H) {
    return vectors(C) * LANES * H;
}

/* y[0, 0] = the mean of all pixels of x. Each thread sums the rows that it has computed itself, as
   they are in its own cache; then the sums of all rows are added in their order. */
static void global_pool_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *x = &s->x;
    ptrdiff_t V = vectors(s->y.C), C = V * LANES;
    for (ptrdiff_t h = share(x->H, t, T); h < share(x->H, t + 1, T); h++) {
        ptrdiff_t v = 0;
        for (; v + 2 <= V; v += 2)
            sum_of_row(s->scratch + h * C + v * LANES, pixel(x, h, 0) + v * LANES, x->W, x->pitch, 2);
        if (v < V)
            sum_of_row(s->scratch + h * C + v * LANES, pixel(x, h, 0) + v * LANES, x->W, x->pitch, 1);
    }
    meet(s->meet, T);
    vec scale = splat(1.0f / (float)(x->H * x->W));
    for (ptrdiff_t v = share(V, t, T); v < share(V, t + 1, T); v++) {
        vec total = {0};
        for (ptrdiff_t h = 0; h < x->H; h++) total += load(s->scratch + h * C + v * LANES);
        store(s->y.at + v * LANES, total * scale);
    }
    if (t == 0) clear_sides(&s->y, 0, 1);
}

#endif
