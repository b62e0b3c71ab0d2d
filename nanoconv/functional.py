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
from .ops.adaptive_pool2d import adaptive_avg_pool2d, adaptive_max_pool2d, global_avg_pool2d
from .ops.batchnorm import batch_norm
from .ops.channel_shuffle import channel_shuffle
from .ops.conv2d import conv2d
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
from .ops.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    stochastic_depth,
)
from .ops.im2col import col2im, im2col
from .ops.learnable_pool2d import learnable_pool2d
from .ops.linear import linear
from .ops.losses import cross_entropy, nll_loss
from .ops.lp_pool2d import lp_pool2d
from .ops.max_unpool2d import max_unpool2d
from .ops.pool1d import adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, max_pool1d
from .ops.pool2d import avg_pool2d, max_pool2d
from .ops.shaping import pad
from .ops.softmax import log_softmax, softmax
from .ops.spatial_pyramid_pool2d import spatial_pyramid_pool2d

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "channel_shuffle",
    "col2im",
    "conv2d",
    "cross_entropy",
    "depthwise_conv2d",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
    "global_avg_pool2d",
    "hardsigmoid",
    "hardswish",
    "huber_loss",
    "im2col",
    "kl_div",
    "l1_loss",
    "leaky_relu",
    "learnable_pool2d",
    "linear",
    "log_softmax",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_unpool2d",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "spatial_pyramid_pool2d",
    "stochastic_depth",
    "tanh",
]
