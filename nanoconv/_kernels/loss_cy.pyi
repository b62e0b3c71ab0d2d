from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Rest = float | tuple[int] | int  # the attribute, sizes, threads

class Loss:
    def __call__(self, y: F32, x: F32, t: F32, *rest: Rest) -> None: ...

class Slope:
    def __call__(self, dx: F32, dy: F32, x: F32, t: F32, *rest: Rest) -> None: ...

mse_loss_f32: Loss
mse_loss_by_x_f32: Slope
l1_loss_f32: Loss
l1_loss_by_x_f32: Slope
smooth_l1_loss_f32: Loss
smooth_l1_loss_by_x_f32: Slope
huber_loss_f32: Loss
huber_loss_by_x_f32: Slope
kl_div_f32: Loss
kl_div_by_x_f32: Slope
kl_div_by_t_f32: Slope
kl_div_log_f32: Loss
kl_div_log_by_x_f32: Slope
kl_div_log_by_t_f32: Slope
binary_cross_entropy_f32: Loss
binary_cross_entropy_by_x_f32: Slope
binary_cross_entropy_by_t_f32: Slope
binary_cross_entropy_with_logits_f32: Loss
binary_cross_entropy_with_logits_by_x_f32: Slope
binary_cross_entropy_with_logits_by_t_f32: Slope
sigmoid_focal_loss_f32: Loss
sigmoid_focal_loss_by_x_f32: Slope
sigmoid_focal_loss_by_t_f32: Slope
