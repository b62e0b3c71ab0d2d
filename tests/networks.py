"""What tests of modules share: a network, written once as a function of the library."""

import pytest

import nanoconv as nc
from nanoconv import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

LIBRARIES = [nn, torch.nn]


def tensor_of(lib, *values):
    return nc.tensor(list(values)) if lib is nn else torch.tensor(list(values))


def network(lib):
    """Shared modules and parameters, an empty place, buffers of both kinds, lists in lists."""

    class Block(lib.Module):
        def __init__(self, channels):
            super().__init__()
            self.scale = lib.Parameter(tensor_of(lib, 2.0))
            self.conv = lib.Conv2d(channels, channels, 3, padding=1, groups=2, bias=False)
            self.norm = lib.BatchNorm2d(channels)
            self.absent = None
            self.register_parameter("offset", None)
            self.register_buffer("grid", tensor_of(lib, 1.0, 2.0))
            self.register_buffer("cache", tensor_of(lib, 3.0), persistent=False)
            self.register_buffer("empty", None)

        def extra_repr(self):
            return "a block\nof two lines"

    class Net(lib.Module):
        def __init__(self):
            super().__init__()
            block = Block(4)
            self.stages = lib.ModuleList([block, Block(2), block])
            self.head = lib.Sequential(lib.Flatten(), lib.Linear(8, 3), lib.ReLU(inplace=True))
            self.register_module("nothing", None)
            self.tied = self.head[1].weight

    return Net()


class Affine(nn.Module):
    """y = a·x + b on numbers, which modules are indifferent to."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x, extra=0):
        return self.a * x + self.b + extra
