"""A state dict that does not fit is explained in the first line of the error."""

import numpy as np
import pytest

from nanoconv import models, nn

V2 = models.mobilenet_v2(width_mult=0.1)
STATE = V2.state_dict()
FOR_FIVE = models.mobilenet_v2(width_mult=0.1, num_classes=5).state_dict()
WIDER = models.mobilenet_v2(width_mult=0.5).state_dict()
SMALL, LARGE = (nn.Sequential(nn.Linear(a, b)) for a, b in ((4, 4), (6, 4)))
HALF = {name: array.astype(np.float16) for name, array in SMALL.state_dict().items()}

CASES = {
    "all its names begin with 'module.', the network's do not; take that off": (
        V2,
        {f"module.{name}": array for name, array in STATE.items()},
    ),
    "all its names begin with 'a.b.', the network's do not": (
        SMALL,
        {f"a.b.{name}": array for name, array in SMALL.state_dict().items()},
    ),
    r"the network's names begin with 'net.', its names do not; load it into get_sub.*'net'": (
        nn.Sequential({"net": V2}),
        STATE,
    ),
    r"what it calls 'state_dict' is a dict; the state dict may be that one": (
        V2,
        {"epoch": 3, "state_dict": STATE},
    ),
    r"it is for 5 classes, the network for 1000 \(see classifier.1\)": (V2, FOR_FIVE),
    r"its layers have about [3-5][.\d]* times as many channels .* of another width": (
        V2,
        WIDER,
    ),
    "it is empty": (V2, {}),
    "none of its names is one of the network's": (
        V2,
        models.mobilenet_v1(width_mult=0.25).state_dict(),
    ),
    "1 names are missing, 2 are unexpected, 0 arrays have another shape": (
        V2,
        {n: a for n, a in STATE.items() if n != "classifier.1.bias"} | {"x": 1, "y": [2]},
    ),
    r"none of its names is one of the network's(\n.*)*\n  1: unexpected": (SMALL, {0: 1, 1: 2}),
    "its names and shapes do, but not the types of its numbers": (SMALL, HALF),
    "0 names are missing, 0 are unexpected, 1 arrays have another shape": (
        SMALL,
        LARGE.state_dict(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", CASES)
def test_the_reason(reason):
    model, state = CASES[reason]
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"does not fit {type(model).__name__}: {reason}"):
        model.load_state_dict(state)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
