"""Activations: y = f(x) and dx = f'(x) · dy over flat arrays.

Layout: any; the arrays are flat and the elements independent.
Loops: one, over the elements.
Tile: one vector of elements, as wide as the machine that this is compiled on has them.
Why: an activation should cost no more than reading and writing its arrays. A loop becomes vectors
    if it neither calls nor branches: hence the polynomials below in place of math.exp, and choices
    between two values that are both at hand, never `and`. Constants are float32, because a Python
    number would draw the arithmetic into float64.

Error of sigmoid, tanh and silu against the exact value: below 3 units in the last place, except
where silu itself is subnormal (x < −87). NaN takes the side of a comparison that it has in PyTorch.
"""

import numpy as np

from .jit_nb import helper, kernel

F32, I32 = np.float32, np.int32
ZERO, HALF, ONE, TWO, THREE, FOUR, SIX = map(F32, (0, 0.5, 1, 2, 3, 4, 6))
THIRD, SIXTH = F32(1 / 3), F32(1 / 6)


# --------------------------------------------------------------------------- the exponential
#
# x = n·ln 2 + r with n = round(x / ln 2) and |r| ≤ ln 2 / 2, so that eˣ = 2ⁿ·eʳ, and
# p = eʳ − 1 = r + r²·Q(r) with Q fitted for the smallest relative error of p (1.3e-8).

LOWEST, LOWEST_M1, HIGHEST = F32(-104), F32(-18), F32(89)
LOG2_E = F32(1.442695)
ROUNDER = F32(1.5 * 2**23)  # its sum with n + r/ln 2 has no fraction: the low bits are n
ROUNDER_BITS = I32(0x4B400000)
LN2_HIGH, LN2_LOW = F32(0.693359375), F32(-2.12194440e-4)  # n·LN2_HIGH is exact
Q0, Q1, Q2, Q3, Q4 = map(F32, (0.49999997, 0.16666542, 0.041667204, 0.008366647, 0.0013882498))


@helper
def reduced(x):
    """n and p of x."""
    x = LOWEST if x < LOWEST else x  # e⁻¹⁰⁴ rounds to 0, e⁸⁹ to inf; NaN passes both
    x = HIGHEST if x > HIGHEST else x
    t = F32(x * LOG2_E + ROUNDER)
    n = t - ROUNDER
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    q = (((Q4 * r + Q3) * r + Q2) * r + Q1) * r + Q0
    return I32(t.view(I32) - ROUNDER_BITS), q * (r * r) + r


@helper
def power_of_two(n):
    """2ⁿ for −126 ≤ n ≤ 127, written as the bits of a float."""
    return I32((n + 127) << 23).view(F32)


@helper
def exp(x):
    """eˣ, wrong by less than 1.1 units in the last place."""
    n, p = reduced(x)
    half = n >> 1  # n runs from −150 to 128, too far for one factor 2ⁿ
    scale = power_of_two(half)
    return (scale * p + scale) * power_of_two(n - half)


@helper
def expm1(x):
    """eˣ − 1 for x ≤ 88, also near 0, where exp(x) − 1 would cancel."""
    x = LOWEST_M1 if x < LOWEST_M1 else x  # −1 from here on, long before 2ⁿ underflows
    n, p = reduced(x)
    scale = power_of_two(n)
    return scale * p + (scale - ONE)


@helper
def sigmoid(x):
    """1 / (1 + e⁻ˣ); for x < 0 both sides of the fraction times eˣ."""
    e = exp(-abs(x))
    return (e if x < ZERO else ONE) / (ONE + e)


@helper
def sigmoid_slope(x):
    """σ'(x) = σ(x)·(1 − σ(x)), without a difference that cancels."""
    e = exp(-abs(x))
    return e / ((ONE + e) * (ONE + e))


@helper
def clamp(x, low, high):
    x = low if x < low else x
    return high if x > high else x


# --------------------------------------------------------------------------- the bodies


@kernel()
def relu_f32(y, x, sizes):
    """y = max(x, 0)"""
    for k in range(sizes[0]):
        y[k] = ZERO if x[k] < ZERO else x[k]


@kernel()
def relu_backward_f32(dx, dy, x, sizes):
    """dx = dy where x > 0, else 0"""
    for k in range(sizes[0]):
        dyk = dy[k]
        dx[k] = ZERO if x[k] <= ZERO else dyk


@kernel()
def relu6_f32(y, x, sizes):
    """y = min(max(x, 0), 6)"""
    for k in range(sizes[0]):
        y[k] = clamp(x[k], ZERO, SIX)


@kernel()
def relu6_backward_f32(dx, dy, x, sizes):
    """dx = dy where 0 < x < 6, else 0"""
    for k in range(sizes[0]):
        dyk = dy[k]
        dx[k] = dyk if (x[k] > ZERO) & (x[k] < SIX) else ZERO


@kernel()
def leaky_relu_f32(y, x, slope, sizes):
    """y = x where x > 0, else slope·x"""
    a = F32(slope)
    for k in range(sizes[0]):
        below = a * x[k]
        y[k] = x[k] if x[k] > ZERO else below


@kernel()
def leaky_relu_backward_f32(dx, dy, x, slope, sizes):
    """dx = dy where x > 0, else slope·dy"""
    a = F32(slope)
    for k in range(sizes[0]):
        dyk = dy[k]
        below = a * dyk
        dx[k] = dyk if x[k] > ZERO else below


@kernel()
def hardsigmoid_f32(y, x, sizes):
    """y = min(max(x + 3, 0), 6) / 6"""
    for k in range(sizes[0]):
        y[k] = clamp(x[k] + THREE, ZERO, SIX) * SIXTH


@kernel()
def hardsigmoid_backward_f32(dx, dy, x, sizes):
    """dx = dy / 6 where −3 < x < 3, else 0"""
    for k in range(sizes[0]):
        inside = dy[k] * SIXTH
        dx[k] = inside if (x[k] > -THREE) & (x[k] < THREE) else ZERO


@kernel()
def hardswish_f32(y, x, sizes):
    """y = x·min(max(x + 3, 0), 6) / 6"""
    for k in range(sizes[0]):
        y[k] = x[k] * (clamp(x[k] + THREE, ZERO, SIX) * SIXTH)


@kernel()
def hardswish_backward_f32(dx, dy, x, sizes):
    """dx = dy·(x/3 + 1/2) where −3 < x < 3, dy above, 0 below"""
    for k in range(sizes[0]):
        dyk = dy[k]
        inside = dyk * (x[k] * THIRD + HALF)
        dx[k] = ZERO if x[k] <= -THREE else dyk if x[k] >= THREE else inside


@kernel()
def sigmoid_f32(y, x, sizes):
    """y = σ(x) = 1 / (1 + e⁻ˣ)"""
    for k in range(sizes[0]):
        y[k] = sigmoid(x[k])


@kernel()
def sigmoid_backward_f32(dx, dy, x, sizes):
    """dx = dy·σ(x)·(1 − σ(x))"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * sigmoid_slope(x[k])


@kernel()
def tanh_f32(y, x, sizes):
    """y = (1 − e^−2|x|) / (1 + e^−2|x|) with the sign of x"""
    for k in range(sizes[0]):
        m = expm1(-TWO * abs(x[k]))
        t = -m / (TWO + m)
        y[k] = -t if x[k] < ZERO else t


@kernel()
def tanh_backward_f32(dx, dy, x, sizes):
    """dx = dy·(1 − tanh²(x)) = dy·4·σ'(2x)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * (FOUR * sigmoid_slope(TWO * x[k]))


@kernel()
def silu_f32(y, x, sizes):
    """y = x·σ(x)"""
    for k in range(sizes[0]):
        y[k] = x[k] * sigmoid(x[k])


@kernel()
def silu_backward_f32(dx, dy, x, sizes):
    """dx = dy·(σ(x) + x·σ'(x))"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * (sigmoid(x[k]) + x[k] * sigmoid_slope(x[k]))
