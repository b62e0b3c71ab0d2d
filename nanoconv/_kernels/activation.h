/* The activations, one element at a time, and the two loops that map them over a run of floats.

   y = f(x, p) and dx = f_backward(dy, x, p), where p is leaky_relu's slope; the others ignore it.
   Every choice is a select, so the compiler turns the loops into vectors. NaN takes the side of a
   comparison that PyTorch gives it, and the gradients at the kinks are PyTorch's. The smooth ones
   are written in e^-|x|, which never overflows, and without a difference that cancels. */
#ifndef NANOCONV_ACTIVATION_H
#define NANOCONV_ACTIVATION_H

#include <math.h>
#include <stddef.h>

#include "math_f32.h"

static inline float clamp(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline float relu_f32(float x, float p) { return x < 0 ? 0 : x; }
static inline float relu_backward_f32(float dy, float x, float p) { return x <= 0 ? 0 : dy; }

static inline float relu6_f32(float x, float p) { return clamp(x, 0, 6); }
static inline float relu6_backward_f32(float dy, float x, float p) {
    return (x > 0) & (x < 6) ? dy : 0;
}

static inline float leaky_relu_f32(float x, float p) { return x > 0 ? x : p * x; }
static inline float leaky_relu_backward_f32(float dy, float x, float p) {
    return x > 0 ? dy : p * dy;
}

static inline float hardsigmoid_f32(float x, float p) { return clamp(x + 3, 0, 6) * (1 / 6.0f); }
static inline float hardsigmoid_backward_f32(float dy, float x, float p) {
    return (x > -3) & (x < 3) ? dy * (1 / 6.0f) : 0;
}

static inline float hardswish_f32(float x, float p) { return x * hardsigmoid_f32(x, p); }
static inline float hardswish_backward_f32(float dy, float x, float p) {
    float inside = dy * (x * (1 / 3.0f) + 0.5f);
    return x <= -3 ? 0 : x >= 3 ? dy : inside;
}

/* 1 / (1 + e^-x); for x < 0 both sides of the fraction times e^x */
static inline float sigmoid_f32(float x, float p) {
    float e = exp_f32(-fabsf(x));
    return (x < 0 ? e : 1) / (1 + e);
}
static inline float sigmoid_slope_f32(float x) { /* s (1 - s) */
    float e = exp_f32(-fabsf(x));
    return e / ((1 + e) * (1 + e));
}
static inline float sigmoid_backward_f32(float dy, float x, float p) {
    return dy * sigmoid_slope_f32(x);
}

/* (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x */
static inline float tanh_f32(float x, float p) {
    float m = expm1_f32(-2 * fabsf(x));
    return copysignf(m / (2 + m), x);
}
static inline float tanh_backward_f32(float dy, float x, float p) {
    /* 1 - tanh(x)^2 = 4 s (1 - s) at 2x */
    return dy * (4 * sigmoid_slope_f32(2 * x));
}

static inline float silu_f32(float x, float p) { return x * sigmoid_f32(x, p); }
static inline float silu_backward_f32(float dy, float x, float p) {
    return dy * (sigmoid_f32(x, p) + x * sigmoid_slope_f32(x));
}

#define UNROLLED _Pragma("GCC unroll 4")
#define MAP(f)                                                                                \
    static void map_##f(float *restrict y, const float *restrict x, ptrdiff_t n, float p) {   \
        UNROLLED for (ptrdiff_t i = 0; i < n; i++) y[i] = f##_f32(x[i], p);                   \
    }                                                                                         \
    static void map_##f##_backward(float *restrict dx, const float *restrict dy,              \
                                   const float *restrict x, ptrdiff_t n, float p) {           \
        UNROLLED for (ptrdiff_t i = 0; i < n; i++) dx[i] = f##_backward_f32(dy[i], x[i], p);  \
    }

MAP(relu)
MAP(relu6)
MAP(leaky_relu)
MAP(hardsigmoid)
MAP(hardswish)
MAP(sigmoid)
MAP(tanh)
MAP(silu)

#endif
