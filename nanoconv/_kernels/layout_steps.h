/* Steps that change how an image lies in memory: planes to pixels and back, copies, other sizes.

   layout   planes are C pieces of H·W floats, one behind the other, as NumPy has them; an image is
            that of step.h. A planes' image has `at`, H, W and C alone
   loops    rows, which the threads share, vectors of channels, vectors of pixels
   tile     LANES channels × LANES pixels, transposed in registers; three colours are shuffled
            into place, LANES pixels at a time
   why      whole vectors are read and written on both sides, and every number is touched once:
            these steps can be no faster than memory */
#ifndef NANOCONV_LAYOUT_STEPS_H
#define NANOCONV_LAYOUT_STEPS_H

#include "step.h"

/* ----------------------------------------------------------------------- planes to image */

/* Number k of the pixels r g b r g b … is colour k % 3 of pixel k / 3. The first shuffle puts red
   and green in their places, the second one blue. */
#define RED_GREEN(k) ((k) % 3 == 1 ? LANES + (k) / 3 : (k) / 3)
#define BLUE(k, l) ((k) % 3 == 2 ? LANES + (k) / 3 : (l))
#define RED_GREEN_0(l) RED_GREEN(l)
#define RED_GREEN_1(l) RED_GREEN(LANES + l)
#define RED_GREEN_2(l) RED_GREEN(2 * LANES + l)
#define BLUE_0(l) BLUE(l, l)
#define BLUE_1(l) BLUE(LANES + l, l)
#define BLUE_2(l) BLUE(2 * LANES + l, l)

static void interleave_colours(float *y, const float *x, ptrdiff_t plane, ptrdiff_t W) {
    ptrdiff_t w = 0;
    for (; w + LANES <= W; w += LANES, y += 3 * LANES) {
        vec r = load(x + w), g = load(x + plane + w), b = load(x + 2 * plane + w);
        store(y, SHUFFLE(SHUFFLE(r, g, RED_GREEN_0), b, BLUE_0));
        store(y + LANES, SHUFFLE(SHUFFLE(r, g, RED_GREEN_1), b, BLUE_1));
        store(y + 2 * LANES, SHUFFLE(SHUFFLE(r, g, RED_GREEN_2), b, BLUE_2));
    }
    for (; w < W; w++, y += 3)
        for (ptrdiff_t c = 0; c < 3; c++) y[c] = x[c * plane + w];
}

/* One row of planes as pixels of whole vectors. `end` is where the planes end: a row may be
   shorter than a vector, and what is read behind it is not stored. */
static void planes_to_row(float *y, ptrdiff_t pitch, const float *x, const float *end, ptrdiff_t C,
                          ptrdiff_t plane, ptrdiff_t W) {
    for (ptrdiff_t c = 0; c < C; c += LANES)
        for (ptrdiff_t w = 0; w < W; w += LANES) {
            ptrdiff_t n = smaller(LANES, W - w);
            vec square[LANES];
            UNROLL for (int l = 0; l < LANES; l++) {
                const float *p = x + (c + l) * plane + w;
                square[l] = c + l >= C           ? (vec){0}
                            : end - p >= LANES ? load(p)
                                               : load_first(p, n);
            }
            transpose(square);
            float *to = y + w * pitch + c;
            UNROLL for (int l = 0; l < LANES; l++) if (l < n) store(to + l * pitch, square[l]);
        }
}

/* Row h of y = x, planes. The pixels of y may also have no lanes to spare, as few channels do that
   the first convolution reads as one run. */
static void planes_to_pixels(const step *s, float *to, ptrdiff_t h) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t C = x->C, plane = x->H * x->W;
    const float *from = x->at + h * x->W;
    if (y->pitch == 3)
        interleave_colours(to, from, plane, y->W);
    else if (y->pitch >= LANES)
        planes_to_row(to, y->pitch, from, x->at + C * plane, C, plane, y->W);
    else
        for (ptrdiff_t w = 0; w < y->W; w++)
            for (ptrdiff_t c = 0; c < y->pitch; c++)
                to[w * y->pitch + c] = c < C ? from[c * plane + w] : 0;
}

static void planes_to_image_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *y = &s->y;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T);
    for (ptrdiff_t h = h0; h < h1; h++) planes_to_pixels(s, pixel(y, h, 0), h);
    clear_sides(y, h0, h1);
}

/* ----------------------------------------------------------------------- image to planes */

static void row_to_planes(float *y, const float *x, ptrdiff_t pitch, ptrdiff_t C, ptrdiff_t plane,
                          ptrdiff_t W) {
    for (ptrdiff_t c = 0; c < C; c += LANES)
        for (ptrdiff_t w = 0; w < W; w += LANES) {
            ptrdiff_t n = smaller(LANES, W - w);
            vec square[LANES];
            const float *from = x + w * pitch + c;
            UNROLL for (int l = 0; l < LANES; l++)
                square[l] = l < n ? load(from + l * pitch) : (vec){0};
            transpose(square);
            UNROLL for (int l = 0; l < LANES; l++) {
                float *to = y + (c + l) * plane + w;
                if (c + l >= C) break;
                if (n == LANES) store(to, square[l]);
                else memcpy(to, &square[l], n * sizeof *to);
            }
        }
}

/* y, planes of the channels that x has, = x. They are an output of the plan, whose pitch is 1; or
   the channels of one pixel, an image with lanes behind them and a halo. */
static void image_to_planes_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t plane = x->H * x->W;
    if (t == 0 && y->pitch > 1) {
        clear(y->at + y->C, vectors(y->C) * LANES - y->C);
        clear_sides(y, 0, 1);
    }
    if (plane == 1) {
        if (t == 0) copy_floats(y->at, x->at, x->C);
        return;
    }
    for (ptrdiff_t h = share(x->H, t, T); h < share(x->H, t + 1, T); h++)
        row_to_planes(y->at + h * x->W, pixel(x, h, 0), x->pitch, x->C, plane, x->W);
}

/* ----------------------------------------------------------------------- copies */

/* y = x of one pixel, whole vectors; `mask` is that of the last one. */
static ALWAYS_INLINE void copy_pixel(float *y, const float *x, ptrdiff_t V, lane_mask mask) {
    for (ptrdiff_t v = 0; v < V - 1; v++) store(y + v * LANES, load(x + v * LANES));
    store(y + (V - 1) * LANES, only(load(x + (V - 1) * LANES), mask));
}

/* Channel c of a pixel is x[at[c]]. */
static ALWAYS_INLINE void gather_pixel(float *restrict y, const float *restrict x,
                                       const int32_t *restrict at, ptrdiff_t C) {
    for (ptrdiff_t c = 0; c < C; c++) y[c] = x[at[c]];
}

/* The first y.C channels of x, or those that `gather` says, to where the next step wants them.
   Written are whole vectors, or, if K is 1, y.C floats: a slice of a wider image may begin and
   end inside of a vector. */
static void copy_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t C = y->C, V = vectors(C), exact = s->K == 1;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T);
    lane_mask mask = last_lanes(C);
    for (ptrdiff_t h = h0; h < h1; h++)
        for (ptrdiff_t w = 0; w < y->W; w++) {
            float *to = pixel(y, h, w);
            const float *from = pixel(x, h, w);
            if (s->gather) {
                gather_pixel(to, from, s->gather, C);
                if (!exact) clear(to + C, V * LANES - C);
            } else if (exact) {
                copy_floats(to, from, C);
            } else {
                copy_pixel(to, from, V, mask);
            }
        }
    clear_own_sides(y, h0, h1, exact ? C : V * LANES);
}

/* ----------------------------------------------------------------------- other sizes */

/* Σ over the taps of one output pixel: KH rows of x, mixed into one, and of it KW columns. */
static ALWAYS_INLINE vec mix_taps(const image *x, ptrdiff_t c, const int32_t *rows,
                                  const float *row_weights, ptrdiff_t KH, const int32_t *cols,
                                  const float *col_weights, ptrdiff_t KW) {
    vec sum = {0};
    for (ptrdiff_t v = 0; v < KW; v++) {
        vec column = {0};
        for (ptrdiff_t u = 0; u < KH; u++)
            column += splat(row_weights[u]) * load(pixel(x, rows[u], cols[v]) + c);
        sum += splat(col_weights[v]) * column;
    }
    return sum;
}

/* y[i, j] = Σ_u Σ_v A[i, u]·B[j, v]·x[rows[i, u], cols[j, v]], the interpolation of
   ops/interpolate.py with KH taps for a row and KW for a column. `gather` holds rows (y.H × KH) and
   behind them cols (y.W × KW), `w` in the same order A and B. One tap is a copy: it has no
   weight. */
static void resize_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t KH = s->of.KH, KW = s->of.KW, V = vectors(y->C);
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T);
    lane_mask all = last_lanes(LANES);
    for (ptrdiff_t i = h0; i < h1; i++)
        for (ptrdiff_t j = 0; j < y->W; j++) {
            const int32_t *rows = s->gather + i * KH, *cols = s->gather + y->H * KH + j * KW;
            float *to = pixel(y, i, j);
            if (KH * KW == 1) {
                copy_pixel(to, pixel(x, rows[0], cols[0]), V, all);
                continue;
            }
            const float *A = s->w + i * KH, *B = s->w + y->H * KH + j * KW;
            for (ptrdiff_t c = 0; c < V * LANES; c += LANES)
                if (KH == 2 && KW == 2) store(to + c, mix_taps(x, c, rows, A, 2, cols, B, 2));
                else store(to + c, mix_taps(x, c, rows, A, KH, cols, B, KW));
        }
    clear_sides(y, h0, h1);
}

#endif
