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

/* `term(at)` is a vec of what is added for the LANES numbers from `at` on, `last(at, n)` one of
   n numbers and zeros. Both see the block's pointers. */
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

/* The sums of dy w and of dy w (x - mean). */
static void row_grad_sums(double *plain, double *with_x, const float *dy, const float *w,
                          const float *x, float mean, ptrdiff_t D) {
    double total = 0;
    vec m = splat(mean);
    *with_x = 0;
#define TERM(i) (load(dy + (i)) * load(w + (i)))
#define LAST(i, n) (load_first(dy + (i), n) * load_first(w + (i), n))
    SUM_ROW(total, D, TERM, LAST)
    *plain = total;
    total = 0;
#define TERM_X(i) (TERM(i) * (load(x + (i)) - m))
#define LAST_X(i, n) (LAST(i, n) * (load_first(x + (i), n) - m)) /* 0 (0 - m) = 0 */
    SUM_ROW(total, D, TERM_X, LAST_X)
#undef TERM
#undef LAST
#undef TERM_X
#undef LAST_X
    *with_x = total;
}

#endif
