"""Every op as a function, under PyTorch's names; each is told in the file that it comes from."""

from .ops.activations import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    relu,
    relu6,
    softshrink,
    threshold,
)
from .ops.adaptive_pool2d import adaptive_avg_pool2d, adaptive_max_pool2d, global_avg_pool2d
from .ops.batchnorm import batch_norm
from .ops.channel_shuffle import channel_shuffle
from .ops.conv1d import conv1d, conv_transpose1d
from .ops.conv2d import conv2d
from .ops.conv_transpose2d import conv_transpose2d
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
from .ops.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    stochastic_depth,
)
from .ops.focal_loss import sigmoid_focal_loss
from .ops.glu import glu
from .ops.groupnorm import group_norm, instance_norm
from .ops.im2col import col2im, im2col
from .ops.indexing import one_hot
from .ops.interpolate import interpolate
from .ops.layernorm import layer_norm, rms_norm
from .ops.learnable_pool2d import learnable_pool2d
from .ops.linear import linear
from .ops.local_response_norm import local_response_norm
from .ops.losses import cross_entropy, nll_loss
from .ops.lp_pool2d import lp_pool2d
from .ops.max_unpool2d import max_unpool2d
from .ops.pad import pad
from .ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from .ops.pool1d import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d,
    avg_pool1d,
    lp_pool1d,
    max_pool1d,
    max_unpool1d,
)
from .ops.pool2d import avg_pool2d, max_pool2d
from .ops.prelu import prelu
from .ops.rrelu import rrelu
from .ops.smooth_activations import (
    celu,
    elu,
    gelu,
    logsigmoid,
    mish,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
    tanhshrink,
)
from .ops.softmax import log_softmax, softmax, softmin
from .ops.spatial_pyramid_pool2d import spatial_pyramid_pool2d
from .ops.unfold import fold, unfold
from .ops.weight_standardization import weight_standardization

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
    "celu",
    "channel_shuffle",
    "col2im",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "depthwise_conv2d",
    "dice_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "feature_alpha_dropout",
    "fold",
    "gelu",
    "global_avg_pool2d",
    "glu",
    "group_norm",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "im2col",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "learnable_pool2d",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_unpool1d",
    "max_unpool2d",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "rrelu",
    "selu",
    "sigmoid",
    "sigmoid_focal_loss",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "spatial_pyramid_pool2d",
    "stochastic_depth",
    "tanh",
    "tanhshrink",
    "threshold",
    "unfold",
    "weight_standardization",
]
