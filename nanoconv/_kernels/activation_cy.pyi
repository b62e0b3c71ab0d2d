from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Rest = float | tuple[int] | int  # attributes, sizes, threads

class Forward:
    def __call__(self, y: F32, x: F32, *rest: Rest) -> None: ...

class Backward:
    def __call__(self, dx: F32, dy: F32, x: F32, *rest: Rest) -> None: ...

relu_f32: Forward
relu_backward_f32: Backward
relu6_f32: Forward
relu6_backward_f32: Backward
leaky_relu_f32: Forward
leaky_relu_backward_f32: Backward
hardsigmoid_f32: Forward
hardsigmoid_backward_f32: Backward
hardswish_f32: Forward
hardswish_backward_f32: Backward
hardtanh_f32: Forward
hardtanh_backward_f32: Backward
threshold_f32: Forward
threshold_backward_f32: Backward
hardshrink_f32: Forward
hardshrink_backward_f32: Backward
softshrink_f32: Forward
softshrink_backward_f32: Backward
sigmoid_f32: Forward
sigmoid_backward_f32: Backward
tanh_f32: Forward
tanh_backward_f32: Backward
silu_f32: Forward
silu_backward_f32: Backward
elu_f32: Forward
elu_backward_f32: Backward
selu_f32: Forward
selu_backward_f32: Backward
celu_f32: Forward
celu_backward_f32: Backward
gelu_f32: Forward
gelu_backward_f32: Backward
gelu_tanh_f32: Forward
gelu_tanh_backward_f32: Backward
mish_f32: Forward
mish_backward_f32: Backward
softplus_f32: Forward
softplus_backward_f32: Backward
softsign_f32: Forward
softsign_backward_f32: Backward
logsigmoid_f32: Forward
logsigmoid_backward_f32: Backward

def glu_f32(y: F32, x: F32, sizes: tuple[int, int], threads: int) -> None: ...
def glu_backward_f32(dx: F32, dy: F32, x: F32, sizes: tuple[int, int], threads: int) -> None: ...
