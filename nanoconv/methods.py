"""The methods that the elementary ops and some activations in ops/ attach to Tensor.

They are named here for type checkers and editors, which do not see them attached. Nothing imports
this file when nanoconv runs.
"""

from __future__ import annotations

from .ops import (
    activations,
    arithmetic,
    cumulative,
    indexing,
    rearranging,
    reductions,
    shaping,
    smooth_activations,
    sorting,
)
from .ops import prelu as prelus
from .ops import softmax as softmaxes


class Methods:
    """What Tensor has besides what its own class body defines."""

    __slots__ = ()
    add = arithmetic.add
    sub = arithmetic.sub
    mul = arithmetic.mul
    div = arithmetic.div
    pow = arithmetic.pow
    matmul = arithmetic.matmul
    neg = arithmetic.neg
    abs = arithmetic.abs
    exp = arithmetic.exp
    log = arithmetic.log
    sqrt = arithmetic.sqrt
    maximum = arithmetic.maximum
    minimum = arithmetic.minimum
    clamp = arithmetic.clamp
    eq = arithmetic.eq
    ne = arithmetic.ne
    lt = arithmetic.lt
    le = arithmetic.le
    gt = arithmetic.gt
    ge = arithmetic.ge
    logical_and = arithmetic.logical_and
    logical_or = arithmetic.logical_or
    logical_xor = arithmetic.logical_xor
    logical_not = arithmetic.logical_not
    __add__ = __radd__ = __iadd__ = arithmetic.add
    __sub__ = __rsub__ = __isub__ = arithmetic.sub
    __mul__ = __rmul__ = __imul__ = arithmetic.mul
    __truediv__ = __rtruediv__ = __itruediv__ = arithmetic.div
    __pow__ = __rpow__ = __ipow__ = arithmetic.pow
    __matmul__ = __rmatmul__ = arithmetic.matmul
    __neg__, __abs__, __invert__ = arithmetic.neg, arithmetic.abs, arithmetic.logical_not
    __and__ = __iand__ = arithmetic.logical_and
    __or__ = __ior__ = arithmetic.logical_or
    __xor__ = __ixor__ = arithmetic.logical_xor
    __lt__, __le__ = arithmetic.lt, arithmetic.le
    __gt__, __ge__ = arithmetic.gt, arithmetic.ge
    __eq__ = arithmetic.eq  # type: ignore[assignment]
    __ne__ = arithmetic.ne  # type: ignore[assignment]
    __hash__ = object.__hash__  # a tensor is a dictionary key by identity
    where = arithmetic.where_method
    sum = reductions.sum
    mean = reductions.mean
    var = reductions.var
    amax = reductions.amax
    amin = reductions.amin
    max = reductions.max
    min = reductions.min
    argmax = reductions.argmax
    argmin = reductions.argmin
    logsumexp = reductions.logsumexp
    reshape = shaping.reshape
    view = shaping.view
    permute = shaping.permute
    transpose = shaping.transpose
    t = shaping.t
    flatten = shaping.flatten
    squeeze = shaping.squeeze
    unsqueeze = shaping.unsqueeze
    expand = shaping.expand
    split = shaping.split
    chunk = shaping.chunk
    contiguous = shaping.contiguous
    is_contiguous = shaping.is_contiguous
    clone = shaping.clone
    to = shaping.to
    __getitem__ = shaping.__getitem__
    cumprod = cumulative.cumprod
    cumsum = cumulative.cumsum
    prod = cumulative.prod
    gather = indexing.gather
    index_select = indexing.index_select
    repeat_interleave = indexing.repeat_interleave
    take_along_dim = indexing.take_along_dim
    flip = rearranging.flip
    moveaxis = rearranging.moveaxis
    movedim = rearranging.movedim
    narrow = rearranging.narrow
    repeat = rearranging.repeat
    roll = rearranging.roll
    swapaxes = rearranging.swapaxes
    swapdims = rearranging.swapdims
    tile = rearranging.tile
    tril = rearranging.tril
    triu = rearranging.triu
    unbind = rearranging.unbind
    hardshrink = activations.hardshrink
    relu = activations.relu
    prelu = prelus.prelu
    sigmoid = smooth_activations.sigmoid
    tanh = smooth_activations.tanh
    softmax = softmaxes.softmax
    log_softmax = softmaxes.log_softmax
    argsort = sorting.argsort
    sort = sorting.sort
    topk = sorting.topk
    float = shaping.to_float
    double = shaping.to_double
    long = shaping.to_long
