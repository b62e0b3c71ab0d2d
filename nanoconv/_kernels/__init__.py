"""Fast bodies over raw arrays; nothing here knows a Tensor.

The compiled modules exist once per instruction-set level, in the directories beside this file.
Importing the package puts the directory of the chosen level on its path, so that
`nanoconv._kernels.conv_cy` is the one for this CPU.
"""

import os

from nanoconv import config

if _level := config.isa():
    __path__.append(os.path.join(__path__[0], _level))
