"""Activations: y = f(x) and dx = f'(x) · dy over flat arrays; f' of sigmoid and tanh in y.

Layout: any; the arrays are flat and the elements independent. glu: (M, 2, K), of which [:, 0] is
    gated by [:, 1].
Loops: one, over the elements; glu: rows of K elements.
Tile: one vector of elements, as wide as the machine that this is compiled on has them.
Why: an activation should cost no more than reading and writing its arrays. A loop becomes vectors
    if it neither calls nor branches: hence `math_nb` in place of math.exp, and choices
    between two values that are both at hand, never `and`. Constants are float32, because a Python
    number would draw the arithmetic into float64.

The errors are those that `activation_cy` promises. NaN takes the side of a comparison that it has
in PyTorch.
"""

import numpy as np

from .jit_nb import helper, kernel
from .math_nb import exp, expm1, log1p_unit, normal_tail, sigmoid, sigmoid_slope

F32 = np.float32
ZERO, HALF, ONE, TWO, THREE, FOUR, SIX = map(F32, (0, 0.5, 1, 2, 3, 4, 6))
THIRD, SIXTH = F32(1 / 3), F32(1 / 6)
INVERSE_SQRT_2PI = F32(0.3989422804014327)
LINEAR, CUBIC = F32(1.5957691216057308), F32(0.07135481627260025)  # √(8/π)·(1, 0.044715)
SELU_SCALE = F32(1.0507009873554805)
SELU_BELOW = F32(1.0507009873554805 * 1.6732632423543772)


@helper
def clamp(x, low, high):
    x = low if x < low else x
    return high if x > high else x


# --------------------------------------------------------------------------- piecewise linear


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
def hardtanh_f32(y, x, low, high, sizes):
    """y = min(max(x, low), high)"""
    a, b = F32(low), F32(high)
    for k in range(sizes[0]):
        y[k] = clamp(x[k], a, b)


@kernel()
def hardtanh_backward_f32(dx, dy, x, low, high, sizes):
    """dx = dy where low < x < high, else 0"""
    a, b = F32(low), F32(high)
    for k in range(sizes[0]):
        dyk = dy[k]
        dx[k] = dyk if (x[k] > a) & (x[k] < b) else ZERO


@kernel()
def threshold_f32(y, x, t, v, sizes):
    """y = x where x > t, else v"""
    a, b = F32(t), F32(v)
    for k in range(sizes[0]):
        y[k] = b if x[k] <= a else x[k]


@kernel()
def threshold_backward_f32(dx, dy, x, t, v, sizes):
    """dx = dy where x > t, else 0"""
    a = F32(t)
    for k in range(sizes[0]):
        dyk = dy[k]
        dx[k] = ZERO if x[k] <= a else dyk


@kernel()
def hardshrink_f32(y, x, lambd, sizes):
    """y = x where |x| > λ, else 0"""
    a = F32(lambd)
    for k in range(sizes[0]):
        y[k] = ZERO if (x[k] >= -a) & (x[k] <= a) else x[k]


@kernel()
def hardshrink_backward_f32(dx, dy, x, lambd, sizes):
    """dx = dy where |x| > λ, else 0"""
    a = F32(lambd)
    for k in range(sizes[0]):
        dyk = dy[k]
        dx[k] = dyk if (x[k] > a) | (x[k] < -a) else ZERO


@kernel()
def softshrink_f32(y, x, lambd, sizes):
    """y = x − λ where x > λ, x + λ where x < −λ, else 0"""
    a = F32(lambd)
    for k in range(sizes[0]):
        above, below, inside = x[k] - a, x[k] + a, ZERO * x[k]  # NaN stays NaN
        y[k] = above if x[k] > a else below if x[k] < -a else inside


@kernel()
def softshrink_backward_f32(dx, dy, x, lambd, sizes):
    """dx = dy where |x| > λ, else 0"""
    a = F32(lambd)
    for k in range(sizes[0]):
        dyk = dy[k]
        dx[k] = dyk if (x[k] > a) | (x[k] < -a) else ZERO


# --------------------------------------------------------------------------- smooth


@kernel()
def sigmoid_f32(y, x, sizes):
    """y = σ(x) = 1 / (1 + e⁻ˣ)"""
    for k in range(sizes[0]):
        y[k] = sigmoid(x[k])


@kernel()
def sigmoid_backward_f32(dx, dy, y, sizes):
    """dx = dy·y·(1 − y)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * (y[k] * (ONE - y[k]))


@kernel()
def tanh_f32(y, x, sizes):
    """y = (1 − e^−2|x|) / (1 + e^−2|x|) with the sign of x"""
    for k in range(sizes[0]):
        m = expm1(-TWO * abs(x[k]))
        t = -m / (TWO + m)
        y[k] = -t if x[k] < ZERO else t


@kernel()
def tanh_backward_f32(dx, dy, y, sizes):
    """dx = dy·(1 − y²)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * ((ONE - y[k]) * (ONE + y[k]))


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


@kernel()
def elu_f32(y, x, alpha, sizes):
    """y = x where x > 0, else α·(eˣ − 1)"""
    a = F32(alpha)
    for k in range(sizes[0]):
        below = a * expm1(x[k])
        y[k] = x[k] if x[k] > ZERO else below


@kernel()
def elu_backward_f32(dx, dy, x, alpha, sizes):
    """dx = dy where x > 0, else dy·α·eˣ"""
    a = F32(alpha)
    for k in range(sizes[0]):
        dyk = dy[k]
        below = dyk * (a * exp(x[k]))
        dx[k] = dyk if x[k] > ZERO else below


@kernel()
def selu_f32(y, x, sizes):
    """y = s·x where x > 0, else s·α·(eˣ − 1)"""
    for k in range(sizes[0]):
        above, below = SELU_SCALE * x[k], SELU_BELOW * expm1(x[k])
        y[k] = above if x[k] > ZERO else below


@kernel()
def selu_backward_f32(dx, dy, x, sizes):
    """dx = s·dy where x > 0, else s·α·eˣ·dy"""
    for k in range(sizes[0]):
        above, below = SELU_SCALE * dy[k], dy[k] * (SELU_BELOW * exp(x[k]))
        dx[k] = above if x[k] > ZERO else below


@kernel()
def celu_f32(y, x, alpha, sizes):
    """y = x where x > 0, else α·(e^(x/α) − 1)"""
    a = F32(alpha)
    for k in range(sizes[0]):
        below = a * expm1(x[k] / a)
        y[k] = x[k] if x[k] > ZERO else below


@kernel()
def celu_backward_f32(dx, dy, x, alpha, sizes):
    """dx = dy where x > 0, else dy·e^(x/α)"""
    a = F32(alpha)
    for k in range(sizes[0]):
        dyk = dy[k]
        below = dyk * exp(x[k] / a)
        dx[k] = dyk if x[k] > ZERO else below


@kernel()
def gelu_f32(y, x, sizes):
    """y = x·Φ(x); Φ(x) = e^(−x²/2)·R(|x|) below 0, and 1 minus that above"""
    for k in range(sizes[0]):
        tail = exp(-HALF * x[k] * x[k]) * normal_tail(abs(x[k]))
        rest = ONE - tail
        y[k] = x[k] * (tail if x[k] < ZERO else rest)


@kernel()
def gelu_backward_f32(dx, dy, x, sizes):
    """dx = dy·(Φ(x) + x·e^(−x²/2) / √(2π))"""
    for k in range(sizes[0]):
        e = exp(-HALF * x[k] * x[k])
        tail = e * normal_tail(abs(x[k]))
        rest = ONE - tail
        dx[k] = dy[k] * ((tail if x[k] < ZERO else rest) + x[k] * (e * INVERSE_SQRT_2PI))


@kernel()
def gelu_tanh_f32(y, x, sizes):
    """y = x·σ(z), z = √(8/π)·(x + 0.044715·x³)"""
    for k in range(sizes[0]):
        y[k] = x[k] * sigmoid(x[k] * (LINEAR + CUBIC * (x[k] * x[k])))


@kernel()
def gelu_tanh_backward_f32(dx, dy, x, sizes):
    """dx = dy·(σ(z) + x·σ'(z)·dz/dx)"""
    for k in range(sizes[0]):
        square = x[k] * x[k]
        z, dz = x[k] * (LINEAR + CUBIC * square), LINEAR + THREE * CUBIC * square
        dx[k] = dy[k] * (sigmoid(z) + x[k] * sigmoid_slope(z) * dz)


@helper
def mish_parts(x):
    """tanh(log(1 + eˣ)) = n / (n + d), n = (1 + eˣ)² − 1, d = 2, and its derivative.

    That is 4·eˣ·(1 + eˣ) / (n + d)². For x > 0, n and d are multiplied by e^(−2x).
    """
    e = exp(-abs(x))
    below, above = e * (e + TWO), ONE + TWO * e
    n = below if x < ZERO else above
    twice = TWO * e * e
    total = n + (TWO if x < ZERO else twice)
    return n / total, FOUR * e * (ONE if x < ZERO else e) * (ONE + e) / (total * total)


@kernel()
def mish_f32(y, x, sizes):
    """y = x·tanh(log(1 + eˣ))"""
    for k in range(sizes[0]):
        gate, _ = mish_parts(x[k])
        y[k] = x[k] * gate


@kernel()
def mish_backward_f32(dx, dy, x, sizes):
    """dx = dy·(tanh(t) + x·dtanh(t)/dx), t = log(1 + eˣ)"""
    for k in range(sizes[0]):
        gate, slope = mish_parts(x[k])
        dx[k] = dy[k] * (gate + x[k] * slope)


@kernel()
def softplus_f32(y, x, beta, threshold, sizes):
    """y = log(1 + e^z) / β, z = β·x, and x where z > threshold"""
    a, b = F32(beta), F32(threshold)
    for k in range(sizes[0]):
        z = a * x[k]
        inside = ((ZERO if z < ZERO else z) + log1p_unit(exp(-abs(z)))) / a
        y[k] = x[k] if z > b else inside


@kernel()
def softplus_backward_f32(dx, dy, x, beta, threshold, sizes):
    """dx = dy·σ(β·x), and dy where β·x > threshold"""
    a, b = F32(beta), F32(threshold)
    for k in range(sizes[0]):
        z, dyk = a * x[k], dy[k]
        inside = dyk * sigmoid(z)
        dx[k] = dyk if z > b else inside


@kernel()
def softsign_f32(y, x, sizes):
    """y = x / (1 + |x|)"""
    for k in range(sizes[0]):
        y[k] = x[k] / (ONE + abs(x[k]))


@kernel()
def softsign_backward_f32(dx, dy, x, sizes):
    """dx = dy / (1 + |x|)², and NaN at ±∞, as in PyTorch"""
    for k in range(sizes[0]):
        d = ONE + abs(x[k])
        dx[k] = dy[k] / d / d + ZERO * x[k]


@kernel()
def logsigmoid_f32(y, x, sizes):
    """y = log σ(x) = min(x, 0) − log(1 + e^−|x|)"""
    for k in range(sizes[0]):
        y[k] = (x[k] if x[k] < ZERO else ZERO) - log1p_unit(exp(-abs(x[k])))


@kernel()
def logsigmoid_backward_f32(dx, dy, x, sizes):
    """dx = dy·σ(−x)"""
    for k in range(sizes[0]):
        dx[k] = dy[k] * sigmoid(-x[k])


# --------------------------------------------------------------------------- glu


@helper
def gated(y, a, b):
    for k in range(y.size):
        y[k] = a[k] * sigmoid(b[k])


@kernel()
def glu_f32(y, x, sizes):
    """y[m, k] = x[m, 0, k]·σ(x[m, 1, k])"""
    M, K = sizes
    for m in range(M):
        at = 2 * m * K
        gated(y[m * K : (m + 1) * K], x[at : at + K], x[at + K : at + 2 * K])


@helper
def gated_backward(da, db, dy, a, b):
    for k in range(dy.size):
        da[k] = dy[k] * sigmoid(b[k])
        db[k] = dy[k] * a[k] * sigmoid_slope(b[k])


@kernel()
def glu_backward_f32(dx, dy, x, sizes):
    """dx[m, 0] = dy·σ(x[m, 1]) and dx[m, 1] = dy·x[m, 0]·σ'(x[m, 1])"""
    M, K = sizes
    for m in range(M):
        at, between, end = 2 * m * K, (2 * m + 1) * K, 2 * (m + 1) * K
        gated_backward(
            dx[at:between], dx[between:end], dy[m * K : (m + 1) * K], x[at:between], x[between:end]
        )
