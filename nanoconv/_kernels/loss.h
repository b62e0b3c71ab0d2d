/* Losses that compare numbers x with targets t, one pair at a time, and the loops that map them.

   l = f(x, t, p), its derivatives f_by_x and f_by_t, where p is the number that some
   need: beta, delta or alpha. The first four are functions of |x - t|: their derivative by t is
   that by x with x and t exchanged. NaN takes the side of a comparison that PyTorch gives it.
   Every choice is a select, so the compiler turns the loops into vectors. */
#ifndef NANOCONV_LOSS_H
#define NANOCONV_LOSS_H

#include <math.h>
#include <stddef.h>

#include "math_f32.h"

/* ------------------------------------------------------------------------------- of x - t alone */

static inline float sign_f32(float d) { return (float)(d > 0) - (float)(d < 0); }

static inline float clip_f32(float d, float limit) {
    d = d < -limit ? -limit : d;
    return d > limit ? limit : d;
}

static inline float mse_loss_f32(float x, float t, float p) { return (x - t) * (x - t); }
static inline float mse_loss_by_x_f32(float x, float t, float p) { return 2 * (x - t); }

static inline float l1_loss_f32(float x, float t, float p) { return fabsf(x - t); }
static inline float l1_loss_by_x_f32(float x, float t, float p) { return sign_f32(x - t); }

static inline float smooth_l1_loss_f32(float x, float t, float p) {
    float d = fabsf(x - t), inside = d * d / (2 * p), beyond = d - p / 2;
    return d < p ? inside : beyond;
}
static inline float smooth_l1_loss_by_x_f32(float x, float t, float p) {
    float d = x - t, smooth = clip_f32(d / p, 1);
    return p > 0 ? smooth : sign_f32(d);
}

static inline float huber_loss_f32(float x, float t, float p) {
    float d = fabsf(x - t), inside = d * d / 2, beyond = p * (d - p / 2);
    return d <= p ? inside : beyond;
}
static inline float huber_loss_by_x_f32(float x, float t, float p) {
    return clip_f32(x - t, p);
}

/* ------------------------------------------------------------------------------- kl_div */

static inline float kl_div_f32(float x, float t, float p) {
    float entropy = t * log_f32(t);
    return (t == 0 ? 0 : entropy) - t * x; /* 0 log 0 = 0 */
}
static inline float kl_div_by_x_f32(float x, float t, float p) { return -t; }
static inline float kl_div_by_t_f32(float x, float t, float p) {
    return log_f32(t) + t / t - x; /* NaN at 0 */
}

static inline float kl_div_log_f32(float x, float t, float p) { return exp_f32(t) * (t - x); }
static inline float kl_div_log_by_x_f32(float x, float t, float p) { return -exp_f32(t); }
static inline float kl_div_log_by_t_f32(float x, float t, float p) {
    return exp_f32(t) * (t - x + 1);
}

/* ------------------------------------------------------------------------------- yes or no */

static inline float at_least_f32(float x, float low) { return x < low ? low : x; }

static inline float binary_cross_entropy_f32(float x, float t, float p) {
    return (t - 1) * at_least_f32(log_rest_f32(x), -100) - t * at_least_f32(log_f32(x), -100);
}
static inline float binary_cross_entropy_by_x_f32(float x, float t, float p) {
    return (x - t) / at_least_f32((1 - x) * x, 1e-12f);
}
static inline float binary_cross_entropy_by_t_f32(float x, float t, float p) {
    return log_rest_f32(x) - log_f32(x);
}

/* (1 - t) x + log(1 + e^-x) */
static inline float binary_cross_entropy_with_logits_f32(float x, float t, float p) {
    return (1 - t) * x + (x < 0 ? -x : 0) + log1p_unit_f32(exp_f32(-fabsf(x)));
}
static inline float binary_cross_entropy_with_logits_by_x_f32(float x, float t, float p) {
    float e = exp_f32(-fabsf(x));
    return (x < 0 ? e : 1) / (1 + e) - t;
}
static inline float binary_cross_entropy_with_logits_by_t_f32(float x, float t, float p) { return -x; }

/* a q^2 c: c the loss above, q = 1 - p_t, a what the answer counts; q by x is s (1 - s) (1 - 2t)
   and by t 1 - 2s, which meets an infinite c as NaN, as in PyTorch */
typedef struct {
    float s, other, q, a, c;
} focal_parts;
static inline focal_parts focal_parts_f32(float x, float t, float p) {
    float e = exp_f32(-fabsf(x)), r = 1 / (1 + e), er = e * r;
    float s = x < 0 ? er : r, other = x < 0 ? r : er;
    float a = p * t + (1 - p) * (1 - t);
    float c = (1 - t) * x + (x < 0 ? -x : 0) + log1p_unit_f32(e);
    return (focal_parts){s, other, s * (1 - t) + other * t, p < 0 ? 1 : a, c};
}
static inline float sigmoid_focal_loss_f32(float x, float t, float p) {
    focal_parts f = focal_parts_f32(x, t, p);
    return f.c * (f.q * f.q) * f.a;
}
static inline float sigmoid_focal_loss_by_x_f32(float x, float t, float p) {
    focal_parts f = focal_parts_f32(x, t, p);
    return f.a * f.q * (2 * f.c * (f.s * f.other * (1 - 2 * t)) + f.q * (f.s - t));
}
static inline float sigmoid_focal_loss_by_t_f32(float x, float t, float p) {
    focal_parts f = focal_parts_f32(x, t, p);
    float counts = p < 0 ? 0 : 2 * p - 1;
    return f.q * (f.q * f.c * counts + f.a * (2 * (f.c * f.other - f.c * f.s) - f.q * x));
}

/* ------------------------------------------------------------------------------- the loops */

#define UNROLLED _Pragma("GCC unroll 2")
#define LOSS(f)                                                                                    \
    static void map_##f(float *restrict y, const float *restrict x, const float *restrict t,       \
                        ptrdiff_t n, float p) {                                               \
        UNROLLED for (ptrdiff_t i = 0; i < n; i++) y[i] = f##_f32(x[i], t[i], p);                  \
    }
#define SLOPE(f)                                                                                   \
    static void map_##f(float *restrict dx, const float *restrict dy, const float *restrict x,     \
                        const float *restrict t, ptrdiff_t n, float p) {                      \
        UNROLLED for (ptrdiff_t i = 0; i < n; i++) dx[i] = dy[i] * f##_f32(x[i], t[i], p);         \
    }

LOSS(mse_loss)
SLOPE(mse_loss_by_x)
LOSS(l1_loss)
SLOPE(l1_loss_by_x)
LOSS(smooth_l1_loss)
SLOPE(smooth_l1_loss_by_x)
LOSS(huber_loss)
SLOPE(huber_loss_by_x)
LOSS(kl_div)
SLOPE(kl_div_by_x)
SLOPE(kl_div_by_t)
LOSS(kl_div_log)
SLOPE(kl_div_log_by_x)
SLOPE(kl_div_log_by_t)
LOSS(binary_cross_entropy)
SLOPE(binary_cross_entropy_by_x)
SLOPE(binary_cross_entropy_by_t)
LOSS(binary_cross_entropy_with_logits)
SLOPE(binary_cross_entropy_with_logits_by_x)
SLOPE(binary_cross_entropy_with_logits_by_t)
LOSS(sigmoid_focal_loss)
SLOPE(sigmoid_focal_loss_by_x)
SLOPE(sigmoid_focal_loss_by_t)

#endif
