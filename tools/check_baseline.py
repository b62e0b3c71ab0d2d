"""Prove that the baseline kernels need no AVX: `python tools/check_baseline.py`.

1. No instruction of the baseline modules is VEX or EVEX encoded (AVX, FMA, BMI, AVX-512).
2. On an emulated Nehalem of 2008 the baseline is chosen, and through the public interface every
   compiled body gives what the NumPy reference gives.

Needs objdump and the emulator (Debian: apt-get install binutils qemu-user) and x86-64.
"""

import gc
import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np

import nanoconv as nc
from nanoconv.dispatch import Kernel, Ladder

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "hardtanh", "hardshrink", "softshrink", "hardsigmoid",
    "hardswish", "sigmoid", "tanh", "silu", "gelu", "mish", "softplus", "softsign", "logsigmoid",
    "elu", "selu", "celu",
)  # fmt: skip
DISTANCES = (
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits",
)  # fmt: skip
EMULATOR = ["qemu-x86_64", "-cpu", "Nehalem"]
# In 64-bit mode a first byte c4 or c5 is VEX and 62 is EVEX; segment and size prefixes may precede.
VECTOR_EXTENSION = re.compile(r"^ *[0-9a-f]+:\t(?:(?:26|2e|36|3e|64|65|67) )*(?:c4|c5|62) ")


def baseline_modules() -> list[Path]:
    kernels = Path(nc.__file__).parent / "_kernels"
    found = [
        path
        for folder in (kernels, kernels / "baseline")
        for path in sorted(folder.glob(f"*{EXTENSION_SUFFIXES[0]}"))
    ]
    if not any(path.parent.name == "baseline" for path in found):
        sys.exit(f"no baseline modules in {kernels}: build them first")
    return found


def check_instructions() -> None:
    for path in baseline_modules():
        command = ["objdump", "--disassemble", "--wide", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = text.splitlines()
        if len(lines) < 100:
            sys.exit(f"{path.name}: objdump shows only {len(lines)} lines")
        if bad := [line for line in lines if VECTOR_EXTENSION.match(line)]:
            sys.exit(f"{path}: {len(bad)} instructions beyond the baseline, the first:\n{bad[0]}")
        print(f"{path.parent.name}/{path.name}: {len(lines):,} lines without VEX or EVEX")


# --------------------------------------------------------------------------- in the emulator


def is_compiled(kernel: Kernel) -> bool:
    return kernel.body.partition(":")[0].endswith("_cy")


def in_float64(value: Any) -> Any:
    is_float = isinstance(value, np.ndarray) and value.dtype == np.float32
    return value.astype(np.float64) if is_float else value


def check_call(ladder: Ladder, checked: set[str], *args: Any) -> Any:
    """Run every compiled body that takes these arguments; the result is the reference's.

    A wrong instruction is wrong by far more than rounding: the bound is generous, the test suite
    has the exact one.
    """
    truth = ladder.reference(*map(in_float64, args))
    for kernel in filter(is_compiled, ladder.kernels):
        if not ladder.supports(kernel.name, *args):
            continue
        result = ladder.run(kernel.name, *args)
        pairs = zip(result, truth, strict=True) if isinstance(truth, tuple) else [(result, truth)]
        for got, expected in pairs:
            if np.size(expected):
                error = np.abs(got - expected).max() / (np.abs(expected).max() + 1e-30)
                if not error < 1e-4:
                    sys.exit(f"{ladder.name}, {kernel.name}: relative error {error:.1e}")
        checked.add(f"{ladder.name}, {kernel.name}")
    return ladder.reference(*args)


def workload() -> None:
    """Forward and backward through every op that has compiled bodies, on small odd shapes."""
    rng = np.random.default_rng(0)
    F = nc.functional

    def normal(*shape: int) -> nc.Tensor:
        data = rng.standard_normal(shape).astype(np.float32)
        return nc.tensor(data, requires_grad=True)

    def backward(y: nc.Tensor) -> None:
        (y * normal(*y.shape).detach()).sum().backward()

    for N, C, O, H in ((2, 19, 27, 7), (1, 8, 16, 9), (3, 64, 33, 5)):
        x = normal(N, C, H, H + 1)
        backward(F.conv2d(x, normal(O, C, 3, 3), normal(O), padding=1, stride=2))
        backward(F.conv2d(x, normal(O, C, 3, 3), normal(O), padding=1))
        backward(F.conv2d(x, normal(O, C, 1, 1), normal(O)))
        backward(F.conv2d(x, normal(C, 1, 3, 3), normal(C), padding=1, groups=C))
        backward(F.conv2d(x, normal(2 * C, 1, 3, 3), normal(2 * C), padding=1, groups=C))
        backward(F.im2col(x, 3, stride=2, padding=1))
        for examples in (1, 5):
            backward(F.linear(normal(examples, C), normal(O, C), normal(O)))
        backward(F.max_pool2d(x, 3, 2, padding=1))
        F.max_pool2d(x.detach(), 3, 2, padding=1)  # maxima alone
        backward(F.avg_pool2d(x, 2, 1, padding=1))
        backward(F.adaptive_avg_pool2d(x, 2))
        backward(F.batch_norm(x, None, None, normal(C), normal(C), training=True))
        backward(F.batch_norm(x, nc.zeros(C), nc.ones(C), normal(C), normal(C)))
        last = normal(N, 12, H, H).contiguous(memory_format=nc.channels_last)
        backward(F.channel_shuffle(last, 3))
        last = last.detach()
        backward(nc.cat([last, last[:, 3:8]], 1) * normal(1))
        for name in ACTIVATIONS:
            backward(getattr(F, name)(3 * x))
        backward(F.gelu(x, approximate="tanh"))
        backward(F.threshold(x, 0.1, 0.0))
        backward(F.prelu(x, normal(C)))
        backward(F.glu(normal(N, 2 * C, H, H), 1))
        backward(F.conv_transpose2d(x, normal(C, O, 3, 3), stride=2))
        backward(F.conv_transpose2d(x, normal(C, O, 1, 1)))
        backward(F.adaptive_max_pool2d(x, 3))
        values, places = F.max_pool2d(x, 2, return_indices=True)
        backward(F.max_unpool2d(normal(*values.shape), places, 2))
        for dim in (1, 3):
            backward(F.softmax(x, dim))
            backward(F.log_softmax(x, dim))
            backward(x.cumsum(dim))
        t = normal(N, C, H, H + 1)
        for name in DISTANCES:
            backward(getattr(F, name)(x, t, reduction="none"))
        backward(F.sigmoid_focal_loss(x, t))
        p, q = F.softmax(x, 1).detach(), F.softmax(t, 1).detach()
        for a in (p, q):
            a.requires_grad_()
        backward(F.binary_cross_entropy(p, q, reduction="none"))
        for log_target in (False, True):
            backward(F.kl_div(p, q, reduction="none", log_target=log_target))
        backward(F.layer_norm(normal(N, H, C), (C,), normal(C), normal(C)))
        backward(F.group_norm(normal(N, 12, H, H), 3, normal(12), normal(12)))
        backward(F.local_response_norm(x, 3))
        backward(F.interpolate(x, scale_factor=2, mode="bilinear"))
        for op in (F.pixel_shuffle, F.pixel_unshuffle):
            backward(op(normal(N, 12, 6, 8).contiguous(memory_format=nc.channels_last), 2))
    backward(F.conv2d(normal(2, 12, 7, 7), normal(8, 3, 3, 3), normal(8), groups=4))


def check_bodies() -> None:
    if nc.isa() != "baseline":
        sys.exit(f"the level chosen in the emulator is {nc.isa()}, not baseline")
    checked: set[str] = set()
    Ladder.__call__ = lambda ladder, *args: check_call(ladder, checked, *args)  # type: ignore
    workload()
    ladders = [thing for thing in gc.get_objects() if isinstance(thing, Ladder)]
    there = {
        f"{ladder.name}, {k.name}" for ladder in ladders for k in ladder.kernels if is_compiled(k)
    }
    if missed := there - checked:
        sys.exit("never run: " + "; ".join(sorted(missed)))
    print(f"{len(checked)} compiled bodies agree with the NumPy reference on {' '.join(EMULATOR)}")


def main() -> None:
    for tool, package in (("objdump", "binutils"), (EMULATOR[0], "qemu-user")):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing (Debian: apt-get install {package})")
    check_instructions()
    # NumPy's OpenBLAS asks the real CPU and would take an AVX kernel.
    environment = os.environ | {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("NANOCONV_ISA", None)
    command = [*EMULATOR, sys.executable, __file__, "--inside"]
    sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    check_bodies() if "--inside" in sys.argv else main()
