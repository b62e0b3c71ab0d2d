/* Functions in float32, written so that the compiler can turn a loop over them into vectors: no
   table, no branch, no call; every choice is a select.

   exp and expm1 start from  x = n ln 2 + r,  n = round(x / ln 2),  |r| <= ln 2 / 2,  so that
   e^x = 2^n e^r. One polynomial gives p = e^r - 1 = r + r^2 Q(r), Q fitted for the smallest
   relative error of p (1.3e-8, a fifth of half an ulp). Then
       exp(x)   = 2^n p + 2^n              error < 1.1 ulp
       expm1(x) = 2^n p + (2^n - 1)        error < 1.8 ulp, also near 0, where exp(x) - 1 cancels
   The logarithms are series in s = u / (2 + u), after x = 2^n m, m in [1/sqrt 2, sqrt 2), and the error function, which a normal
   distribution needs far out in its tail, a polynomial in 1 / (1 + 0.35 t):
       log1p_unit(u)  = log(1 + u) = 2 artanh(s)    error < 2 ulp, 0 <= u <= 1
       log(x)         = n ln 2 + log1p(m - 1)       error < 2 ulp
       log_rest(x)    = log(1 - x)                  error < 3 ulp, 0 <= x <= 1
       normal_tail(t) = e^(t^2/2) Phi(-t)           error < 5 ulp, 0 <= t <= 14.5
   where Phi(-t) = erfc(t / sqrt 2) / 2 is the probability of a number below -t. For larger t
   e^(-t^2/2) is 0, and all that counts is that normal_tail is finite.

   NaN gives NaN, overflow gives inf, underflow goes through the subnormals to 0. */
#ifndef NANOCONV_MATH_F32_H
#define NANOCONV_MATH_F32_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t n;
    float p;
} reduced_f32;

static inline reduced_f32 reduce_f32(float x) {
    x = x < -104.0f ? -104.0f : x; /* e^-104 rounds to 0, e^89 to inf; NaN passes both selects */
    x = x > 89.0f ? 89.0f : x;
    const float magic = 0x1.8p23f; /* its sum has no fraction: the low bits are the integer */
    float t = x * 0x1.715476p0f + magic;
    int32_t bits;
    memcpy(&bits, &t, sizeof bits);
    float n = t - magic;
    float r = x - n * 0x1.63p-1f; /* ln 2 in two parts, of which n times the first is exact */
    r = r + n * 0x1.bd0106p-13f;
    float q = 0x1.6bebdep-10f;
    q = q * r + 0x1.122886p-7f;
    q = q * r + 0x1.555676p-5f;
    q = q * r + 0x1.5554aep-3f;
    q = q * r + 0x1.fffffep-2f;
    return (reduced_f32){bits - 0x4b400000, q * (r * r) + r};
}

static inline float power_of_two_f32(int32_t n) { /* -126 <= n <= 127 */
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static inline float exp_f32(float x) {
    reduced_f32 a = reduce_f32(x);
    int32_t half = a.n >> 1; /* n runs from -150 to 128, too far for one factor 2^n */
    float scale = power_of_two_f32(half);
    return (scale * a.p + scale) * power_of_two_f32(a.n - half);
}

static inline float expm1_f32(float x) {
    x = x < -18.0f ? -18.0f : x; /* rounds to -1 from here on, long before 2^n underflows */
    reduced_f32 a = reduce_f32(x);
    float half = power_of_two_f32(a.n - 1); /* n may be 128 */
    return 2 * (half * a.p + (half - 0.5f));
}

static inline float log1p_unit_f32(float u) {
    float s = u / (2 + u), z = s * s; /* s <= 1/3 */
    float q = 0x1.1ed82ep-2f;
    q = q * z + 0x1.1ebcf8p-2f;
    q = q * z + 0x1.99d20ap-2f;
    q = q * z + 0x1.555502p-1f;
    return s * 2 + s * (z * q);
}

static inline float log_f32(float x) {
    float normal = x < 0x1p-126f ? x * 0x1p24f : x;
    int32_t bits;
    memcpy(&bits, &normal, sizeof bits);
    int32_t n = (bits - 0x3f3504f3) >> 23; /* the bits of 1 / sqrt 2 */
    bits -= (int32_t)((uint32_t)n << 23);
    float m;
    memcpy(&m, &bits, sizeof m);
    float u = m - 1, s = u / (2 + u), z = s * s; /* |s| <= 0.1716 */
    float q = 0x1.c71c72p-3f;
    q = q * z + 0x1.24924ap-2f;
    q = q * z + 0x1.99999ap-2f;
    q = q * z + 0x1.555556p-1f;
    float power = (float)n - (x < 0x1p-126f ? 24.0f : 0.0f);
    float y = power * 0x1.63p-1f + (s * 2 + (s * (z * q) - power * 0x1.bd0106p-13f));
    y = x > 0 ? y : x == 0 ? -INFINITY : NAN;
    return x < INFINITY ? y : x; /* NaN, too */
}

static inline float log_rest_f32(float x) {
    float rest = 1 - x, lost = (1 - rest) - x; /* the rounding of 1 - x, exactly */
    float more = lost / rest;
    return log_f32(rest) + (rest > 0 ? more : 0);
}

static inline float normal_tail_f32(float t) {
    float u = 1 / (1 + 0.35f * t);
    float q = -0x1.ddbfbep-6f;
    q = q * u + 0x1.26fdd6p-3f;
    q = q * u - 0x1.05ff08p-2f;
    q = q * u + 0x1.46539cp-3f;
    q = q * u - 0x1.7c8926p-6f;
    q = q * u + 0x1.b05e0ep-4f;
    q = q * u + 0x1.eac81ap-4f;
    q = q * u + 0x1.1e70e0p-3f;
    q = q * u + 0x1.1df1c4p-3f;
    return q * u;
}

#endif
