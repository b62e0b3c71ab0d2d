"""Losses that compare two arrays number by number, and their gradients, over flat arrays.

Layout: any; the arrays are flat and the elements independent.
Loops: one, over the elements.
Tile: one vector of elements, as wide as the machine that this is compiled on has them.
Why: a loss should cost no more than reading its arrays once. A loop becomes vectors if it neither
    calls nor branches: choices are between two values that are both at hand, and constants are
    float32, because a Python number would draw the arithmetic into float64.
"""

import numpy as np

from .jit_nb import helper, kernel
from .math_nb import exp, log, log1p_unit, log_rest, sigmoid, sigmoid_slope

F32 = np.float32
ZERO, HALF, ONE, TWO = map(F32, (0, 0.5, 1, 2))
LOWEST_LOG, LEAST = F32(-100), F32(1e-12)


# --------------------------------------------------------------------------- of x − t alone


@helper
def sign(d):
    return (ONE if d > ZERO else ZERO) - (ONE if d < ZERO else ZERO)


@helper
def clip(d, limit):
    d = -limit if d < -limit else d
    return limit if d > limit else d


@kernel()
def mse_loss_f32(y, x, t, sizes):
    """y = (x − t)²"""
    for k in range(sizes[0]):
        y[k] = (x[k] - t[k]) * (x[k] - t[k])


@kernel()
def mse_loss_by_x_f32(dx, dy, x, t, sizes):
    """dx = dy·2(x − t)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * (TWO * (x[k] - t[k]))


@kernel()
def l1_loss_f32(y, x, t, sizes):
    """y = |x − t|"""
    for k in range(sizes[0]):
        y[k] = abs(x[k] - t[k])


@kernel()
def l1_loss_by_x_f32(dx, dy, x, t, sizes):
    """dx = dy·sign(x − t)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * sign(x[k] - t[k])


@kernel()
def smooth_l1_loss_f32(y, x, t, beta, sizes):
    """y = d²/2β where d = |x − t| < β, else d − β/2"""
    beta = F32(beta)
    for k in range(sizes[0]):
        d = abs(x[k] - t[k])
        inside, beyond = d * d / (TWO * beta), d - HALF * beta
        y[k] = inside if d < beta else beyond


@kernel()
def smooth_l1_loss_by_x_f32(dx, dy, x, t, beta, sizes):
    """dx = dy·clip((x − t)/β, −1, 1)"""
    beta = F32(beta)
    for k in range(sizes[0]):
        d = x[k] - t[k]
        smooth = clip(d / beta, ONE)
        dx[k] = dy[k] * (smooth if beta > ZERO else sign(d))


@kernel()
def huber_loss_f32(y, x, t, delta, sizes):
    """y = d²/2 where d = |x − t| ≤ δ, else δ·(d − δ/2)"""
    delta = F32(delta)
    for k in range(sizes[0]):
        d = abs(x[k] - t[k])
        inside, beyond = HALF * (d * d), delta * (d - HALF * delta)
        y[k] = inside if d <= delta else beyond


@kernel()
def huber_loss_by_x_f32(dx, dy, x, t, delta, sizes):
    """dx = dy·clip(x − t, −δ, δ)"""
    delta = F32(delta)
    for k in range(sizes[0]):
        dx[k] = dy[k] * clip(x[k] - t[k], delta)


# --------------------------------------------------------------------------- kl_div


@kernel()
def kl_div_f32(y, x, t, sizes):
    """y = t·(log t − x), where 0·log 0 = 0"""
    for k in range(sizes[0]):
        tk = t[k]
        entropy = tk * log(tk)
        y[k] = (ZERO if tk == ZERO else entropy) - tk * x[k]


@kernel()
def kl_div_by_x_f32(dx, dy, x, t, sizes):
    """dx = −dy·t"""
    for k in range(sizes[0]):
        dx[k] = -dy[k] * t[k]


@kernel()
def kl_div_by_t_f32(dt, dy, x, t, sizes):
    """dt = dy·(log t + 1 − x), and NaN where t = 0"""
    for k in range(sizes[0]):
        dt[k] = dy[k] * (log(t[k]) + t[k] / t[k] - x[k])


@kernel()
def kl_div_log_f32(y, x, t, sizes):
    """y = eᵗ·(t − x)"""
    for k in range(sizes[0]):
        y[k] = exp(t[k]) * (t[k] - x[k])


@kernel()
def kl_div_log_by_x_f32(dx, dy, x, t, sizes):
    """dx = −dy·eᵗ"""
    for k in range(sizes[0]):
        dx[k] = -dy[k] * exp(t[k])


@kernel()
def kl_div_log_by_t_f32(dt, dy, x, t, sizes):
    """dt = dy·eᵗ·(t − x + 1)"""
    for k in range(sizes[0]):
        dt[k] = dy[k] * (exp(t[k]) * (t[k] - x[k] + ONE))


# --------------------------------------------------------------------------- yes or no


@helper
def at_least(x, low):
    return low if x < low else x


@kernel()
def binary_cross_entropy_f32(y, x, t, sizes):
    """y = −t·log x − (1 − t)·log(1 − x), no logarithm below −100"""
    for k in range(sizes[0]):
        no, yes = at_least(log_rest(x[k]), LOWEST_LOG), at_least(log(x[k]), LOWEST_LOG)
        y[k] = (t[k] - ONE) * no - t[k] * yes


@kernel()
def binary_cross_entropy_by_x_f32(dx, dy, x, t, sizes):
    """dx = dy·(x − t) / (x·(1 − x))"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * ((x[k] - t[k]) / at_least((ONE - x[k]) * x[k], LEAST))


@kernel()
def binary_cross_entropy_by_t_f32(dt, dy, x, t, sizes):
    """dt = dy·log((1 − x)/x)"""
    for k in range(sizes[0]):
        dt[k] = dy[k] * (log_rest(x[k]) - log(x[k]))


@helper
def surprise(x, t):
    """(1 − t)·x + log(1 + e⁻ˣ)"""
    below = -x
    return (ONE - t) * x + (below if x < ZERO else ZERO) + log1p_unit(exp(-abs(x)))


@kernel()
def binary_cross_entropy_with_logits_f32(y, x, t, sizes):
    """y = −t·log σ(x) − (1 − t)·log(1 − σ(x))"""
    for k in range(sizes[0]):
        y[k] = surprise(x[k], t[k])


@kernel()
def binary_cross_entropy_with_logits_by_x_f32(dx, dy, x, t, sizes):
    """dx = dy·(σ(x) − t)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * (sigmoid(x[k]) - t[k])


@kernel()
def binary_cross_entropy_with_logits_by_t_f32(dt, dy, x, t, sizes):
    """dt = −dy·x"""
    for k in range(sizes[0]):
        dt[k] = -dy[k] * x[k]


@helper
def wrong(x, t):
    """q = 1 − p_t, the share of the wrong answer."""
    return sigmoid(x) * (ONE - t) + sigmoid(-x) * t


@helper
def counted(alpha, t):
    """α_t, or 1 where α is negative."""
    share = alpha * t + (ONE - alpha) * (ONE - t)
    return ONE if alpha < ZERO else share


@kernel()
def sigmoid_focal_loss_f32(y, x, t, alpha, gamma, sizes):
    """y = α_t·q²·c of the cross entropy c"""
    alpha = F32(alpha)
    for k in range(sizes[0]):
        q = wrong(x[k], t[k])
        y[k] = surprise(x[k], t[k]) * (q * q) * counted(alpha, t[k])


@kernel()
def sigmoid_focal_loss_by_x_f32(dx, dy, x, t, alpha, gamma, sizes):
    """dx = dy·α_t·q·(2c·σ'·(1 − 2t) + q·(σ − t))"""
    alpha = F32(alpha)
    for k in range(sizes[0]):
        xk, tk = x[k], t[k]
        q = wrong(xk, tk)
        through_q = TWO * surprise(xk, tk) * (sigmoid_slope(xk) * (ONE - TWO * tk))
        dx[k] = dy[k] * (counted(alpha, tk) * q * (through_q + q * (sigmoid(xk) - tk)))


@kernel()
def sigmoid_focal_loss_by_t_f32(dt, dy, x, t, alpha, gamma, sizes):
    """dt = dy·q·(q·c·α_t' + α_t·(2c·(1 − 2σ) − q·x)), α_t' = 2α − 1"""
    alpha = F32(alpha)
    slope = ZERO if alpha < ZERO else TWO * alpha - ONE
    for k in range(sizes[0]):
        xk, tk = x[k], t[k]
        q, c = wrong(xk, tk), surprise(xk, tk)
        through_q = TWO * (c * sigmoid(-xk) - c * sigmoid(xk)) - q * xk
        dt[k] = dy[k] * (q * (q * c * slope + counted(alpha, tk) * through_q))
