/* Depthwise convolution of a compiled plan: one or two rows of the output from pointers to the rows
   of the input, each number of which is loaded once for all the sums that it belongs to.

   layout   images as in step.h, so a vector holds LANES channels of one pixel. Weights are packed
            [C / LANES][KH·KW][LANES]: those of one vector side by side
   loops    chunks of channels → rows, two at a time → tiles of columns → vectors → inputs
   tile     R rows × T columns of y, R ≤ 2 and T ≤ 7, for one vector of channels:

                inputs of 3 × 3, R = 2, T = 3        sums
                    ▫ ▫ ▫ ▫ ▫                                   the input ▪ in row 1, column 2 is
                    ▫ ▫ ▪ ▫ ▫                        ▪ ▪ ▪      tap (1, 2 − j) of the sums (0, j)
                    ▫ ▫ ▫ ▫ ▫                        ▪ ▪ ▪      and tap (0, 2 − j) of (1, j)
                    ▫ ▫ ▫ ▫ ▫

   why      2 × 7 sums of 3 × 3 taps are 126 multiply-adds for 36 loads, and the sums, two rows of
            weights and the input fill 21 of 32 registers. All of it is unrolled: which tap belongs
            to which sum is known when this is compiled. A chunk of channels is so small that the
            rows under a window stay in L1 from one pair of output rows to the next

   Windows that are not unrolled take a tile that loops over taps; it loads an input again for each.
   Each sum is one chain of multiply-adds from the bias on, in the order of (u, v), in any tile. */
#ifndef NANOCONV_DEPTHWISE_ROWS_H
#define NANOCONV_DEPTHWISE_ROWS_H

#include "epilogue.h"
#include "step.h"

#define DEPTHWISE_COLUMNS 7
#define DEPTHWISE_CHUNK 64   /* channels, */
#define DEPTHWISE_WIDE 56    /* of images that are less wide */
#define DEPTHWISE_INPUTS 512 /* rows of the input that two rows of the output may need */

/* Columns j ≤ · < j + T of R rows, channels c ≤ · < end. */
typedef void depthwise_tile(const step *s, const float *const *rows, float *const *out,
                            const float *const *res, ptrdiff_t j, ptrdiff_t c, ptrdiff_t end);

/* ------------------------------------------------------------------------------ one vector */

static NOINLINE void activate_all(vec *sum, int n, int32_t activation, float low, float high) {
    for (int k = 0; k < n; k++) sum[k] = activate(sum[k], activation, low, high);
}

/* The sums begin with the bias, each in a register of its own from here on. */
static ALWAYS_INLINE void start(const int R, const int T, vec sum[2][DEPTHWISE_COLUMNS],
                                const float *b) {
    UNROLL for (int k = 0; k < R * T; k++) {
        sum[k / T][k % T] = load(b);
        OPAQUE_VEC(sum[k / T][k % T]);
    }
}

/* Adds the residual, activates and stores. The compiler would keep the address of each column in a
   register, of which there are too few: so one pointer walks, and what it adds up to is hidden. */
static ALWAYS_INLINE void finish(const int R, const int T, vec sum[2][DEPTHWISE_COLUMNS],
                                 const step *s, float *const *out, const float *const *res,
                                 ptrdiff_t j, ptrdiff_t c) {
    ptrdiff_t r_pitch = s->r.pitch, y_pitch = s->y.pitch;
    UNROLL for (int i = 0; i < R && res; i++) {
        const float *r = res[i] + j * r_pitch + c;
        UNROLL for (int k = 0; k < T; k++) {
            sum[i][k] += load(r);
            r += r_pitch;
            OPAQUE(r);
        }
    }
    if (s->activation == CLAMP) {
        UNROLL for (int k = 0; k < R * T; k++)
            sum[k / T][k % T] = activate(sum[k / T][k % T], CLAMP, s->low, s->high);
    } else if (s->activation == HARDSWISH) {
        UNROLL for (int k = 0; k < R * T; k++)
            sum[k / T][k % T] = activate(sum[k / T][k % T], HARDSWISH, 0, 0);
    } else {
        vec all[2 * DEPTHWISE_COLUMNS];
        UNROLL for (int k = 0; k < R * T; k++) all[k] = sum[k / T][k % T];
        activate_all(all, R * T, s->activation, s->low, s->high);
        UNROLL for (int k = 0; k < R * T; k++) sum[k / T][k % T] = all[k];
    }
    UNROLL for (int i = 0; i < R; i++) {
        float *y = out[i] + j * y_pitch + c;
        UNROLL for (int k = 0; k < T; k++) {
            store(y, sum[i][k]);
            y += y_pitch;
            OPAQUE(y);
        }
    }
}

/* K × K taps, S pixels from one window to the next. */
static ALWAYS_INLINE void unrolled(const int K, const int S, const int R, const int T,
                                   const step *s, const float *const *rows, float *const *out,
                                   const float *const *res, ptrdiff_t j, ptrdiff_t c,
                                   ptrdiff_t end) {
    ptrdiff_t pitch = s->x.pitch, first = j * S * pitch;
    const float *w = s->w + c * K * K;
    for (; c < end; c += LANES, w += K * K * LANES) {
        vec sum[2][DEPTHWISE_COLUMNS];
        start(R, T, sum, s->b + c);
        UNROLL for (int h = 0; h < (R - 1) * S + K; h++) {
            const float *x = rows[h] + first + c;
            UNROLL for (int q = 0; q < (T - 1) * S + K; q++) {
                vec input = load(x);
                x += pitch;
                OPAQUE(x);
                UNROLL for (int k = 0; k < R * T; k++) {
                    int u = h - k / T * S, v = q - k % T * S;
                    if (u < 0 || u >= K || v < 0 || v >= K) continue;
                    sum[k / T][k % T] += input * load(w + (u * K + v) * LANES);
                }
            }
        }
        finish(R, T, sum, s, out, res, j, c);
    }
}

/* Any window. Four columns share a pointer, which the addressing modes reach from it. */
static ALWAYS_INLINE void looped(const int R, const int T, const step *s, const float *const *rows,
                                 float *const *out, const float *const *res, ptrdiff_t j,
                                 ptrdiff_t c, ptrdiff_t end) {
    ptrdiff_t KH = s->of.KH, KW = s->of.KW, pitch = s->x.pitch;
    ptrdiff_t column = s->of.sw * pitch, tap = s->of.dw * pitch;
    const float *w = s->w + c * KH * KW;
    for (; c < end; c += LANES) {
        vec sum[2][DEPTHWISE_COLUMNS];
        start(R, T, sum, s->b + c);
        for (ptrdiff_t u = 0; u < KH; u++) {
            const float *x[2][2];
            UNROLL for (int k = 0; k < 2 * R; k++) {
                x[k / 2][k % 2] = rows[k / 2 * s->of.sh + u * s->of.dh] + j * column + c;
                x[k / 2][k % 2] += k % 2 * 4 * column;
                OPAQUE(x[k / 2][k % 2]);
            }
            for (ptrdiff_t v = 0; v < KW; v++, w += LANES) {
                vec weight = load(w);
                UNROLL for (int k = 0; k < R * T; k++)
                    sum[k / T][k % T] += weight * load(x[k / T][k % T / 4] + k % T % 4 * column);
                UNROLL for (int k = 0; k < 2 * R; k++) x[k / 2][k % 2] += tap;
            }
        }
        finish(R, T, sum, s, out, res, j, c);
    }
}

/* ------------------------------------------------------------------------------ the tiles */

/* UP_TO_7(F, …) is F for 1 to 7 columns. For two rows of 3 × 3 taps, 16 registers have room for 4
   columns; for two rows of 5 × 5 taps, with 10 weights, for hardly any. With a stride of 2 most
   inputs belong to one row: a second one gains nothing. */
#define UP_TO_4(F, K, S, R) F(K, S, R, 1) F(K, S, R, 2) F(K, S, R, 3) F(K, S, R, 4)
#define UP_TO_7(F, K, S, R) UP_TO_4(F, K, S, R) F(K, S, R, 5) F(K, S, R, 6) F(K, S, R, 7)
#define ONE_ROW(F) UP_TO_7(F, 3, 1, 1) UP_TO_7(F, 3, 2, 1) UP_TO_7(F, 5, 1, 1) UP_TO_7(F, 5, 2, 1)
#if REGISTERS >= 32
#define ALL_KNOWN(F) ONE_ROW(F) UP_TO_7(F, 3, 1, 2) UP_TO_7(F, 5, 1, 2)
#define ALL_ANY(F) UP_TO_7(F, 0, 0, 1) UP_TO_7(F, 0, 0, 2)
#else
#define ALL_KNOWN(F) ONE_ROW(F) UP_TO_4(F, 3, 1, 2)
#define ALL_ANY(F) UP_TO_7(F, 0, 0, 1)
#endif

#define DEPTHWISE_TILE(name, body)                                                               \
    static NOINLINE void name(const step *s, const float *const *rows, float *const *out,        \
                              const float *const *res, ptrdiff_t j, ptrdiff_t c,                 \
                              ptrdiff_t end) {                                                   \
        body;                                                                                    \
    }
#define KNOWN(K, S, R, T)                                                                     \
    DEPTHWISE_TILE(depthwise_##K##_##S##_##R##x##T,                                              \
                   unrolled(K, S, R, T, s, rows, out, res, j, c, end))
#define ANY(K, S, R, T)                                                                       \
    DEPTHWISE_TILE(depthwise_##K##_##S##_##R##x##T, looped(R, T, s, rows, out, res, j, c, end))
ALL_KNOWN(KNOWN)
ALL_ANY(ANY)

/* [K][S][R][T]; those of K = 0 are for any window. */
typedef depthwise_tile *depthwise_tiles[3][DEPTHWISE_COLUMNS + 1];
#define ENTRY(K, S, R, T) [K][S][R][T] = depthwise_##K##_##S##_##R##x##T,
static const depthwise_tiles DEPTHWISE_TILES[6][3] = {ALL_KNOWN(ENTRY) ALL_ANY(ENTRY)};
#undef ENTRY
#undef ANY
#undef KNOWN
#undef DEPTHWISE_TILE

static inline const depthwise_tiles *depthwise_tiles_for(const window *of) {
    ptrdiff_t K = of->KH, S = of->sh;
    int unrolled = (K == 3 || K == 5) && K == of->KW && (S == 1 || S == 2) && S == of->sw &&
                   of->dh == 1 && of->dw == 1;
    return unrolled ? &DEPTHWISE_TILES[K][S] : &DEPTHWISE_TILES[0][0];
}

/* ------------------------------------------------------------------------------ rows and images */

/* The channels c ≤ · < end of `count` rows, as depthwise_rows below. */
static void depthwise_channels(const step *s, const float *const *rows, float *const *out,
                               const float *const *res, ptrdiff_t count, ptrdiff_t c,
                               ptrdiff_t end) {
    const depthwise_tiles *tiles = depthwise_tiles_for(&s->of);
    ptrdiff_t at_once = count == 2 && (*tiles)[2][1] ? 2 : 1, W = s->y.W;
    ptrdiff_t columns = (*tiles)[at_once][DEPTHWISE_COLUMNS] ? DEPTHWISE_COLUMNS : 4;
    ptrdiff_t pieces = (W + columns - 1) / columns;
    for (ptrdiff_t i = 0; i < count; i += at_once)
        for (ptrdiff_t p = 0; p < pieces; p++) {
            ptrdiff_t j = share(W, p, pieces), T = share(W, p + 1, pieces) - j;
            (*tiles)[at_once][T](s, rows + i * s->of.sh, out + i, res ? res + i : NULL, j, c, end);
        }
}

/* Channels of y, in whole vectors, and how many of them to take at a time. */
static inline ptrdiff_t depthwise_whole(const step *s) {
    return (s->y.C + LANES - 1) / LANES * LANES;
}
static inline ptrdiff_t depthwise_chunk(const step *s) {
    return s->y.W < DEPTHWISE_WIDE ? DEPTHWISE_CHUNK : larger(depthwise_whole(s), 1);
}

/* `count` neighbouring rows of y, one or two. rows[k] is the k-th of the (count − 1)·sh +
   (KH − 1)·dh + 1 input rows under their windows, from the pixel on that tap v = 0 of column 0
   reads; out[i] and res[i] are row i of y and of what is added to it, from pixel 0 on. `res` may
   be NULL. */
static void depthwise_rows(const step *s, const float *const *rows, float *const *out,
                           const float *const *res, ptrdiff_t count) {
    ptrdiff_t C = depthwise_whole(s), chunk = depthwise_chunk(s);
    for (ptrdiff_t c = 0; c < C; c += chunk)
        depthwise_channels(s, rows, out, res, count, c, smaller(c + chunk, C));
}

/* Packs w (taps, C), of which the tiles read whole vectors. */
static void depthwise_pack(float *packed, const float *w, ptrdiff_t taps, ptrdiff_t C) {
    for (ptrdiff_t c = 0; c < C; c += LANES)
        for (ptrdiff_t k = 0; k < taps; k++, packed += LANES)
            store(packed, c + LANES <= C ? load(w + k * C + c) : load_first(w + k * C + c, C - c));
}

/* Where the chunk of channels that begins at c ends: at most `most` that lie side by side. */
static ptrdiff_t depthwise_end(const step *s, ptrdiff_t c, ptrdiff_t most) {
    if (!s->gather) return c + most;
    const int32_t *at = s->gather + c / LANES;
    ptrdiff_t n = 1;
    while (n * LANES < most && at[n] == at[0] + n * LANES) n++;
    return c + n * LANES;
}

/* The whole image, whose halo is as wide as the windows need; or with `gather` vectors of several,
   whose memory is alike: of each of y its place from x.at. Threads share out rows, as the
   convolutions before and behind do: most of what they read is in their own cache. */
static void depthwise_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const window *of = &s->of;
    ptrdiff_t H = s->y.H, C = depthwise_whole(s), chunk = depthwise_chunk(s);
    ptrdiff_t begin = share(H, t, T), end = share(H, t + 1, T);
    clear_sides(&s->y, begin, end);
    for (ptrdiff_t c = 0, stop; c < C; c = stop) {
        stop = depthwise_end(s, c, smaller(chunk, C - c));
        ptrdiff_t moved = s->gather ? s->gather[c / LANES] - c : 0;
        for (ptrdiff_t i = begin, count; i < end; i += count) {
            const float *rows[DEPTHWISE_INPUTS], *res[2];
            float *out[2];
            count = smaller(end - i, 2);
            ptrdiff_t inputs = (count - 1) * of->sh + (of->KH - 1) * of->dh + 1;
            for (ptrdiff_t k = 0; k < inputs; k++)
                rows[k] = pixel(&s->x, i * of->sh - of->pt + k, -of->pl) + moved;
            for (ptrdiff_t k = 0; k < count; k++) {
                out[k] = pixel(&s->y, i + k, 0);
                res[k] = s->r.at ? pixel(&s->r, i + k, 0) : NULL;
            }
            depthwise_channels(s, rows, out, s->r.at ? res : NULL, count, c, stop);
        }
    }
}

#endif
