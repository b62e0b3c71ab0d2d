"""The networks of the published weights, in PyTorch: torchvision's where it has them."""

from pathlib import Path

import numpy as np
from torchvision_oracle import torch, torchvision

nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)


def conv_bn(C: int, O: int, K: int, stride: int = 1, groups: int = 1, eps: float = 1e-5) -> list:
    conv = nn.Conv2d(C, O, K, stride, K // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(O, eps=eps)]


class MobileNetV1(nn.Module):
    """arXiv 1704.04861, table 1, with TensorFlow's ReLU6 and ε of batch norm."""

    def __init__(self, width: float) -> None:
        super().__init__()
        widths = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
        C = int(32 * width)
        layers = [nn.Sequential(*conv_bn(3, C, 3, 2, eps=1e-3), nn.ReLU6())]
        for k, wide in enumerate(widths):
            O, stride = int(wide * width), 2 if k in (1, 3, 5, 11) else 1
            depthwise = conv_bn(C, C, 3, stride, groups=C, eps=1e-3)
            pointwise = conv_bn(C, O, 1, eps=1e-3)
            layers.append(nn.Sequential(*depthwise, nn.ReLU6(), *pointwise, nn.ReLU6()))
            C = O
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(C, 1000)

    def forward(self, x):
        return self.fc(self.model(x).mean((2, 3)))


class ShuffleUnit(nn.Module):
    """arXiv 1707.01083, figure 2 (b) and (c)."""

    def __init__(self, C: int, O: int, stride: int, groups: int, first: int) -> None:
        super().__init__()
        middle, added = O // 4, O - C if stride == 2 else O
        self.stride, self.groups = stride, groups
        self.compress_conv1, self.compress_bn1 = conv_bn(C, middle, 1, groups=first)
        self.dw_conv2, self.dw_bn2 = conv_bn(middle, middle, 3, stride, groups=middle)
        self.expand_conv3, self.expand_bn3 = conv_bn(middle, added, 1, groups=groups)

    def forward(self, x):
        y = F.relu(self.compress_bn1(self.compress_conv1(x)))
        N, C, H, W = y.shape
        y = y.view(N, self.groups, C // self.groups, H, W).transpose(1, 2).reshape(N, C, H, W)
        y = self.expand_bn3(self.expand_conv3(self.dw_bn2(self.dw_conv2(y))))
        if self.stride == 1:
            return F.relu(x + y)
        return F.relu(torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1))


class ShuffleNetV1(nn.Module):
    """Eight groups, width 1."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Module()
        stem.conv, stem.bn = conv_bn(3, 24, 3, 2)
        self.features = nn.Module()
        self.features.init_block = stem
        C = 24
        for stage, (units, O) in enumerate([(4, 384), (8, 768), (4, 1536)], 1):
            block = nn.Module()
            for unit in range(1, units + 1):
                first = 1 if stage == unit == 1 else 8
                made = ShuffleUnit(C, O, 2 if unit == 1 else 1, 8, first)
                block.add_module(f"unit{unit}", made)
                C = O
            self.features.add_module(f"stage{stage}", block)
        self.output = nn.Linear(C, 1000)

    def forward(self, x):
        stem = self.features.init_block
        x = F.max_pool2d(F.relu(stem.bn(stem.conv(x))), 3, 2, 1)
        for stage in list(self.features.children())[1:]:
            for unit in stage.children():
                x = unit(x)
        return self.output(x.mean((2, 3)))


def pad_as_tensorflow(net) -> None:
    """SAME: ⌈H/s⌉ outputs, and the odd pixel of padding after the image."""

    def before(K: int, stride: int, size: int) -> tuple[int, int]:
        total = max((-(-size // stride) - 1) * stride + K - size, 0)
        return total // 2, total - total // 2

    def pad(module, inputs):
        (x,) = inputs
        K, stride = module.kernel_size[0], module.stride[0]
        (top, bottom), (left, right) = (before(K, stride, size) for size in x.shape[2:])
        return (F.pad(x, (left, right, top, bottom)),)

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
            module.register_forward_pre_hook(pad)


def network(name: str, path: Path):
    """The network of these weights in evaluation mode, without a gap or a rest."""
    if name.startswith("mobilenet_v1"):
        net = MobileNetV1(float(name.split("_")[2]))
    elif name.startswith("shufflenet_v1"):
        net = ShuffleNetV1()
    else:
        families = ("mobilenet_v2", "mobilenet_v3_small", "squeezenet1_0", "squeezenet1_1")
        family = next(family for family in families if name.startswith(family))
        net = getattr(torchvision().models, family)()
    with np.load(path) as file:
        state = {key: torch.from_numpy(file[key]) for key in file.files}
    own = {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}
    assert own == set(state)
    net.load_state_dict(state, strict=False)
    if "tfpad" in name:
        pad_as_tensorflow(net)
    return net.eval()


def pixels(images):
    """The middle of photographs, from 0 to 1, by torchvision's transforms: (N, 3, 224, 224)."""
    T = torchvision().transforms
    prepare = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor()])
    return torch.stack([prepare(image) for image in images])


def normalise(name: str, x):
    """As these weights want it."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if "tfpad" in name:
        mean = std = (0.5, 0.5, 0.5)
    return torchvision().transforms.Normalize(mean, std)(x)
