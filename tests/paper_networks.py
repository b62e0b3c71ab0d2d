"""Networks that torchvision does not have, written down from their papers in PyTorch's functions.

They take the arrays of a state dict by name, so that they check the names as well.
"""

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional


def bordered(x, K, s, same, value=0.0):
    """With K // 2 pixels on each side, or TensorFlow's: as few as give ⌈H/s⌉, the odd one after."""
    if not same:
        return F.pad(x, [K // 2] * 4, value=value)
    widths = []
    for size in (x.shape[3], x.shape[2]):
        total = max(((size + s - 1) // s - 1) * s + K - size, 0)
        widths += [total // 2, total - total // 2]
    return F.pad(x, widths, value=value)


class Paper:
    """Layers by the names of a state dict, of tensors of PyTorch's."""

    def __init__(self, state, training=False, same=False):
        self.state, self.training, self.same = state, training, same

    def conv(self, name, x, s=1, groups=1):
        w = self.state[name + ".weight"]
        return F.conv2d(bordered(x, w.shape[3], s, self.same), w, stride=s, groups=groups)

    def norm(self, name, x):
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{k}"] for k in kinds), training=self.training)

    def linear(self, name, x):
        return F.linear(x.mean((2, 3)), self.state[name + ".weight"], self.state[name + ".bias"])

    def mean_of_nine(self, x):
        """Of 3×3 pixels, stride 2; TensorFlow does not count the border."""
        total = F.avg_pool2d(bordered(x, 3, 2, self.same), 3, 2)
        return total / F.avg_pool2d(bordered(torch.ones_like(x), 3, 2, True), 3, 2) ** self.same


def paper_shufflenet(x, groups, **how):
    """arXiv 1707.01083: figure 2(b) and (c), table 1."""
    net = Paper(**how)

    def unit(name, x, s, first_groups):
        y = net.conv(name + "compress_conv1", x, groups=first_groups)
        y = net.norm(name + "compress_bn1", y).relu()
        y = y.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
        y = net.conv(name + "dw_conv2", y, s, groups=y.shape[1])
        y = net.conv(name + "expand_conv3", net.norm(name + "dw_bn2", y), groups=groups)
        y = net.norm(name + "expand_bn3", y)
        return (x + y if s == 1 else torch.cat([y, net.mean_of_nine(x)], 1)).relu()

    x = net.norm("features.init_block.bn", net.conv("features.init_block.conv", x, 2)).relu()
    x = F.max_pool2d(bordered(x, 3, 2, net.same, -torch.inf), 3, 2)
    for stage, units in enumerate((4, 8, 4), 1):
        for k in range(1, units + 1):
            name = f"features.stage{stage}.unit{k}."
            x = unit(name, x, 2 if k == 1 else 1, 1 if (stage, k) == (1, 1) else groups)
    return net.linear("output", x)


def paper_cifar_resnet(x, n, **how):
    """arXiv 1512.03385, section 4.2, with shortcuts of option A."""
    net = Paper(**how)
    x = net.norm("bn1", net.conv("conv1", x)).relu()
    for stage in (1, 2, 3):
        for k in range(n):
            name, s = f"layer{stage}.{k}.", 2 if stage > 1 and k == 0 else 1
            y = net.norm(name + "bn1", net.conv(name + "conv1", x, s)).relu()
            y = net.norm(name + "bn2", net.conv(name + "conv2", y))
            if s == 2:
                new = (y.shape[1] - x.shape[1]) // 2
                nothing = torch.zeros(len(y), new, *y.shape[2:], dtype=x.dtype)
                x = torch.cat([nothing, x[:, :, ::2, ::2], nothing], 1)
            x = (x + y).relu()
    return net.linear("linear", x)
