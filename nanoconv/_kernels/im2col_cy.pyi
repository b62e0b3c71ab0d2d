import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Sizes = tuple[int, ...]

def im2col_f32(cols: Array, x: Array, sizes: Sizes, threads: int) -> None: ...
def col2im_f32(dx: Array, dcols: Array, sizes: Sizes, threads: int) -> None: ...
