"""nanoconv: a CNN engine from scratch, readable from the equation to the machine code."""

from .config import (
    get_backend,
    get_num_threads,
    isa,
    manual_seed,
    set_num_threads,
    show_config,
    use,
)

__version__ = "0.1.0"
