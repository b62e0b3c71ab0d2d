/* A dense or grouped convolution of one image, of any window, stride and dilation, as a step.

   layout   images as in step.h, whose halo is at least the padding. Both may have pixels that are C
            floats apart, without lanes that are 0: x is read one float at a time, and of y only
            what belongs to it is written
   loops    groups → blocks of pixels → panels of output channels → pieces of a panel →
            rows → tiles
   tile     conv_tiles.h
   why      a block of some hundred pixels stays in L2 while all panels pass over it, a panel in L1
            while all tiles of the block do; of one that is too large for L1, a piece does, and the
            sums wait in y for the next. Where the window never leaves a row (1×1, no halo
            between the rows) a block is one run of pixels, so that tiles need not end with a row.

   Threads share out pixels, row by row; where there are few of them, vectors of output channels:
   weights are then read once by one thread, and they are more than the image. */
#ifndef NANOCONV_CONV_STEPS_H
#define NANOCONV_CONV_STEPS_H

#include "conv_tiles.h"

enum {
    FEW_PIXELS = 16,      /* up to 4×4, threads share out channels */
    BLOCK = 224,          /* pixels */
};

/* Packs panel p of one group's weights w[n, c, t], t = (u, v), N × C × taps: k is (t, c). As
   pack_columns does it, but each vector goes to the place of its tap. */
static void conv_weights(float *packed, const float *w, ptrdiff_t N, ptrdiff_t C, ptrdiff_t taps,
                         ptrdiff_t p) {
    ptrdiff_t begin = panel_begin(p, N), end = panel_begin(p + 1, N), width = end - begin;
    ptrdiff_t K = C * taps;
    for (ptrdiff_t n = begin; n < end; n += LANES) {
        float *to = packed + begin * K + n - begin;
        for (ptrdiff_t k = 0, c = 0, t = 0; k < K; k += LANES) {
            ptrdiff_t count = smaller(LANES, K - k);
            vec square[LANES];
            UNROLL for (int l = 0; l < LANES; l++) {
                const float *from = w + smaller(n + l, N - 1) * K + k;
                square[l] = count == LANES ? load(from) : load_first(from, count);
                if (n + l >= N) square[l] = splat(0);
            }
            transpose(square);
            for (ptrdiff_t l = 0; l < count; l++) {
                store(to + (t * C + c) * width, square[l]);
                if (++t == taps) t = 0, c++;
            }
        }
    }
}

/* True if the pixels of all rows are as far apart as those of one. */
static int is_flat(const step *s) {
    const image *x = &s->x, *y = &s->y, *r = &s->r;
    const window *of = &s->of;
    return of->KH == 1 && of->sh == 1 && of->sw == 1 && x->row == x->pitch * y->W &&
           y->row == y->pitch * y->W && (!r->at || r->row == r->pitch * y->W);
}

/* The vectors v0 ≤ v < v1 of one group's outputs for the pixels p0 ≤ p < p1 of an image, whose row
   i begins at y[i·y_row], and whose window at x[i·x_row]. */
typedef struct {
    const float *x;
    float *y;
    const float *r;
    ptrdiff_t x_row, y_row, r_row; /* from row to row of outputs */
    ptrdiff_t W;
} conv_rows;

static void conv_block(const step *s, const conv_rows *at, ptrdiff_t g, ptrdiff_t p0, ptrdiff_t p1,
                       ptrdiff_t v0, ptrdiff_t v1, int first) {
    ptrdiff_t N = s->y.C / s->of.G, K = s->K, segments = s->of.KH;
    ptrdiff_t per_group = whole_vectors(N);
    int exact = s->of.G > 1 || s->y.pitch % LANES; /* behind the N outputs stands something else */
    const float *w = s->w + g * per_group * K * segments, *b = s->b + g * per_group;
    conv_part part = {
        .x_step = s->of.sw * s->x.pitch, .x_row = s->of.dh * s->x.row,
        .y_step = s->y.pitch, .r_step = s->r.pitch,
        .activation = s->activation, .low = s->low, .high = s->high,
        .has_low = s->activation == CLAMP && s->low > -INFINITY,
        .has_high = s->activation == CLAMP && s->high < INFINITY,
    };
    const int32_t *gather = s->gather ? s->gather + g * K : NULL;
    const float *x = at->x + (gather ? 0 : g * K);
    ptrdiff_t V = per_group / LANES, panels = ceil_div(V, s->panel ? s->panel : PANEL);
    for (ptrdiff_t p = 0; p < panels; p++) {
        ptrdiff_t begin = share(V, p, panels) * LANES;
        ptrdiff_t width = share(V, p + 1, panels) * LANES - begin;
        ptrdiff_t n = larger(begin, v0 * LANES), end = smaller(begin + width, v1 * LANES);
        if (n >= end) continue;
        /* Pieces of the panel, each of one segment, or the whole of it. */
        int split = width * K * segments > PIECE;
        ptrdiff_t cuts = split ? ceil_div(width * K, PIECE) : 1;
        ptrdiff_t pieces = split ? cuts * segments : 1;
        part.segments = split ? 1 : segments;
        part.w_step = width;
        part.b = b + n;
        ptrdiff_t fetch = fetches(width, ceil_div(p1 - p0, TILE_ROWS[(end - n) / LANES]));
        for (ptrdiff_t q = 0; q < pieces; q++) {
            ptrdiff_t row = q / cuts, k = share(K, q % cuts, cuts);
            part.K = share(K, q % cuts + 1, cuts) - k;
            const float *piece = w + begin * K * segments + (row * K + k) * width;
            ptrdiff_t floats = part.segments * part.K * width;
            part.w = piece + n - begin;
            part.ahead = piece + floats;
            part.fetch = first ? fetch : 0;
            part.gather = gather ? gather + k : NULL;
            part.resume = q > 0;
            part.unfinished = q < pieces - 1;
            const float *from = x + row * part.x_row + (gather ? 0 : k);
            for (ptrdiff_t m = p0, next; m < p1; m = next) {
                ptrdiff_t i = m / at->W, j = m % at->W;
                next = smaller(p1, (i + 1) * at->W);
                if (part.ahead >= piece + 2 * floats) part.fetch = 0;
                conv_run(&part, from + i * at->x_row + j * part.x_step,
                         at->y + i * at->y_row + j * s->y.pitch + g * N + n,
                         at->r ? at->r + i * at->r_row + j * s->r.pitch + g * N + n : NULL,
                         next - m, (end - n) / LANES, (exact ? smaller(end, N) : end) - n);
            }
        }
    }
}

/* The pixels p0 ≤ p < p1 and vectors v0 ≤ v < v1 of every group, in blocks. */
static void conv_blocks(const step *s, const conv_rows *at, ptrdiff_t p0, ptrdiff_t p1,
                        ptrdiff_t v0, ptrdiff_t v1) {
    ptrdiff_t blocks = ceil_div(p1 - p0, BLOCK), first = p0;
    ptrdiff_t rows = larger(1, BLOCK / at->W) * at->W; /* whole rows: no tile is cut short */
    for (ptrdiff_t g = 0; g < s->of.G; g++)
        if (is_flat(s) || at->W > BLOCK)
            for (ptrdiff_t i = 0; i < blocks; i++)
                conv_block(s, at, g, p0 + share(p1 - p0, i, blocks),
                           p0 + share(p1 - p0, i + 1, blocks), v0, v1, i == 0);
        else
            for (ptrdiff_t p = first, next; p < p1; p = next) {
                next = smaller(p1, (p / rows + 1) * rows);
                conv_block(s, at, g, p, next, v0, v1, p == p0);
            }
}

static void conv_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *y = &s->y;
    const window *of = &s->of;
    ptrdiff_t pixels = y->H * y->W, vectors = ceil_div(y->C / of->G, LANES);
    conv_rows at = {
        .x = pixel(&s->x, -of->pt, -of->pl), .y = y->at, .r = s->r.at,
        .x_row = of->sh * s->x.row, .y_row = y->row, .r_row = s->r.row,
        .W = y->W,
    };
    if (is_flat(s)) at.W = larger(pixels, 1);
    if (pixels <= FEW_PIXELS && vectors >= T) {
        if (t == 0) clear_sides(y, 0, y->H);
        conv_blocks(s, &at, 0, pixels, share(vectors, t, T), share(vectors, t + 1, T));
    } else {
        ptrdiff_t p0 = share(pixels, t, T), p1 = share(pixels, t + 1, T);
        clear_sides(y, ceil_div(p0, y->W), ceil_div(p1, y->W)); /* of the rows that begin here */
        conv_blocks(s, &at, p0, p1, 0, vectors);
    }
}

#endif
