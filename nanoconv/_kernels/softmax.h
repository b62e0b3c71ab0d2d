/* softmax, log_softmax and their gradients of one line of C numbers, or of several at once.

   y, x: [C][B], of which `width` columns are lines; B = 1 is a single line, contiguous. A line has
   LINES running sums, which its numbers join in turn, and its last ones are filled up to as many
   by -inf, or 0 in a gradient, so that every loop inside has a length that the compiler knows.

   Short lines that follow each other in memory are turned first, so that they are side by side;
   not in a gradient, which has little to compute.

   The largest number takes no notice of NaN: then the sum is NaN, and with it the whole line. */
#ifndef NANOCONV_SOFTMAX_H
#define NANOCONV_SOFTMAX_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "math_f32.h"

#define LINES 16
#define WIDEST 256 /* columns of a task */
#define EACH for (int l = 0; l < LINES; l++)

static inline float total(float *part) {
    for (int half = LINES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) part[l] += part[l + half];
    return part[0];
}

/* The last n < LINES numbers of a line, and `fill`. */
static inline void last_of(float *room, const float *x, ptrdiff_t n, float fill) {
    EACH room[l] = fill;
    memcpy(room, x, n * sizeof *x);
}

/* ------------------------------------------------------------------------------- one line */

static inline void keep_larger(float *part, const float *x) {
    EACH part[l] = x[l] > part[l] ? x[l] : part[l];
}

static float largest(const float *x, ptrdiff_t C) {
    float part[LINES], room[LINES];
    ptrdiff_t c = 0;
    EACH part[l] = -INFINITY;
    for (; c + LINES <= C; c += LINES) keep_larger(part, x + c);
    last_of(room, x + c, C - c, -INFINITY);
    keep_larger(part, room);
    for (int half = LINES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            part[l] = part[l + half] > part[l] ? part[l + half] : part[l];
    return part[0];
}

static inline void add_exp(float *part, const float *x, float m) {
    EACH part[l] += exp_f32(x[l] - m);
}

static inline void store_exp(float *y, float *part, const float *x, float m) {
    float e[LINES];
    EACH e[l] = exp_f32(x[l] - m);
    EACH part[l] += e[l];
    EACH y[l] = e[l];
}

static void softmax_line(float *y, const float *x, ptrdiff_t C) {
    float part[LINES] = {0}, room[LINES], m = largest(x, C);
    ptrdiff_t c = 0;
    for (; c + LINES <= C; c += LINES) store_exp(y + c, part, x + c, m);
    if (c < C) {
        last_of(room, x + c, C - c, -INFINITY);
        store_exp(room, part, room, m);
        memcpy(y + c, room, (C - c) * sizeof *y);
    }
    float r = 1 / total(part);
    for (c = 0; c < C; c++) y[c] *= r;
}

static void log_softmax_line(float *y, const float *x, ptrdiff_t C) {
    float part[LINES] = {0}, room[LINES], m = largest(x, C);
    ptrdiff_t c = 0;
    for (; c + LINES <= C; c += LINES) add_exp(part, x + c, m);
    if (c < C) {
        last_of(room, x + c, C - c, -INFINITY);
        add_exp(part, room, m);
    }
    float log_sum = log_f32(total(part));
    for (c = 0; c < C; c++) y[c] = (x[c] - m) - log_sum;
}

static void softmax_backward_line(float *dx, const float *dy, const float *y, ptrdiff_t C) {
    float part[LINES] = {0};
    ptrdiff_t c = 0;
    for (; c + LINES <= C; c += LINES) EACH part[l] += dy[c + l] * y[c + l];
    for (; c < C; c++) part[0] += dy[c] * y[c];
    float dot = total(part);
    for (c = 0; c < C; c++) dx[c] = y[c] * (dy[c] - dot);
}

static void log_softmax_backward_line(float *dx, const float *dz, const float *z, ptrdiff_t C) {
    float part[LINES] = {0};
    ptrdiff_t c = 0;
    for (; c + LINES <= C; c += LINES) EACH part[l] += dz[c + l];
    for (; c < C; c++) part[0] += dz[c];
    float sum = total(part);
    for (c = 0; c < C; c++) dx[c] = dz[c] - exp_f32(z[c]) * sum;
}

/* ------------------------------------------------------------------------------- side by side */

#define COLUMNS for (ptrdiff_t b = 0; b < width; b++)
#define ROWS for (ptrdiff_t c = 0; c < C; c++, x += B)

static void largest_columns(float *m, const float *x, ptrdiff_t C, ptrdiff_t B, ptrdiff_t width) {
    COLUMNS m[b] = -INFINITY;
    ROWS COLUMNS m[b] = x[b] > m[b] ? x[b] : m[b];
}

static void softmax_lines(float *restrict y, const float *restrict x, ptrdiff_t C, ptrdiff_t B,
                          ptrdiff_t width) {
    if (B == 1) {
        softmax_line(y, x, C);
        return;
    }
    float m[WIDEST], sum[WIDEST], *first = y;
    largest_columns(m, x, C, B, width);
    COLUMNS sum[b] = 0;
    for (ptrdiff_t c = 0; c < C; c++, x += B, y += B) {
        COLUMNS y[b] = exp_f32(x[b] - m[b]);
        COLUMNS sum[b] += y[b];
    }
    COLUMNS sum[b] = 1 / sum[b];
    for (ptrdiff_t c = 0; c < C; c++) COLUMNS first[c * B + b] *= sum[b];
}

static void log_softmax_lines(float *restrict y, const float *restrict x, ptrdiff_t C, ptrdiff_t B,
                              ptrdiff_t width) {
    if (B == 1) {
        log_softmax_line(y, x, C);
        return;
    }
    float m[WIDEST], sum[WIDEST];
    const float *first = x;
    largest_columns(m, x, C, B, width);
    COLUMNS sum[b] = 0;
    ROWS COLUMNS sum[b] += exp_f32(x[b] - m[b]);
    COLUMNS sum[b] = log_f32(sum[b]);
    for (ptrdiff_t c = 0; c < C; c++)
        COLUMNS y[c * B + b] = (first[c * B + b] - m[b]) - sum[b];
}

static void softmax_backward_lines(float *restrict dx, const float *restrict dy,
                                   const float *restrict y, ptrdiff_t C, ptrdiff_t B,
                                   ptrdiff_t width) {
    if (B == 1) {
        softmax_backward_line(dx, dy, y, C);
        return;
    }
    float dot[WIDEST];
    COLUMNS dot[b] = 0;
    for (ptrdiff_t c = 0; c < C; c++) COLUMNS dot[b] += dy[c * B + b] * y[c * B + b];
    for (ptrdiff_t c = 0; c < C; c++)
        COLUMNS dx[c * B + b] = y[c * B + b] * (dy[c * B + b] - dot[b]);
}

static void log_softmax_backward_lines(float *restrict dx, const float *restrict dz,
                                       const float *restrict z, ptrdiff_t C, ptrdiff_t B,
                                       ptrdiff_t width) {
    if (B == 1) {
        log_softmax_backward_line(dx, dz, z, C);
        return;
    }
    float sum[WIDEST];
    COLUMNS sum[b] = 0;
    for (ptrdiff_t c = 0; c < C; c++) COLUMNS sum[b] += dz[c * B + b];
    for (ptrdiff_t c = 0; c < C; c++)
        COLUMNS dx[c * B + b] = dz[c * B + b] - exp_f32(z[c * B + b]) * sum[b];
}

/* ------------------------------------------------------------------------------- short lines */

#define SHORT 64 /* a line of fewer numbers costs more than they do */
#define SIDE 32  /* so that this many are turned to lie side by side */

typedef void (*lines_map)(float *y, const float *x, ptrdiff_t C, ptrdiff_t B, ptrdiff_t width);

static void turn(float *to, const float *x, ptrdiff_t n, ptrdiff_t C) {
    for (ptrdiff_t c = 0; c < C; c++)
        for (ptrdiff_t l = 0; l < n; l++) to[c * SIDE + l] = x[l * C + c];
}

static void turn_back(float *y, const float *from, ptrdiff_t n, ptrdiff_t C) {
    for (ptrdiff_t l = 0; l < n; l++)
        for (ptrdiff_t c = 0; c < C; c++) y[l * C + c] = from[c * SIDE + l];
}

static void short_lines(lines_map f, float *y, const float *x, ptrdiff_t n, ptrdiff_t C) {
    float from[SHORT * SIDE], to[SHORT * SIDE];
    turn(from, x, n, C);
    f(to, from, C, SIDE, n);
    turn_back(y, to, n, C);
}

#endif
