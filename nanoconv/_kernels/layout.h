/* The inner loops of a change of memory format: y[p, c] = x[c, p], for some pixels p of an image.

   layout   x (C, P), y (P, C)
   loops    vectors of channels, vectors of pixels
   tile     LANES × LANES, transposed in registers
   why      whole vectors are read and written; the last vectors of a side overlap the ones before
            instead of leaving a rest. With fewer channels than lanes, such as the three colours,
            the planes are read side by side, number by number */
#ifndef NANOCONV_LAYOUT_H
#define NANOCONV_LAYOUT_H

#include "simd.h"

static ALWAYS_INLINE void interleave(float *restrict y, const float *restrict x, ptrdiff_t C,
                                     ptrdiff_t P, ptrdiff_t p, ptrdiff_t end) {
    for (; p < end; p++)
        for (ptrdiff_t c = 0; c < C; c++) y[p * C + c] = x[c * P + p];
}

static void transpose_pixels(float *restrict y, const float *restrict x, ptrdiff_t C, ptrdiff_t P,
                             ptrdiff_t first, ptrdiff_t end) {
    if (C == 3) {
        interleave(y, x, 3, P, first, end);
        return;
    }
    if (C < LANES || end - first < LANES) {
        interleave(y, x, C, P, first, end);
        return;
    }
    for (ptrdiff_t k = 0; k < C; k += LANES) {
        ptrdiff_t c = k < C - LANES ? k : C - LANES;
        for (ptrdiff_t j = first; j < end; j += LANES) {
            ptrdiff_t p = j < end - LANES ? j : end - LANES;
            vec square[LANES];
            UNROLL for (int l = 0; l < LANES; l++) square[l] = load(x + (c + l) * P + p);
            transpose(square);
            UNROLL for (int l = 0; l < LANES; l++) store(y + (p + l) * C + c, square[l]);
        }
    }
}

#endif
