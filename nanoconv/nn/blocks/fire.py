"""SqueezeNet's block: few channels see the neighbourhood, many come out.

>>> import nanoconv as nc
>>> block = Fire(96, 16, 64, 64)
>>> block(nc.zeros(1, 96, 8, 8)).shape
(1, 128, 8, 8)
"""

from __future__ import annotations

from ...ops.shaping import cat
from ...tensor import Tensor
from ..activations import ReLU
from ..layers import Conv2d
from ..module import Module


class Fire(Module):
    """Squeezes to S channels, then expands to A by 1×1 and to B by 3×3, side by side.

                        x (C, H, W)
               ┌────────▼────────┐
               │  1×1  C → S     │ bias, ReLU           squeeze
               └────────┬────────┘
              ┌─────────┴─────────┐
        ┌─────▼──────┐     ┌──────▼─────┐
        │ 1×1  S → A │     │ 3×3  S → B │ bias, ReLU    expand
        └─────┬──────┘     └──────┬─────┘
              └───── concat ──────┘
                        y (A + B, H, W)

        parameters  C·S + S + S·A + A + 9·S·B + B
        MACs        N·H·W·(C·S + S·A + 9·S·B)

    C = `inplanes`, S = `squeeze_planes`, A = `expand1x1_planes`, B = `expand3x3_planes`. Iandola et
    al., SqueezeNet, arXiv 1602.07360, figure 1.
    """

    def __init__(
        self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int
    ) -> None:
        super().__init__()
        self.inplanes = inplanes
        self.squeeze = Conv2d(inplanes, squeeze_planes, 1)
        self.squeeze_activation = ReLU(inplace=True)
        self.expand1x1 = Conv2d(squeeze_planes, expand1x1_planes, 1)
        self.expand1x1_activation = ReLU(inplace=True)
        self.expand3x3 = Conv2d(squeeze_planes, expand3x3_planes, 3, padding=1)
        self.expand3x3_activation = ReLU(inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(input))
        near = self.expand1x1_activation(self.expand1x1(x))
        far = self.expand3x3_activation(self.expand3x3(x))
        return cat([near, far], dim=1)
