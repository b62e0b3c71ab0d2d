/* Steps that compute each number of the output from the numbers in the same place of one image or
   two: sums, products, activations; and softmax, from those of the same pixel.

   layout   images as in step.h; a slice of a wider one, too. y may be x or r
   loops    rows, which the threads share, pixels, vectors of channels
   tile     none: memory is what these steps take their time for
   why      an activation is chosen outside of the loops if it is a clamp, as nearly all are. The
            lanes behind the last channel become 0 whatever the function makes of 0: 1 / 0 or
            sigmoid(0) must not get into the sums of the next step */
#ifndef NANOCONV_MAP_STEPS_H
#define NANOCONV_MAP_STEPS_H

#include "epilogue.h"
#include "softmax.h"
#include "step.h"

/* ----------------------------------------------------------------------- arithmetic */

/* What stands beside x: its pixels, or, with steps of 0, one pixel that stands for all. */
typedef struct {
    const float *at;
    ptrdiff_t row, pitch;
} operand;

typedef vec function_of_three(vec a, vec b, vec d);

/* y = activation(f(x, beside, below)), of which `below` is one pixel for all. */
static ALWAYS_INLINE void each_vector(const step *s, ptrdiff_t t, ptrdiff_t T, operand beside,
                                      const float *below, function_of_three *f,
                                      const int32_t activation) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T), V = vectors(y->C);
    lane_mask mask = last_lanes(y->C);
    float low = s->low, high = s->high;
    for (ptrdiff_t h = h0; h < h1; h++)
        for (ptrdiff_t w = 0; w < y->W; w++) {
            const float *a = pixel(x, h, w), *b = beside.at + h * beside.row + w * beside.pitch;
            float *to = pixel(y, h, w);
            for (ptrdiff_t v = 0; v < V; v++) {
                ptrdiff_t c = v * LANES;
                vec value = f(load(a + c), load(b + c), load(below + c));
                value = activate(value, activation, low, high);
                store(to + c, v == V - 1 ? only(value, mask) : value);
            }
        }
    clear_sides(y, h0, h1);
}

/* The step of f, which computes `expression`: of x, a; of what stands beside it, b; below it, d. */
#define STEP(name, expression, beside, below)                                                    \
    static ALWAYS_INLINE vec name##_of(vec a, vec b, vec d) { return expression; }               \
    static void name##_step(const step *s, ptrdiff_t t, ptrdiff_t T) {                           \
        const operand other = beside;                                                            \
        if (s->activation == CLAMP)                                                              \
            each_vector(s, t, T, other, below, name##_of, CLAMP);                                \
        else                                                                                     \
            each_vector(s, t, T, other, below, name##_of, s->activation);                        \
    }
#define IMAGE(i) {(i).at, (i).row, (i).pitch}

/* y = activation(x ∘ r), images of one shape */
STEP(add, a + b, IMAGE(s->r), s->r.at)
STEP(sub, a - b, IMAGE(s->r), s->r.at)
STEP(mul, a * b, IMAGE(s->r), s->r.at)
STEP(div, a / b, IMAGE(s->r), s->r.at)
STEP(max, maximum(a, b), IMAGE(s->r), s->r.at)
STEP(min, -maximum(-a, -b), IMAGE(s->r), s->r.at)

/* y = activation(x ∘ r[c]), r one pixel, as squeeze-and-excite has it */
STEP(scale, a * b, {s->r.at}, s->r.at)
STEP(shift, a + b, {s->r.at}, s->r.at)

/* y = activation(x·w[c] + b[c]), both of whole vectors */
STEP(affine, a * b + d, {s->w}, s->b)

#undef IMAGE
#undef STEP

/* ----------------------------------------------------------------------- any function */

static inline float exp_of_f32(float x, attributes p) { return exp_f32(x); }
static inline float log_of_f32(float x, attributes p) { return log_f32(x); }
static inline float sqrt_of_f32(float x, attributes p) { return sqrtf(x); }
static inline float abs_of_f32(float x, attributes p) { return fabsf(x); }
static inline float tanhshrink_f32(float x, attributes p) { return x - tanh_f32(x, p); }

/* The functions that map_step knows, in the order of its numbers. */
#define ALL_FUNCTIONS                                                                            \
    F(relu) F(relu6) F(leaky_relu) F(hardsigmoid) F(hardswish) F(hardtanh) F(threshold)          \
    F(hardshrink) F(softshrink) F(sigmoid) F(tanh) F(silu) F(elu) F(selu) F(celu) F(gelu)        \
    F(gelu_tanh) F(mish) F(softplus) F(softsign) F(logsigmoid) F(tanhshrink)                     \
    F(exp_of) F(log_of) F(sqrt_of) F(abs_of)

/* Not map_… of activation.h: y may be x. */
#define F(f)                                                                                     \
    static void f##_run(float *y, const float *x, ptrdiff_t n, attributes p) {                   \
        for (ptrdiff_t k = 0; k < n; k += LANES) {                                               \
            float all[LANES];                                                                    \
            store(all, load(x + k));                                                             \
            for (int l = 0; l < LANES; l++) all[l] = f##_f32(all[l], p);                         \
            store(y + k, load(all));                                                             \
        }                                                                                        \
    }
ALL_FUNCTIONS
#undef F
#define F(f) f##_run,
static void (*const FUNCTIONS[])(float *, const float *, ptrdiff_t, attributes) = {ALL_FUNCTIONS};
#undef F

/* y = f(x), where `activation` is the number of f among ALL_FUNCTIONS, and `low` and `high` are its
   attributes as activation.h takes them. */
static void map_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T), whole = vectors(y->C) * LANES;
    attributes p = {s->low, s->high};
    for (ptrdiff_t h = h0; h < h1; h++) {
        if (x->pitch == whole && y->pitch == whole)
            FUNCTIONS[s->activation](pixel(y, h, 0), pixel(x, h, 0), y->W * whole, p);
        for (ptrdiff_t w = 0; w < y->W; w++) {
            if (x->pitch != whole || y->pitch != whole)
                FUNCTIONS[s->activation](pixel(y, h, w), pixel(x, h, w), whole, p);
            clear(pixel(y, h, w) + y->C, whole - y->C);
        }
    }
    clear_sides(y, h0, h1);
}

/* ----------------------------------------------------------------------- softmax */

static ALWAYS_INLINE void each_line(const step *s, ptrdiff_t t, ptrdiff_t T,
                                    void (*line)(float *, const float *, ptrdiff_t)) {
    const image *x = &s->x, *y = &s->y;
    ptrdiff_t h0 = share(y->H, t, T), h1 = share(y->H, t + 1, T);
    for (ptrdiff_t h = h0; h < h1; h++)
        for (ptrdiff_t w = 0; w < y->W; w++) {
            line(pixel(y, h, w), pixel(x, h, w), y->C);
            clear(pixel(y, h, w) + y->C, vectors(y->C) * LANES - y->C);
        }
    clear_sides(y, h0, h1);
}

/* y = softmax(x) over the channels of each pixel, or its logarithm. */
static void softmax_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    each_line(s, t, T, softmax_line);
}
static void log_softmax_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    each_line(s, t, T, log_softmax_line);
}

#endif
