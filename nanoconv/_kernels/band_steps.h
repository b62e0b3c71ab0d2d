/* Several convolutions in one step, a band of rows at a time: what one writes is read by the next
   while it is in the cache, and never reaches memory.

       expand 1×1  →  depthwise 3×3  →  project 1×1          the block of MobileNetV2

         rows of x          ring of K + (R − 1)·s rows       R rows            R rows of y
         ▪ ▪ ▪ ▪ ▪ ▪   →    ▪ ▪ ▪ ▪ ▪ ▪   ─┐ 3×3
                            ▪ ▪ ▪ ▪ ▪ ▪    ├──────────→      ▪ ▪ ▪ ▪ ▪ ▪   →   ▪ ▪ ▪ ▪ ▪ ▪
                            ▪ ▪ ▪ ▪ ▪ ▪   ─┘

   layout   what a depthwise convolution or a maximum slides over is kept in a ring of some rows:
            row h of the image stands in slot h % rows, with zeros on its left and right; above and
            below the image stands one row of zeros for all. What a 1×1 convolution reads are the R
            rows that were just made. The first part reads a whole image, the last one writes one.
            If the first part turns planes into pixels, the convolution behind it has the rows that
            it needs made anew each time, one behind the other: its window may be of any height
   loops    bands of R rows of y → parts, from the first to the last → as in each part's own step
   why      an expanded image is several times as large as the second-level cache: written and read
            once, it takes as long as the multiply-adds that make it. A ring of a few rows stays.
            Rows that two bands of one thread need are still there; only where the bands of two
            threads meet are K − s rows computed twice.

   Each number is the same chain of multiply-adds as without bands. */
#ifndef NANOCONV_BAND_STEPS_H
#define NANOCONV_BAND_STEPS_H

#include "conv_steps.h"
#include "depthwise_rows.h"
#include "layout_steps.h"
#include "pool_steps.h"

#define MOST_PARTS 8

typedef struct {
    const step *parts;
    ptrdiff_t count, rows_at_once;
    const float *zeros;
    float *memory[MOST_PARTS];    /* of what a part writes: pixel 0 of slot 0 */
    ptrdiff_t rows[MOST_PARTS];   /* slots there, each of one row */
    ptrdiff_t done[MOST_PARTS];   /* rows that are computed, up to this one */
    ptrdiff_t oldest[MOST_PARTS]; /* the row in slot 0, of what no window slides over */
} band;

static int slides(const step *part) {
    return part->run == depthwise_step || part->run == max_pool_step;
}

/* Rows of y at once: some hundred pixels, at most 4 rows. */
static ptrdiff_t band_rows(const step *s) {
    ptrdiff_t W = s->parts[s->part_count - 1].y.W;
    return larger(1, smaller(4, BLOCK / larger(W, 1)));
}

/* The rows of its input that a part needs for its rows i0 ≤ i < i1. */
static ptrdiff_t first_needed(const step *part, ptrdiff_t i0) {
    return larger(0, i0 * part->of.sh - part->of.pt);
}
static ptrdiff_t end_needed(const step *part, ptrdiff_t i1) {
    const window *of = &part->of;
    return smaller(part->x.H, (i1 - 1) * of->sh - of->pt + (of->KH - 1) * of->dh + 1);
}

/* Where row h of what part j writes begins, and how many rows follow it there. */
static float *band_row(const band *b, ptrdiff_t j, ptrdiff_t h, ptrdiff_t *rows) {
    const image *y = &b->parts[j].y;
    if (j == b->count - 1) {
        *rows = y->H - h;
        return pixel(y, h, 0);
    }
    ptrdiff_t slot = slides(&b->parts[j + 1]) ? h % b->rows[j] : h - b->oldest[j];
    *rows = b->rows[j] - slot;
    return b->memory[j] + slot * y->row;
}

static int from_planes(const band *b, ptrdiff_t j) {
    return j == 1 && b->parts[0].run == planes_to_image_step;
}

/* Rows of x under `rows` rows of a convolution; all its taps may stand in one segment. */
static ptrdiff_t rows_under(const step *conv, ptrdiff_t rows) {
    const window *of = &conv->of;
    ptrdiff_t KH = of->KH * conv->K / (of->KW * conv->x.C);
    return (rows - 1) * of->sh + (KH - 1) * of->dh + 1;
}

/* The rows of pixels under the rows i0 ≤ i < i1 of part 1, zeros where the image has none. */
static const float *pixels_of_planes(const band *b, ptrdiff_t i0, ptrdiff_t i1) {
    const step *s = &b->parts[0], *conv = &b->parts[1];
    ptrdiff_t first = i0 * conv->of.sh - conv->of.pt, rows = rows_under(conv, i1 - i0);
    float *to = b->memory[0];
    for (ptrdiff_t h = first; h < first + rows; h++, to += s->y.row)
        if (h < 0 || h >= s->y.H)
            clear(to, s->y.W * s->y.pitch);
        else
            planes_to_pixels(s, to, h);
    return b->memory[0] - conv->of.pl * s->y.pitch;
}

static void conv_band(const band *b, ptrdiff_t j, ptrdiff_t i0, ptrdiff_t i1) {
    const step *s = &b->parts[j];
    const window *of = &s->of;
    ptrdiff_t vectors = ceil_div(s->y.C, LANES);
    for (ptrdiff_t i = i0, rows, others; i < i1; i += rows) {
        float *y = band_row(b, j, i, &rows);
        rows = smaller(rows, i1 - i);
        const float *x = from_planes(b, j) ? pixels_of_planes(b, i, i + rows)
                         : j               ? band_row(b, j - 1, i, &others)
                                           : pixel(&s->x, i * of->sh - of->pt, -of->pl);
        conv_rows at = {
            .x = x, .y = y, .r = s->r.at ? pixel(&s->r, i, 0) : NULL,
            .x_row = of->sh * s->x.row, .y_row = s->y.row, .r_row = s->r.row, .W = s->y.W,
        };
        conv_block(s, &at, 0, 0, rows * s->y.W, 0, vectors, 0);
    }
}

static void depthwise_band(const band *b, ptrdiff_t j, ptrdiff_t i0, ptrdiff_t i1) {
    const step *s = &b->parts[j];
    const window *of = &s->of;
    for (ptrdiff_t i = i0, count; i < i1; i += count) {
        const float *rows[DEPTHWISE_INPUTS], *res[2];
        float *out[2];
        ptrdiff_t left;
        count = smaller(i1 - i, 2);
        ptrdiff_t inputs = (count - 1) * of->sh + (of->KH - 1) * of->dh + 1;
        for (ptrdiff_t k = 0; k < inputs; k++) {
            ptrdiff_t h = i * of->sh - of->pt + k;
            rows[k] = h < 0 || h >= s->x.H ? b->zeros
                      : j == 0             ? pixel(&s->x, h, -of->pl)
                                           : band_row(b, j - 1, h, &left) - of->pl * s->x.pitch;
        }
        for (ptrdiff_t k = 0; k < count; k++) {
            out[k] = band_row(b, j, i + k, &left);
            res[k] = s->r.at ? pixel(&s->r, i + k, 0) : NULL;
        }
        depthwise_rows(s, rows, out, s->r.at ? res : NULL, count);
    }
}

static void max_pool_band(const band *b, ptrdiff_t j, ptrdiff_t i0, ptrdiff_t i1) {
    const step *s = &b->parts[j];
    for (ptrdiff_t i = i0, left; i < i1; i++) {
        const float *rows[3];
        for (ptrdiff_t u = 0; u < 3; u++)
            rows[u] = band_row(b, j - 1, inside(i * s->of.sh - s->of.pt + u, s->x.H), &left);
        max_pool_row(s, rows, band_row(b, j, i, &left));
    }
}

/* Computes what is missing of the rows of part j up to `end`. */
static void produce(band *b, ptrdiff_t j, ptrdiff_t end) {
    ptrdiff_t begin = b->done[j];
    if (begin >= end) return;
    if (j && !from_planes(b, j)) produce(b, j - 1, end_needed(&b->parts[j], end));
    b->oldest[j] = begin;
    if (b->parts[j].run == depthwise_step)
        depthwise_band(b, j, begin, end);
    else if (b->parts[j].run == max_pool_step)
        max_pool_band(b, j, begin, end);
    else
        conv_band(b, j, begin, end);
    b->done[j] = end;
}

/* Floats of scratch that each thread needs for these parts; `b` may be NULL. */
static ptrdiff_t band_memory(const step *s, float *scratch, band *b) {
    ptrdiff_t zeros = 0, R = band_rows(s), used;
    for (ptrdiff_t j = 0; j < s->part_count; j++)
        if (slides(&s->parts[j])) zeros = larger(zeros, s->parts[j].x.row);
    used = zeros;
    for (ptrdiff_t j = s->part_count - 2; j >= 0; j--) {
        const step *next = &s->parts[j + 1];
        const image *y = &s->parts[j].y;
        if (slides(next)) R = (R - 1) * next->of.sh + (next->of.KH - 1) * next->of.dh + 1;
        if (s->parts[j].run == planes_to_image_step) R = rows_under(next, R);
        if (b) {
            b->rows[j] = R;
            b->memory[j] = scratch + used + y->left * y->pitch;
            for (ptrdiff_t h = 0; h < R && (y->left || y->right); h++) {
                clear(b->memory[j] + h * y->row - y->left * y->pitch, y->left * y->pitch);
                clear(b->memory[j] + h * y->row + y->W * y->pitch, y->right * y->pitch);
            }
        }
        used += R * y->row;
    }
    if (b) clear(scratch, zeros);
    return used;
}

static void band_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const step *last = &s->parts[s->part_count - 1];
    ptrdiff_t h0 = share(last->y.H, t, T), h1 = share(last->y.H, t + 1, T);
    float *scratch = s->scratch + t * s->scratch_floats;
    band b = {.parts = s->parts, .count = s->part_count, .zeros = scratch};
    b.rows_at_once = band_rows(s);
    band_memory(s, scratch, &b);
    ptrdiff_t first = h0;
    for (ptrdiff_t j = b.count - 1; j >= 0; j--) {
        b.done[j] = first;
        first = first_needed(&s->parts[j], first);
    }
    for (ptrdiff_t i = h0; i < h1; i += b.rows_at_once)
        produce(&b, b.count - 1, smaller(i + b.rows_at_once, h1));
    clear_sides(&last->y, h0, h1);
}

#endif
