from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Sizes = tuple[int, int, int, int]

cat_f32_takes_slices: bool

def cat_f32(y: F32, xs: tuple[F32, ...], sizes: Sizes, threads: int) -> None: ...
