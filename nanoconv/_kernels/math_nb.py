"""exp, expm1, logarithms and the tail of the normal distribution, in float32, for Numba's bodies.

No table, no branch, no call: a loop over these becomes vectors. Choices are between two values that
are both at hand. Constants are float32, because a Python number would draw the arithmetic into
float64. NaN gives NaN, overflow gives inf, underflow goes through the subnormals to 0.
"""

import numpy as np

from .jit_nb import helper

F32, I32 = np.float32, np.int32
ZERO, HALF, ONE, TWO, FOUR = map(F32, (0, 0.5, 1, 2, 4))


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
    """eˣ − 1, wrong by less than 1.8 units, also near 0, where exp(x) − 1 would cancel."""
    x = LOWEST_M1 if x < LOWEST_M1 else x  # −1 from here on, long before 2ⁿ underflows
    n, p = reduced(x)
    half = power_of_two(n - 1)  # n may be 128
    return TWO * (half * p + (half - HALF))


# --------------------------------------------------------------------------- σ


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


# --------------------------------------------------------------------------- logarithm and tail

L0, L1, L2, L3 = map(F32, (0.6666642, 0.4002153, 0.28001773, 0.28012154))
STRETCH = F32(0.35)
T0, T1, T2, T3, T4 = map(F32, (0.13962129, 0.13986373, 0.11981974, 0.10555845, -0.023226058))
T5, T6, T7, T8 = map(F32, (0.15933916, -0.25585568, 0.14403884, -0.029159484))


@helper
def log1p_unit(u):
    """log(1 + u) = 2·artanh(u / (2 + u)) for 0 ≤ u ≤ 1, wrong by less than 2 units."""
    s = u / (TWO + u)  # at most 1/3
    z = s * s
    q = ((L3 * z + L2) * z + L1) * z + L0
    return s * TWO + s * (z * q)


SMALLEST, RAISED, RAISED_BY = F32(2**-126), F32(2**24), F32(24)  # subnormal numbers are raised
ROOT_BITS = I32(0x3F3504F3)  # of 1 / √2
M0, M1, M2, M3 = map(F32, (2 / 3, 2 / 5, 2 / 7, 2 / 9))
INFINITY, NAN = F32(np.inf), F32(np.nan)


@helper
def log(x):
    """log x = n·log 2 + log m with m from 1/√2 to √2, wrong by less than 2 units."""
    raised = x * RAISED
    small = x < SMALLEST
    bits = F32(raised if small else x).view(I32)
    n = I32((bits - ROOT_BITS) >> 23)
    u = I32(bits - I32(n << 23)).view(F32) - ONE
    s = u / (TWO + u)  # at most 0.1716
    z = s * s
    q = ((M3 * z + M2) * z + M1) * z + M0
    power = F32(n) - (RAISED_BY if small else ZERO)
    y = power * LN2_HIGH + (s * TWO + (s * (z * q) + power * LN2_LOW))
    y = y if x > ZERO else (-INFINITY if x == ZERO else NAN)
    return y if x < INFINITY else x  # NaN, too


@helper
def log_rest(x):
    """log(1 − x), wrong by less than 3 units for 0 ≤ x ≤ 1."""
    rest = ONE - x
    more = ((ONE - rest) - x) / rest  # what rounding 1 − x took away
    return log(rest) + (more if rest > ZERO else ZERO)


@helper
def normal_tail(t):
    """R(t) = e^(t²/2)·Φ(−t), wrong by less than 5 units for 0 ≤ t ≤ 14.5.

    For larger t, e^(−t²/2) is 0, and all that counts is that R is finite.
    """
    u = ONE / (ONE + STRETCH * t)
    q = ((((((((T8 * u + T7) * u + T6) * u + T5) * u + T4) * u + T3) * u + T2) * u + T1) * u) + T0
    return q * u
