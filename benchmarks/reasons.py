"""Why an op takes more than 1.5 times as long as PyTorch's, as far as that is known."""

SMALL = "a call of some microseconds, around which Python and NumPy take as long again"
TWO_OPS = (
    "the loss and its mean are two ops, whose Python takes as long as their kernels do for 64,000 "
    "numbers; back, the tape also makes sure that arrays which the caller still has are unchanged"
)
REASONS = {  # by the beginning of a problem's or op's name; the first that fits
    "conv2d.forward": "dilated: im2col copies nine images, where PyTorch convolves directly",
    "conv2d.input_grad": "dilated: col2im adds up nine images, where PyTorch convolves directly",
    "logsigmoid": "an exponential and a division for each number; PyTorch keeps the exponential",
    "softmax": "over 21 channels: each pixel's line is too short for whole vectors",
    "log_softmax": "over 21 channels: each pixel's line is too short for whole vectors",
    "pad": "NumPy copies each border by itself",
    "lp_pool2d": "p = ∞ writes |x| down before it takes maxima",
    "dice_loss": "composed of elementary ops, each with a pass over memory, as is its gradient",
    "binary_cross_entropy_with_logits": "the compiled loss has no pos_weight, so NumPy computes it",
    "cross_entropy": "two ops, log_softmax and nll_loss, each with its record",
    "cosine": "NumPy's passes over memory: lengths, product, quotient",
    "cumprod": "NumPy, in float64",
    "topk": "NumPy's partition takes about as long as all of PyTorch's op",
    **dict.fromkeys(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div"), TWO_OPS),
    **dict.fromkeys(("adaptive_", "max_pool1d", "nll_loss", "gather", "one_hot"), SMALL),
    "repeat_interleave": "NumPy's repeat, and a call of some microseconds",
}


def reason(name: str) -> str:
    """Why, in a few words; "not looked into" where nobody has."""
    found = (why for start, why in REASONS.items() if name.startswith(start))
    return next(found, "not looked into")
