/* The inner loops of interpolation: sums of a few weighted lines, or of a few weighted numbers.

   layout   lines of `length` neighbours, line k of x from x + k·stride; taps are an index and a weight
   loops    taps, four at a time, inside of numbers
   tile     none: a line stays in the cache between its uses
   why      1, 2 and 4 taps are what real images need, and are summed in registers, in one go; one
            tap of weight 1, the nearest pixel, is a copy. `restrict`, because the compiler need
            not fear that y is a part of x */
#ifndef NANOCONV_INTERPOLATE_H
#define NANOCONV_INTERPOLATE_H

#include <stdint.h>

#include "simd.h"

/* y = Σ weight[k] · x[index[k]] */
static ALWAYS_INLINE void mix_lines(float *restrict y, const float *restrict x, ptrdiff_t stride,
                                    const int64_t *index, const float *weight, ptrdiff_t taps,
                                    ptrdiff_t length) {
    ptrdiff_t k = 0;
    if (taps == 1) {
        const float *restrict p = x + index[0] * stride;
        float a = weight[0];
        if (a == 1)
            copy_floats(y, p, length);
        else
            for (ptrdiff_t c = 0; c < length; c++) y[c] = a * p[c];
    } else if (taps == 2) {
        const float *restrict p = x + index[0] * stride, *restrict q = x + index[1] * stride;
        float a = weight[0], b = weight[1];
        for (ptrdiff_t c = 0; c < length; c++) y[c] = a * p[c] + b * q[c];
    } else if (taps == 3) {
        const float *restrict p = x + index[0] * stride, *restrict q = x + index[1] * stride;
        const float *restrict r = x + index[2] * stride;
        float a = weight[0], b = weight[1], d = weight[2];
        for (ptrdiff_t c = 0; c < length; c++) y[c] = a * p[c] + b * q[c] + d * r[c];
    } else {
        if (taps < 4) memset(y, 0, length * sizeof(float));
        for (; k + 4 <= taps; k += 4) {
            const float *restrict p = x + index[k] * stride;
            const float *restrict q = x + index[k + 1] * stride;
            const float *restrict r = x + index[k + 2] * stride;
            const float *restrict s = x + index[k + 3] * stride;
            float a = weight[k], b = weight[k + 1], d = weight[k + 2], e = weight[k + 3];
            if (k == 0)
                for (ptrdiff_t c = 0; c < length; c++)
                    y[c] = a * p[c] + b * q[c] + d * r[c] + e * s[c];
            else
                for (ptrdiff_t c = 0; c < length; c++)
                    y[c] += a * p[c] + b * q[c] + d * r[c] + e * s[c];
        }
        for (; k < taps; k++) {
            const float *restrict p = x + index[k] * stride;
            float a = weight[k];
            for (ptrdiff_t c = 0; c < length; c++) y[c] += a * p[c];
        }
    }
}

/* y[j] = Σ weight[k] · x[index[k]] over start[j] ≤ k < start[j + 1], for J pixels of C numbers */
static ALWAYS_INLINE void mix_each(float *restrict y, const float *restrict x, ptrdiff_t C,
                                   const int64_t *start, const int64_t *index, const float *weight,
                                   ptrdiff_t J) {
    for (ptrdiff_t j = 0; j < J; j++) {
        int64_t k = start[j];
        mix_lines(y + j * C, x, C, index + k, weight + k, start[j + 1] - k, C);
    }
}

static void mix_pixels(float *restrict y, const float *restrict x, ptrdiff_t C,
                       const int64_t *start, const int64_t *index, const float *weight,
                       ptrdiff_t J) {
    if (C == 3) /* three colours: a length that the compiler knows takes no loop */
        mix_each(y, x, 3, start, index, weight, J);
    else
        mix_each(y, x, C, start, index, weight, J);
}

/* The same for J numbers */
static inline void mix_numbers(float *restrict y, const float *restrict x,
                               const int64_t *restrict start, const int64_t *restrict index,
                               const float *restrict weight, ptrdiff_t J, ptrdiff_t taps) {
    if (taps == 1)
        for (ptrdiff_t j = 0; j < J; j++) y[j] = weight[j] * x[index[j]];
    else if (taps == 2)
        for (ptrdiff_t j = 0; j < J; j++)
            y[j] = weight[2 * j] * x[index[2 * j]] + weight[2 * j + 1] * x[index[2 * j + 1]];
    else if (taps == 4)
        for (ptrdiff_t j = 0; j < J; j++) {
            const int64_t *at = index + 4 * j;
            const float *by = weight + 4 * j;
            y[j] = (by[0] * x[at[0]] + by[1] * x[at[1]]) + (by[2] * x[at[2]] + by[3] * x[at[3]]);
        }
    else
        for (ptrdiff_t j = 0; j < J; j++) {
            float sum = 0;
            for (int64_t k = start[j]; k < start[j + 1]; k++) sum += weight[k] * x[index[k]];
            y[j] = sum;
        }
}

#endif
