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
from .ops.conv2d import conv2d
from .ops.cosine import cosine_embedding_loss, cosine_similarity, normalize
from .ops.depthwise_conv2d import depthwise_conv2d
from .ops.dice_loss import dice_loss
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
from .ops.focal_loss import sigmoid_focal_loss
from .ops.groupnorm import group_norm, instance_norm, layer_norm, rms_norm
from .ops.im2col import col2im, im2col
from .ops.linear import linear
from .ops.local_response_norm import local_response_norm
from .ops.losses import cross_entropy, nll_loss
from .ops.pool2d import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from .ops.shaping import pad
from .ops.softmax import log_softmax, softmax
from .ops.weight_standardization import weight_standardization

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "channel_shuffle",
    "col2im",
    "conv2d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "depthwise_conv2d",
    "dice_loss",
    "dropout",
    "global_avg_pool2d",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "huber_loss",
    "im2col",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "pad",
    "relu",
    "relu6",
    "rms_norm",
    "sigmoid",
    "sigmoid_focal_loss",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "tanh",
    "weight_standardization",
]
