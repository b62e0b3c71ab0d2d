/* What is done to a sum before it is stored: y = activation(sum + residual), in registers.

   A clamp costs two instructions whatever its bounds are, so identity, relu and relu6 are the same
   code with (-inf, inf), (0, inf) and (0, 6); the others are chosen once for each tile. NaN passes
   through all of them, as in activation.h, which has their equations. */
#ifndef NANOCONV_EPILOGUE_H
#define NANOCONV_EPILOGUE_H

#include "activation.h"
#include "simd.h"

enum { CLAMP, LEAKY_RELU, HARDSWISH, HARDSIGMOID, SIGMOID, SILU }; /* infer/plan.py has the same */

/* f(x, p) of every lane: a loop that the compiler turns into a few vector instructions. */
#define LANEWISE(name, expression)                                                               \
    static ALWAYS_INLINE vec name##_vec(vec v, attributes p) {                                   \
        float all[LANES];                                                                        \
        store(all, v);                                                                           \
        for (int l = 0; l < LANES; l++) {                                                        \
            float x = all[l];                                                                    \
            all[l] = (expression);                                                               \
        }                                                                                        \
        return load(all);                                                                        \
    }
LANEWISE(leaky_relu, leaky_relu_f32(x, p))
LANEWISE(hardswish, hardswish_f32(x, p))
LANEWISE(hardsigmoid, hardsigmoid_f32(x, p))
LANEWISE(sigmoid, sigmoid_f32(x, p))
LANEWISE(silu, silu_f32(x, p))

/* The clamp of activation.h with masks: inside an unrolled tile the loop above stays scalar. */
static ALWAYS_INLINE vec clamp_vec(vec v, attributes p) {
    vec low = splat(p.a), high = splat(p.b);
    v = pick(v < low, low, v);
    return pick(v > high, high, v);
}

/* One register of sums. `low` is the slope of leaky_relu, too. */
static ALWAYS_INLINE vec activate(vec v, int32_t activation, float low, float high) {
    attributes p = {low, high};
    switch (activation) {
    case LEAKY_RELU: return leaky_relu_vec(v, p);
    case HARDSWISH: return hardswish_vec(v, p);
    case HARDSIGMOID: return hardsigmoid_vec(v, p);
    case SIGMOID: return sigmoid_vec(v, p);
    case SILU: return silu_vec(v, p);
    default: return clamp_vec(v, p);
    }
}

#endif
