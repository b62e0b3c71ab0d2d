/* The inner loop of max pooling's gradient: dx[index[c], c] += dy[c], for C channels of a pixel.

   layout   dx (pixels, C), index and dy (C); an index below 0 stands for no pixel
   loops    channels
   tile     4 of them
   why      `restrict`: the compiler need not assume that a sum changes the next dy. Four sums are
            read before one is written, since channels never meet */
#ifndef NANOCONV_POOL_H
#define NANOCONV_POOL_H

#include <stddef.h>
#include <stdint.h>

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

#endif
