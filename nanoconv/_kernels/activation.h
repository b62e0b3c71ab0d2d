/* The activations, one element at a time, and the two loops that map them over a run of floats.

   y = f(x, p) and dx = f_backward(dy, x, p), of sigmoid and tanh f_backward(dy, y, p), where p
   holds the attributes of the call, such as the slope of leaky_relu; those without ignore it.
   Every choice is a select, so the compiler turns the loops into vectors. NaN takes the side of a
   comparison that PyTorch gives it, and the gradients at the kinks are PyTorch's. The smooth ones
   are written in e^-|x|, which never overflows, and but for these two without a difference that
   cancels. */
#ifndef NANOCONV_ACTIVATION_H
#define NANOCONV_ACTIVATION_H

#include <math.h>
#include <stddef.h>

#include "math_f32.h"

typedef struct {
    float a, b;
} attributes;

/* ------------------------------------------------------------------------------- piecewise linear */

static inline float clamp(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline float relu_f32(float x, attributes p) { return x < 0 ? 0 : x; }
static inline float relu_backward_f32(float dy, float x, attributes p) { return x <= 0 ? 0 : dy; }

static inline float relu6_f32(float x, attributes p) { return clamp(x, 0, 6); }
static inline float relu6_backward_f32(float dy, float x, attributes p) {
    return (x > 0) & (x < 6) ? dy : 0;
}

static inline float leaky_relu_f32(float x, attributes p) { return x > 0 ? x : p.a * x; }
static inline float leaky_relu_backward_f32(float dy, float x, attributes p) {
    return x > 0 ? dy : p.a * dy;
}

static inline float hardsigmoid_f32(float x, attributes p) { return clamp(x + 3, 0, 6) * (1 / 6.0f); }
static inline float hardsigmoid_backward_f32(float dy, float x, attributes p) {
    return (x > -3) & (x < 3) ? dy * (1 / 6.0f) : 0;
}

static inline float hardswish_f32(float x, attributes p) { return x * hardsigmoid_f32(x, p); }
static inline float hardswish_backward_f32(float dy, float x, attributes p) {
    float inside = dy * (x * (1 / 3.0f) + 0.5f);
    return x <= -3 ? 0 : x >= 3 ? dy : inside;
}

static inline float hardtanh_f32(float x, attributes p) { return clamp(x, p.a, p.b); }
static inline float hardtanh_backward_f32(float dy, float x, attributes p) {
    return (x > p.a) & (x < p.b) ? dy : 0;
}

static inline float threshold_f32(float x, attributes p) { return x <= p.a ? p.b : x; }
static inline float threshold_backward_f32(float dy, float x, attributes p) {
    return x <= p.a ? 0 : dy;
}

static inline float hardshrink_f32(float x, attributes p) {
    return (x >= -p.a) & (x <= p.a) ? 0 : x;
}
static inline float hardshrink_backward_f32(float dy, float x, attributes p) {
    return (x > p.a) | (x < -p.a) ? dy : 0;
}

static inline float softshrink_f32(float x, attributes p) {
    float below = x < -p.a ? x + p.a : 0 * x; /* NaN stays NaN */
    return x > p.a ? x - p.a : below;
}
static inline float softshrink_backward_f32(float dy, float x, attributes p) {
    return hardshrink_backward_f32(dy, x, p);
}

/* ------------------------------------------------------------------------------- smooth */

/* 1 / (1 + e^-x); for x < 0 both sides of the fraction times e^x */
static inline float sigmoid_f32(float x, attributes p) {
    float e = exp_f32(-fabsf(x));
    return (x < 0 ? e : 1) / (1 + e);
}
static inline float sigmoid_slope_f32(float x) { /* s (1 - s) */
    float e = exp_f32(-fabsf(x));
    return e / ((1 + e) * (1 + e));
}
static inline float sigmoid_backward_f32(float dy, float y, attributes p) {
    return dy * (y * (1 - y));
}

/* (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x */
static inline float tanh_f32(float x, attributes p) {
    float m = expm1_f32(-2 * fabsf(x));
    return copysignf(m / (2 + m), x);
}
static inline float tanh_backward_f32(float dy, float y, attributes p) {
    return dy * ((1 - y) * (1 + y)); /* 1 - y is exact where y^2 would be rounded to 1 */
}

static inline float silu_f32(float x, attributes p) { return x * sigmoid_f32(x, p); }
static inline float silu_backward_f32(float dy, float x, attributes p) {
    return dy * (sigmoid_f32(x, p) + x * sigmoid_slope_f32(x));
}

static inline float elu_f32(float x, attributes p) { return x > 0 ? x : p.a * expm1_f32(x); }
static inline float elu_backward_f32(float dy, float x, attributes p) {
    float below = x > 0 ? 0 : x;
    return dy * ((x > 0 ? 1 : p.a) * exp_f32(below));
}

#define SELU_SCALE 1.05070098735548049342f
#define SELU_ALPHA 1.67326324235437728481f
static inline float selu_f32(float x, attributes p) {
    return x > 0 ? SELU_SCALE * x : SELU_SCALE * SELU_ALPHA * expm1_f32(x);
}
static inline float selu_backward_f32(float dy, float x, attributes p) {
    float below = x > 0 ? 0 : x;
    return dy * ((x > 0 ? SELU_SCALE : SELU_SCALE * SELU_ALPHA) * exp_f32(below));
}

static inline float celu_f32(float x, attributes p) {
    return x > 0 ? x : p.a * expm1_f32(x / p.a);
}
static inline float celu_backward_f32(float dy, float x, attributes p) {
    float below = x > 0 ? 0 : x;
    return dy * exp_f32(below / p.a);
}

/* x Phi(x), Phi(x) = e^(-x^2/2) R(|x|) below 0, and 1 minus that above; Phi' = e^(-x^2/2) / sqrt 2pi */
#define INVERSE_SQRT_2PI 0.39894228040143267794f
static inline float gelu_f32(float x, attributes p) {
    float tail = exp_f32(-0.5f * x * x) * normal_tail_f32(fabsf(x));
    return x * (x < 0 ? tail : 1 - tail);
}
static inline float gelu_backward_f32(float dy, float x, attributes p) {
    float e = exp_f32(-0.5f * x * x), tail = e * normal_tail_f32(fabsf(x));
    return dy * ((x < 0 ? tail : 1 - tail) + x * (e * INVERSE_SQRT_2PI));
}

/* x (1 + tanh(z/2)) / 2 = x s(z), z = x (LINEAR + CUBIC x^2) = 2 sqrt(2/pi) (x + 0.044715 x^3) */
#define LINEAR 1.59576912160573071176f
#define CUBIC 0.07135481627260024977f
static inline float gelu_tanh_f32(float x, attributes p) {
    return x * sigmoid_f32(x * (LINEAR + CUBIC * (x * x)), p);
}
static inline float gelu_tanh_backward_f32(float dy, float x, attributes p) {
    float z = x * (LINEAR + CUBIC * (x * x)), dz = LINEAR + 3 * CUBIC * (x * x);
    return dy * (sigmoid_f32(z, p) + x * sigmoid_slope_f32(z) * dz);
}

/* tanh(log(1 + e^x)) = n / (n + d), n = (1 + e^x)^2 - 1, d = 2; for x > 0 both times e^-2x. Its
   derivative is 4 e^x (1 + e^x) / (n + d)^2, for x > 0 the numerator times e^-4x. */
typedef struct {
    float gate, slope;
} mish_parts;
static inline mish_parts mish_parts_f32(float x) {
    float e = exp_f32(-fabsf(x));
    float n = x < 0 ? e * (e + 2) : 1 + 2 * e, d = x < 0 ? 2 : 2 * e * e;
    float one = x < 0 ? 1 : e;
    return (mish_parts){n / (n + d), 4 * e * one * (1 + e) / ((n + d) * (n + d))};
}
static inline float mish_f32(float x, attributes p) { return x * mish_parts_f32(x).gate; }
static inline float mish_backward_f32(float dy, float x, attributes p) {
    mish_parts m = mish_parts_f32(x);
    return dy * (m.gate + x * m.slope);
}

/* log(1 + e^z) / beta, z = beta x; where z > threshold, x */
static inline float softplus_f32(float x, attributes p) {
    float z = x * p.a;
    float y = ((z < 0 ? 0 : z) + log1p_unit_f32(exp_f32(-fabsf(z)))) / p.a;
    return z > p.b ? x : y;
}
static inline float softplus_backward_f32(float dy, float x, attributes p) {
    float z = x * p.a, inside = dy * sigmoid_f32(z, p);
    return z > p.b ? dy : inside;
}

static inline float softsign_f32(float x, attributes p) { return x / (1 + fabsf(x)); }
static inline float softsign_backward_f32(float dy, float x, attributes p) {
    float d = 1 + fabsf(x);
    return dy / d / d + 0 * x; /* NaN at infinity, as in PyTorch */
}

static inline float logsigmoid_f32(float x, attributes p) {
    return (x < 0 ? x : 0) - log1p_unit_f32(exp_f32(-fabsf(x)));
}
static inline float logsigmoid_backward_f32(float dy, float x, attributes p) {
    return dy * sigmoid_f32(-x, p);
}

/* ------------------------------------------------------------------------------- the loops */

#define UNROLLED _Pragma("GCC unroll 4")
#define MAP(f)                                                                                     \
    static void map_##f(float *restrict y, const float *restrict x, ptrdiff_t n, attributes p) {   \
        UNROLLED for (ptrdiff_t i = 0; i < n; i++) y[i] = f##_f32(x[i], p);                        \
    }                                                                                              \
    static void map_##f##_backward(float *restrict dx, const float *restrict dy,                   \
                                   const float *restrict x, ptrdiff_t n, attributes p) {           \
        UNROLLED for (ptrdiff_t i = 0; i < n; i++) dx[i] = f##_backward_f32(dy[i], x[i], p);       \
    }

MAP(relu)
MAP(relu6)
MAP(leaky_relu)
MAP(hardsigmoid)
MAP(hardswish)
MAP(hardtanh)
MAP(threshold)
MAP(hardshrink)
MAP(softshrink)
MAP(sigmoid)
MAP(tanh)
MAP(silu)
MAP(elu)
MAP(selu)
MAP(celu)
MAP(gelu)
MAP(gelu_tanh)
MAP(mish)
MAP(softplus)
MAP(softsign)
MAP(logsigmoid)

/* ------------------------------------------------------------------------------- the gate of glu */

static void glu_row(float *restrict y, const float *restrict a, const float *restrict b,
                    ptrdiff_t n) {
    UNROLLED for (ptrdiff_t i = 0; i < n; i++) y[i] = a[i] * sigmoid_f32(b[i], (attributes){0});
}

static void glu_row_backward(float *restrict da, float *restrict db, const float *restrict dy,
                             const float *restrict a, const float *restrict b, ptrdiff_t n) {
    UNROLLED for (ptrdiff_t i = 0; i < n; i++) {
        da[i] = dy[i] * sigmoid_f32(b[i], (attributes){0});
        db[i] = dy[i] * a[i] * sigmoid_slope_f32(b[i]);
    }
}

#endif
