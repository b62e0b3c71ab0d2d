"""THE TABLE: for each op what it is called, which problems to draw, and PyTorch's name for it."""

from .convolution import COLUMNS, CONVOLUTIONS
from .elementwise import ELEMENTWISE
from .losses import DISTANCES, LOSSES
from .normalisation import NORMS
from .others import OTHERS
from .pooling import POOLS
from .regularisation import REGULARISATION
from .shaping import SHAPING
from .transposed import FOLDS, PADS, SIGNALS, TRANSPOSED

CASES = [
    *CONVOLUTIONS,
    *COLUMNS,
    *TRANSPOSED,
    *SIGNALS,
    *FOLDS,
    *PADS,
    *POOLS,
    *NORMS,
    *ELEMENTWISE,
    *REGULARISATION,
    *OTHERS,
    *SHAPING,
    *LOSSES,
    *DISTANCES,
]
