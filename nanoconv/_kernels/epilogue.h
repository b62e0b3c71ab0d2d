/* What is done to a sum before it is stored: y = activation(sum + residual), in registers.

   Identity, relu and relu6 are clamps, with (-inf, inf), (0, inf) and (0, 6): two instructions, of
   which conv_tiles.h leaves out one whose bound is none. The others are chosen once for each tile.
   NaN passes through all of them, as in activation.h, which has their equations. */
#ifndef NANOCONV_EPILOGUE_H
#define NANOCONV_EPILOGUE_H

#include "activation.h"
#include "simd.h"

enum { CLAMP, LEAKY_RELU, HARDSWISH, HARDSIGMOID, SIGMOID, SILU }; /* as in infer/steps.py */

static ALWAYS_INLINE vec clamp_vec(vec v, attributes p) {
    return less(splat(p.b), more(splat(p.a), v));
}
static ALWAYS_INLINE vec hardsigmoid_vec(vec v) {
    return clamp_vec(v + splat(3), (attributes){0, 6}) * splat(1 / 6.0f);
}
static ALWAYS_INLINE vec leaky_relu_vec(vec v, attributes p) {
    return either_of(v > splat(0), v, splat(p.a) * v);
}

/* Those with an exponential: a loop over the lanes that the compiler turns into vectors, as long
   as it stands alone. */
static NOINLINE vec sigmoid_vec(vec v, attributes p) {
    float all[LANES];
    store(all, v);
    for (int l = 0; l < LANES; l++) all[l] = sigmoid_f32(all[l], p);
    return load(all);
}

/* One register of sums. `low` is the slope of leaky_relu, too. */
static ALWAYS_INLINE vec activate(vec v, int32_t activation, float low, float high) {
    attributes p = {low, high};
    switch (activation) {
    case LEAKY_RELU: return leaky_relu_vec(v, p);
    case HARDSWISH: return v * hardsigmoid_vec(v);
    case HARDSIGMOID: return hardsigmoid_vec(v);
    case SIGMOID: return sigmoid_vec(v, p);
    case SILU: return v * sigmoid_vec(v, p);
    default: return clamp_vec(v, p);
    }
}

#endif
