/* The inner loops of pooling, over the channels of one pixel.

   layout   x (H, W, C) from the first of the channels on; y, where, dy and index (C)
   loops    strips of channels, the taps of the window; max pooling's gradient: channels
   tile     at most 4 vectors of channels, whose maxima or sums are in registers until the window is
            through; of the gradient, 4 channels
   why      each number is read once, and nothing else but the result goes through memory. Of the
            gradient, `restrict`: the compiler need not assume that a sum changes the next dy. Four
            sums are read before one is written, since channels never meet */
#ifndef NANOCONV_POOL_H
#define NANOCONV_POOL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "simd.h"

typedef int32_t flags __attribute__((vector_size(4 * LANES)));

/* The taps of a window: the rows h0, h0 + dh ... below h1, and such columns, of a width W. */
typedef struct {
    ptrdiff_t h0, h1, dh, w0, w1, dw, W;
} taps;

#define EACH_TAP(t, h, w)                                                                          \
    for (ptrdiff_t h = (t).h0; h < (t).h1; h += (t).dh)                                            \
        for (ptrdiff_t w = (t).w0; w < (t).w1; w += (t).dw)

static ALWAYS_INLINE flags either(flags which, flags a, flags b) {
    return (which & a) | (~which & b);
}

/* ------------------------------------------------------------------------------- maximum */

/* Of equals the first, but NaN beats all. `where` is counted from the first tap; it may be NULL,
   and then the compiler leaves out what it takes. */
static ALWAYS_INLINE void max_strip(float *y, int32_t *where, const float *x, ptrdiff_t C, taps t,
                                    const int V) {
    vec best[4];
    flags found[4];
    UNROLL for (int k = 0; k < V; k++) best[k] = splat(-INFINITY), found[k] = (flags){0};
    EACH_TAP(t, h, w) {
        const float *p = x + (h * t.W + w) * C;
        flags here = (flags){0} + (int32_t)((h - t.h0) * t.W + w - t.w0);
        UNROLL for (int k = 0; k < V; k++) {
            vec v = load(p + k * LANES);
            if (!where) {
                best[k] = maximum(v, best[k]);
                continue;
            }
            flags better = (flags)(v > best[k]) | (flags)(v != v);
            best[k] = (vec)either(better, (flags)v, (flags)best[k]);
            found[k] = either(better, here, found[k]);
        }
    }
    UNROLL for (int k = 0; k < V; k++) {
        store(y + k * LANES, best[k]);
        if (where) memcpy(where + k * LANES, &found[k], sizeof found[k]);
    }
}

static ALWAYS_INLINE void max_of_one(float *y, int32_t *where, const float *x, ptrdiff_t C,
                                     taps t) {
    float best = -INFINITY;
    int32_t found = 0;
    EACH_TAP(t, h, w) {
        float v = x[(h * t.W + w) * C];
        int32_t better = -((v > best) | (v != v)), here = (int32_t)((h - t.h0) * t.W + w - t.w0);
        if (where) found = (found & ~better) | (here & better);
        best = v > best ? v : best; /* one instruction: to guess which would often fail */
        best = v != v ? v : best;
    }
    *y = best;
    if (where) *where = found;
}

static void max_where(float *restrict y, int32_t *restrict where, const float *restrict x,
                      ptrdiff_t C, ptrdiff_t n, taps t) {
    ptrdiff_t c = 0;
    for (; c + 2 * LANES <= n; c += 2 * LANES) max_strip(y + c, where + c, x + c, C, t, 2);
    for (; c + LANES <= n; c += LANES) max_strip(y + c, where + c, x + c, C, t, 1);
    for (; c < n; c++) max_of_one(y + c, where + c, x + c, C, t);
}

static void max_only(float *restrict y, const float *restrict x, ptrdiff_t C, ptrdiff_t n, taps t) {
    ptrdiff_t c = 0;
    for (; c + 4 * LANES <= n; c += 4 * LANES) max_strip(y + c, NULL, x + c, C, t, 4);
    for (; c + LANES <= n; c += LANES) max_strip(y + c, NULL, x + c, C, t, 1);
    for (; c < n; c++) max_of_one(y + c, NULL, x + c, C, t);
}

/* How many windows, from the first on, are as wide as it and begin where the one before ends. */
static ptrdiff_t side_by_side(const int64_t *cols, ptrdiff_t n) {
    ptrdiff_t j = 0;
    int64_t K = cols[1] - cols[0], w = cols[0];
    for (; j < n && cols[2 * j] == w && cols[2 * j + 1] == w + K; j++) w += K;
    return j;
}

/* n windows of K neighbours, side by side: the compiler makes vectors of loads that it sorts. */
static ALWAYS_INLINE void max_neighbours(float *restrict y, const float *restrict x, ptrdiff_t n,
                                         const int K) {
    for (ptrdiff_t j = 0; j < n; j++) {
        float best = x[j * K];
        UNROLL for (int v = 1; v < K; v++) {
            float next = x[j * K + v];
            best = next > best ? next : best;
            best = next != next ? next : best;
        }
        y[j] = best;
    }
}

/* A row of n windows of a one-channel image: the rows h0 <= h < h1, and the columns of each pair,
   of which the first `even` lie side by side. */
static void max_line(float *restrict y, const float *restrict x, ptrdiff_t h0, ptrdiff_t h1,
                     const int64_t *restrict cols, ptrdiff_t W, ptrdiff_t n, ptrdiff_t even) {
    ptrdiff_t j = h1 - h0 == 1 ? even : 0;
    const float *first = x + h0 * W + cols[0];
    switch (j ? cols[1] - cols[0] : 0) {
        case 2: max_neighbours(y, first, j, 2); break;
        case 3: max_neighbours(y, first, j, 3); break;
        case 4: max_neighbours(y, first, j, 4); break;
        default: j = 0;
    }
    for (; j < n; j++) {
        taps t = {h0, h1, 1, cols[2 * j], cols[2 * j + 1], 1, W};
        max_of_one(y + j, NULL, x, 1, t);
    }
}

/* dx[index[c], c] += dy[c]; an index below 0 stands for no pixel. */
static inline void add_where(float *restrict dx, const float *restrict dy,
                             const int64_t *restrict index, ptrdiff_t C, ptrdiff_t c,
                             ptrdiff_t end) {
    for (; c + 4 <= end; c += 4) {
        int64_t i = index[c], j = index[c + 1], k = index[c + 2], l = index[c + 3];
        if ((i | j | k | l) < 0) break;
        float *to_i = dx + i * C + c, *to_j = dx + j * C + c + 1;
        float *to_k = dx + k * C + c + 2, *to_l = dx + l * C + c + 3;
        float a = *to_i + dy[c], b = *to_j + dy[c + 1];
        float d = *to_k + dy[c + 2], e = *to_l + dy[c + 3];
        *to_i = a, *to_j = b, *to_k = d, *to_l = e;
    }
    for (; c < end; c++)
        if (index[c] >= 0) dx[index[c] * C + c] += dy[c];
}

/* ------------------------------------------------------------------------------- mean */

/* Line by line, as short sums have small errors. */
static ALWAYS_INLINE void mean_strip(float *y, const float *x, float scale, ptrdiff_t C, taps t,
                                     const int V) {
    vec total[4];
    UNROLL for (int k = 0; k < V; k++) total[k] = (vec){0};
    for (ptrdiff_t h = t.h0; h < t.h1; h++) {
        vec line[4];
        UNROLL for (int k = 0; k < V; k++) line[k] = (vec){0};
        for (ptrdiff_t w = t.w0; w < t.w1; w++)
            UNROLL for (int k = 0; k < V; k++) line[k] += load(x + (h * t.W + w) * C + k * LANES);
        UNROLL for (int k = 0; k < V; k++) total[k] = line[k] * splat(scale) + total[k];
    }
    UNROLL for (int k = 0; k < V; k++) store(y + k * LANES, total[k]);
}

static void mean(float *restrict y, const float *restrict x, float scale, ptrdiff_t C, ptrdiff_t n,
                 taps t) {
    ptrdiff_t c = 0;
    for (; c + 4 * LANES <= n; c += 4 * LANES) mean_strip(y + c, x + c, scale, C, t, 4);
    for (; c + LANES <= n; c += LANES) mean_strip(y + c, x + c, scale, C, t, 1);
    for (; c < n; c++) {
        float total = 0;
        for (ptrdiff_t h = t.h0; h < t.h1; h++) {
            float line = 0;
            for (ptrdiff_t w = t.w0; w < t.w1; w++) line += x[(h * t.W + w) * C + c];
            total = line * scale + total;
        }
        y[c] = total;
    }
}

#endif
