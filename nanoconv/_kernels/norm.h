/* Sums over the numbers of one row, in vectors: the compiler may not reorder a float sum by itself.

   Within a block of 512 numbers four vectors add up in float32, as fast as can be; from block to
   block sums are in float64. What is summed for a variance is (x - mean)^2, so nothing cancels. */
#ifndef NANOCONV_NORM_H
#define NANOCONV_NORM_H

#include <math.h>
#include <stddef.h>

#include "simd.h"

#define BLOCK 512 /* a whole number of 4 * LANES */

static ALWAYS_INLINE double sum_of(vec a, vec b, vec c, vec d) {
    float lanes[LANES];
    double total = 0;
    store(lanes, (a + b) + (c + d));
    for (int l = 0; l < LANES; l++) total += lanes[l];
    return total;
}

/* TERM(i) is a vec of what is added for the LANES numbers from i on, LAST(i, n) for the last n. */
#define SUM_ROW(total, D, TERM, LAST)                                                          \
    for (ptrdiff_t first = 0; first < (D); first += BLOCK) {                                   \
        ptrdiff_t end = first + BLOCK < (D) ? first + BLOCK : (D), i = first;                  \
        vec s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};                                            \
        for (; i + 4 * LANES <= end; i += 4 * LANES) {                                         \
            s0 += TERM(i), s1 += TERM(i + LANES);                                              \
            s2 += TERM(i + 2 * LANES), s3 += TERM(i + 3 * LANES);                              \
        }                                                                                      \
        for (; i + LANES <= end; i += LANES) s0 += TERM(i);                                    \
        if (i < end) s1 += LAST(i, end - i);                                                   \
        total += sum_of(s0, s1, s2, s3);                                                       \
    }

static double row_sum(const float *x, ptrdiff_t D) {
    double total = 0;
#define TERM(i) load(x + (i))
#define LAST(i, n) load_first(x + (i), n)
    SUM_ROW(total, D, TERM, LAST)
#undef TERM
#undef LAST
    return total;
}

/* The sum of (x - mean)^2. */
static double row_squares(const float *x, float mean, ptrdiff_t D) {
    double total = 0;
    vec m = splat(mean);
    float of_mean[LANES];
    store(of_mean, m);
#define TERM(i) ((load(x + (i)) - m) * (load(x + (i)) - m))
#define LAST(i, n)                                                       \
    ((load_first(x + (i), n) - load_first(of_mean, n)) *                 \
     (load_first(x + (i), n) - load_first(of_mean, n)))
    SUM_ROW(total, D, TERM, LAST)
#undef TERM
#undef LAST
    return total;
}

static ALWAYS_INLINE vec load_some(const float *p, ptrdiff_t n) {
    return n < LANES ? load_first(p, n) : load(p);
}

/* The sums of dy w and of dy w (x - mean), in one reading. */
static void row_grad_sums(double *plain, double *with_x, const float *dy, const float *w,
                          const float *x, float mean, ptrdiff_t D) {
    double total = 0, products = 0;
    vec m = splat(mean), none = {0};
    for (ptrdiff_t first = 0; first < D; first += BLOCK) {
        ptrdiff_t end = first + BLOCK < D ? first + BLOCK : D, i = first;
        vec a0 = {0}, a1 = {0}, b0 = {0}, b1 = {0};
        for (; i + 2 * LANES <= end; i += 2 * LANES) {
            vec g0 = load(dy + i) * load(w + i), g1 = load(dy + i + LANES) * load(w + i + LANES);
            a0 += g0, b0 += g0 * (load(x + i) - m);
            a1 += g1, b1 += g1 * (load(x + i + LANES) - m);
        }
        for (; i < end; i += LANES) { /* beyond the end g is 0 */
            vec g = load_some(dy + i, end - i) * load_some(w + i, end - i);
            a0 += g, b0 += g * (load_some(x + i, end - i) - m);
        }
        total += sum_of(a0, a1, none, none);
        products += sum_of(b0, b1, none, none);
    }
    *plain = total, *with_x = products;
}

#endif
