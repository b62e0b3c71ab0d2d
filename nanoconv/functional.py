"""Every op as a function, under PyTorch's names; each is told in the file that it comes from."""

from .ops.activations import (
    hardsigmoid,
    hardswish,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    silu,
    tanh,
)
from .ops.batchnorm import batch_norm
from .ops.channel_shuffle import channel_shuffle
from .ops.conv1d import conv1d, conv_transpose1d
from .ops.conv2d import conv2d
from .ops.conv_transpose2d import conv_transpose2d
from .ops.depthwise_conv2d import depthwise_conv2d
from .ops.distances import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from .ops.dropout import dropout
from .ops.im2col import col2im, im2col
from .ops.linear import linear
from .ops.losses import cross_entropy, nll_loss
from .ops.pad import pad
from .ops.pool2d import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from .ops.softmax import log_softmax, softmax
from .ops.unfold import fold, unfold

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "channel_shuffle",
    "col2im",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "depthwise_conv2d",
    "dropout",
    "fold",
    "global_avg_pool2d",
    "hardsigmoid",
    "hardswish",
    "huber_loss",
    "im2col",
    "kl_div",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "tanh",
    "unfold",
]
