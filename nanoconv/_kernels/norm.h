/* Sums and maps of the norms, in vectors: of the numbers of a row, and of columns.

   The compiler may not reorder a float sum by itself, so a row is added up by four vectors. Within
   a block of 512 numbers of a row, or of 32 rows of a column, sums are in float32, as fast as can
   be; from block to block they are in float64. What is summed for a variance is (x - m)^2 with m at
   or near the mean, so nothing cancels. */
#ifndef NANOCONV_NORM_H
#define NANOCONV_NORM_H

#include <math.h>
#include <stddef.h>

#include "simd.h"

#define BLOCK 512 /* a whole number of 4 * LANES */
#define ROWS 32
#define COLUMNS 512 /* of one call: their running sums are on the stack, and in the L1 cache */
#define STRIP 4     /* vectors of columns whose sums are in registers together */

static ALWAYS_INLINE vec load_some(const float *p, ptrdiff_t n) {
    return n < LANES ? load_first(p, n) : load(p);
}

/* ---------------------------------------------------------------------- rows: sums */

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

static ALWAYS_INLINE vec squared(vec a) { return a * a; }

/* The sum of (x - mean)^2. */
static double row_squares(const float *x, float mean, ptrdiff_t D) {
    double total = 0;
    vec m = splat(mean);
    float of_mean[LANES];
    store(of_mean, m);
#define TERM(i) squared(load(x + (i)) - m)
#define LAST(i, n) squared(load_first(x + (i), n) - load_first(of_mean, n))
    SUM_ROW(total, D, TERM, LAST)
#undef TERM
#undef LAST
    return total;
}

/* The sums of x - mean and of its square: what is left of the first corrects the mean. */
static void row_deviations(double *plain, double *squares, const float *x, float mean,
                           ptrdiff_t D) {
    double total = 0, products = 0;
    vec m = splat(mean), none = {0};
    float of_mean[LANES];
    store(of_mean, m);
    for (ptrdiff_t first = 0; first < D; first += BLOCK) {
        ptrdiff_t end = first + BLOCK < D ? first + BLOCK : D, i = first;
        vec a0 = {0}, a1 = {0}, b0 = {0}, b1 = {0};
        for (; i + 2 * LANES <= end; i += 2 * LANES) {
            vec d0 = load(x + i) - m, d1 = load(x + i + LANES) - m;
            a0 += d0, b0 += d0 * d0;
            a1 += d1, b1 += d1 * d1;
        }
        for (; i < end; i += LANES) {
            vec d = load_some(x + i, end - i) - load_some(of_mean, end - i);
            a0 += d, b0 += d * d;
        }
        total += sum_of(a0, a1, none, none);
        products += sum_of(b0, b1, none, none);
    }
    *plain = total, *squares = products;
}

/* The sums of g and of g (x - mean), in one reading; g is dy w, or dy where w is NULL. */
static ALWAYS_INLINE void grad_sums(double *plain, double *with_x, const float *dy, const float *w,
                                    const float *x, float mean, ptrdiff_t D) {
    double total = 0, products = 0;
    vec m = splat(mean), none = {0};
    for (ptrdiff_t first = 0; first < D; first += BLOCK) {
        ptrdiff_t end = first + BLOCK < D ? first + BLOCK : D, i = first;
        vec a0 = {0}, a1 = {0}, b0 = {0}, b1 = {0};
        for (; i + 2 * LANES <= end; i += 2 * LANES) {
            vec g0 = load(dy + i), g1 = load(dy + i + LANES);
            if (w) g0 *= load(w + i), g1 *= load(w + i + LANES);
            a0 += g0, b0 += g0 * (load(x + i) - m);
            a1 += g1, b1 += g1 * (load(x + i + LANES) - m);
        }
        for (; i < end; i += LANES) { /* beyond the end g is 0 */
            vec g = load_some(dy + i, end - i);
            if (w) g *= load_some(w + i, end - i);
            a0 += g, b0 += g * (load_some(x + i, end - i) - m);
        }
        total += sum_of(a0, a1, none, none);
        products += sum_of(b0, b1, none, none);
    }
    *plain = total, *with_x = products;
}

static void row_grad_sums(double *plain, double *with_x, const float *dy, const float *w,
                          const float *x, float mean, ptrdiff_t D) {
    grad_sums(plain, with_x, dy, w, x, mean, D);
}

static void plane_grad_sums(double *plain, double *with_x, const float *dy, const float *x,
                            float mean, ptrdiff_t D) {
    grad_sums(plain, with_x, dy, NULL, x, mean, D);
}

/* ---------------------------------------------------------------------- columns: sums */

/* a = sum of g and b = sum of g (x - pivot), down the n columns of V vectors. */
static ALWAYS_INLINE void strip_sums(float *a, float *b, const float *dy, const float *x,
                                     const float *pivot, ptrdiff_t rows, ptrdiff_t pitch, int V,
                                     ptrdiff_t n) {
    vec s[STRIP], t[STRIP], p[STRIP];
    UNROLL for (int v = 0; v < V; v++) {
        s[v] = t[v] = (vec){0};
        p[v] = load_some(pivot + v * LANES, n);
    }
    for (ptrdiff_t at = 0; at < rows * pitch; at += pitch) {
        UNROLL for (int v = 0; v < V; v++) {
            vec d = load_some(x + at + v * LANES, n) - p[v];
            vec g = dy ? load_some(dy + at + v * LANES, n) : d;
            s[v] += g;
            t[v] += g * d;
        }
    }
    UNROLL for (int v = 0; v < V; v++) {
        if (n < LANES) {
            memcpy(a, s, n * sizeof *a), memcpy(b, t, n * sizeof *b);
        } else {
            store(a + v * LANES, s[v]), store(b + v * LANES, t[v]);
        }
    }
}

static ALWAYS_INLINE void block_sums(double *first, double *second, const float *dy, const float *x,
                                     const float *pivot, ptrdiff_t rows, ptrdiff_t pitch,
                                     ptrdiff_t width) {
    float a[COLUMNS], b[COLUMNS];
    ptrdiff_t c = 0;
#define SUMS(c, V, n)                                                                      \
    strip_sums(a + (c), b + (c), dy ? dy + (c) : NULL, x + (c), pivot + (c), rows, pitch, V, n)
    for (; c + STRIP * LANES <= width; c += STRIP * LANES) SUMS(c, STRIP, LANES);
    for (; c + LANES <= width; c += LANES) SUMS(c, 1, LANES);
    if (c < width && width >= LANES) SUMS(width - LANES, 1, LANES); /* some of them once more */
    if (width < LANES) SUMS(0, 1, width);
#undef SUMS
    for (c = 0; c < width; c++) first[c] += a[c], second[c] += b[c];
}

/* first = sum of g and second = sum of g d, down `width` columns of which the first `longer` have
   one row more; d = x - pivot, and g is dy, or d where dy is NULL. */
static void column_sums(double *first, double *second, const float *dy, const float *x,
                        const float *pivot, ptrdiff_t rows, ptrdiff_t pitch, ptrdiff_t width,
                        ptrdiff_t longer) {
    for (ptrdiff_t c = 0; c < width; c++) first[c] = second[c] = 0;
    for (ptrdiff_t n = 0; n < rows; n += ROWS) {
        ptrdiff_t at = n * pitch, count = rows - n < ROWS ? rows - n : ROWS;
        if (dy)
            block_sums(first, second, dy + at, x + at, pivot, count, pitch, width);
        else
            block_sums(first, second, NULL, x + at, pivot, count, pitch, width);
    }
    if (longer > 0) {
        ptrdiff_t at = rows * pitch, some = longer < width ? longer : width;
        block_sums(first, second, dy ? dy + at : NULL, x + at, pivot, 1, pitch, some);
    }
}

/* ---------------------------------------------------------------------- maps */

/* The last vector overlaps the one before, rather than leaving a rest: no input is an output. */
#define MAP(out, n, VALUE)                                                  \
    ptrdiff_t c = 0;                                                        \
    for (; c + LANES <= (n); c += LANES) store((out) + c, VALUE(c, load));  \
    if (c < (n) && (n) >= LANES) {                                          \
        c = (n) - LANES;                                                    \
        store((out) + c, VALUE(c, load));                                   \
    } else {                                                                \
        for (; c < (n); c++) (out)[c] = VALUE(c, *);                        \
    }

/* What columns_affine and plane_affine take, of given statistics; and invstd, for the gradient. */
static void affine_of(float *scale, float *shift, float *invstd, const float *w,
                      const float *b, const float *mean, const float *var, double eps,
                      ptrdiff_t C) {
    for (ptrdiff_t c = 0; c < C; c++) invstd[c] = 1 / sqrt(var[c] + eps);
    for (ptrdiff_t c = 0; c < C; c++) {
        scale[c] = invstd[c] * w[c];
        shift[c] = b[c] - mean[c] * scale[c];
    }
}

#define AT(c, get) get(x + c) * get(scale + c) + get(shift + c)
static void columns_affine(float *y, const float *x, const float *scale, const float *shift,
                           ptrdiff_t n) {
    MAP(y, n, AT)
}
#undef AT

#define AT(c, get) get(dy + c) * get(a + c) + (get(x + c) * get(k + c) + get(d + c))
static void columns_input_grad(float *dx, const float *dy, const float *x, const float *a,
                               const float *k, const float *d, ptrdiff_t n) {
    MAP(dx, n, AT)
}
#undef AT

#define AT(c, get) (get(x + c) - mean) * scale + shift
static void plane_affine(float *y, const float *x, float mean, float scale, float shift,
                         ptrdiff_t n) {
    MAP(y, n, AT)
}
#undef AT

#define AT(c, get) get(dy + c) * a + ((get(x + c) - mean) * k + d)
static void plane_input_grad(float *dx, const float *dy, const float *x, float mean, float a,
                             float k, float d, ptrdiff_t n) {
    MAP(dx, n, AT)
}
#undef AT

#endif
