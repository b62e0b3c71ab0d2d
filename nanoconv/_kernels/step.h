/* What every kernel of a compiled plan is given: images in memory, and one step that turns some
   of them into another.

   layout   an image is channels-last. Its pixels are `pitch` floats apart, C rounded up to whole
            vectors, and what is behind the C channels is 0: no kernel has a tail of channels.
            Around it lie pixels that are 0, its halo, as wide as the widest window that reads it
            needs: no kernel of a window has a border.

                        left   W = 4     right
                 top   · · | · · · · | · ·            at      channel 0 of pixel (0, 0)
                       · · | ▪ ▪ ▪ ▪ | · ·    H       pitch   floats from pixel to pixel
                       · · | ▪ ▪ ▪ ▪ | · ·            row     floats from row to row:
              bottom   · · | · · · · | · ·                    (left + W + right)·pitch

   threads  a step is run by T threads at once, each with its number t. A step cuts its own work;
            each number of its output is computed by one thread, in an order that does not depend
            on T: the result has the same bits for any number of threads. Behind every step all
            threads meet, so that the next one finds its inputs complete.
   halo     whoever writes rows of an image also writes the zeros beside them (`clear_sides`), and
            whoever writes the first or last row those above or below it: memory is used again for
            other images, and nobody clears it. */
#ifndef NANOCONV_STEP_H
#define NANOCONV_STEP_H

#include <stdint.h>

#include "simd.h"

typedef struct {
    float *at;
    ptrdiff_t H, W, C, pitch, row;
    ptrdiff_t top, bottom, left, right;
} image;

typedef struct {
    ptrdiff_t KH, KW, sh, sw, pt, pl, dh, dw, G; /* as in ops/geometry.py */
} window;

typedef struct barrier barrier;
typedef struct step step;

/* What one thread of T does of a step. */
typedef void step_function(const step *s, ptrdiff_t t, ptrdiff_t T);

struct step {
    step_function *run;
    image x, r, y;         /* input; a second one, or `at` is NULL; output */
    window of;
    const float *w, *b;    /* weights as the kernel packs them, bias of whole vectors */
    const int32_t *gather; /* of each of the K channels that are read its place from x.at, or of
                              each vector, as the kernel says; or NULL */
    float *scratch;        /* `scratch_floats` for each thread, one behind the other */
    ptrdiff_t scratch_floats;
    ptrdiff_t K;           /* channels that are read, of a group */
    int32_t panel;         /* most vectors of a panel of w; 0: as many as fit (gemm.h) */
    int32_t activation;    /* see epilogue.h */
    float low, high;
    const step *parts;     /* of a fused step: the steps inside it */
    ptrdiff_t part_count;
    barrier *meet;         /* for a kernel that has phases of its own */
};

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

/* The first of n things that thread t of T does; its last is the first of thread t + 1. */
static inline ptrdiff_t share(ptrdiff_t n, ptrdiff_t t, ptrdiff_t T) { return n * t / T; }

static inline float *pixel(const image *of, ptrdiff_t h, ptrdiff_t w) {
    return of->at + h * of->row + w * of->pitch;
}

static inline void clear(float *p, ptrdiff_t n) { memset(p, 0, n * sizeof *p); }

/* How many vectors C channels fill. */
static inline ptrdiff_t vectors(ptrdiff_t C) { return (C + LANES - 1) / LANES; }

/* All ones in the lanes of the last vector that hold channels: `only` sets the others to 0. */
typedef vec_mask lane_mask;
static inline lane_mask last_lanes(ptrdiff_t C) {
    lane_mask mask;
    for (int32_t l = 0, rest = (int32_t)(C - (vectors(C) - 1) * LANES); l < LANES; l++)
        mask[l] = l < rest ? -1 : 0;
    return mask;
}
static ALWAYS_INLINE vec only(vec v, lane_mask mask) { return (vec)((lane_mask)v & mask); }

/* `pixels` neighbours from p on, `own` floats of each; what is between belongs to other slices. */
static inline void clear_pixels(float *p, ptrdiff_t pixels, ptrdiff_t pitch, ptrdiff_t own) {
    if (own >= pitch) clear(p, pixels * pitch);
    else
        for (ptrdiff_t w = 0; w < pixels; w++) clear(p + w * pitch, own);
}

/* The halo that belongs to the rows h0 ≤ h < h1, `own` floats of each pixel. */
static inline void clear_own_sides(const image *y, ptrdiff_t h0, ptrdiff_t h1, ptrdiff_t own) {
    if (h0 >= h1) return;
    float *start = y->at - y->left * y->pitch;
    ptrdiff_t all = y->left + y->W + y->right;
    for (ptrdiff_t h = -y->top; h0 == 0 && h < 0; h++)
        clear_pixels(start + h * y->row, all, y->pitch, own);
    for (ptrdiff_t h = h0; h < h1 && y->left + y->right; h++) {
        clear_pixels(start + h * y->row, y->left, y->pitch, own);
        clear_pixels(pixel(y, h, y->W), y->right, y->pitch, own);
    }
    for (ptrdiff_t h = y->H; h1 == y->H && h < y->H + y->bottom; h++)
        clear_pixels(start + h * y->row, all, y->pitch, own);
}

static inline void clear_sides(const image *y, ptrdiff_t h0, ptrdiff_t h1) {
    clear_own_sides(y, h0, h1, vectors(y->C) * LANES);
}

/* Waits until all threads of the team have come here. */
static void meet(barrier *b, ptrdiff_t T);

#endif
