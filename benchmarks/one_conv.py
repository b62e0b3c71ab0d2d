"""The functions of one_conv.h, compiled on the spot and called through ctypes.

They are for docs/one_op.md and belong to no wheel, so that this benchmark needs a C compiler where
it runs: $CC, cc, gcc or clang. It gets the flags of setup.py, for the level that nanoconv has
chosen.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import numpy as np

import nanoconv as nc
from nanoconv.infer import packing
from nanoconv.ops.conv2d import conv2d_forward, conv2d_shape
from nanoconv.ops.winograd import winograd_bound, winograd_weights

from .problems import EPS

ROOT = Path(__file__).parents[1]
FIELDS = ("x", "halo", "w", "panels", "dense", "u2", "u4", "b", "y", "scratch")  # as in `layer`
OTHERS = 1 << 22  # floats that take the place of the weights in the cache
Array = np.ndarray


class Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ssize_t) for name in "COHW"] + [
        (name, ctypes.c_void_p) for name in FIELDS
    ]


def flags() -> list[str]:
    """What setup.py gives the compiler for the level of this process."""
    spec = importlib.util.spec_from_file_location("nanoconv_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [*module.CFLAGS, *module.LEVELS.get(nc.isa() or "", [])]


def compiled() -> ctypes.CDLL:
    """The library; RuntimeError without a compiler, or with one that refuses."""
    given = shlex.split(os.environ.get("CC", ""))
    compiler = given or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]
    if not compiler or not shutil.which(compiler[0]):
        name = f"CC={' '.join(given)}" if given else "cc, gcc or clang"
        raise RuntimeError(f"one_conv: needs a C compiler, and finds no {name}")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "one_conv.so"
        source = ["-x", "c", str(ROOT / "benchmarks" / "one_conv.h")]
        where = [f"-I{ROOT / 'nanoconv' / '_kernels'}", "-shared", "-fPIC", "-fvisibility=default"]
        command = [*compiler, *flags(), *where, *source, "-o", str(library), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"one_conv: {compiler[0]} refuses: {result.stderr.strip()[:500]}")
        functions = ctypes.CDLL(str(library))
    pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
    functions.seconds.argtypes = [ctypes.c_int, pointer, pointer, size]
    functions.seconds.restype = functions.peak.restype = ctypes.c_double
    functions.scratch_floats.restype, functions.name_of.restype = size, ctypes.c_char_p
    return functions


class OneConv:
    """One 3×3 layer with its relu, as every function of one_conv.h wants it."""

    def __init__(self, C: int, O: int, H: int, W: int) -> None:
        for name, size, step in (("C", C, 16), ("O", O, 64), ("H", H, 1), ("W", W, 1)):
            if size < 1 or size % step:
                raise ValueError(f"OneConv: {name}={size}, expected a positive multiple of {step}")
        self.functions = compiled()
        rng = np.random.default_rng(0)
        x, w, b = (rng.standard_normal(s).astype("f4") for s in ((C, H, W), (O, C, 3, 3), (O,)))
        self.given = x, w, b
        machine = packing.Machine(self.functions.lanes(), self.functions.registers())
        taps = w.transpose(2, 3, 1, 0).reshape(9 * C, O)  # (u·v·c, O)
        image = x.transpose(1, 2, 0)
        self.arrays = {
            "x": image, "halo": np.pad(image, ((1, 1), (1, 1), (0, 0))), "w": taps,
            "panels": taps.reshape(9 * C, -1, self.functions.width()).transpose(1, 0, 2),
            "dense": packing.dense(machine, w, 1), "b": b,
            "y": np.zeros((H, W, O)), "scratch": np.zeros(0),
        }  # fmt: skip
        for m in (2, 4):
            planes = [packing.matrix(machine, u) for u in winograd_weights(w, m)]
            self.arrays[f"u{m}"] = np.concatenate(planes)
        self.layer = Layer(C, O, H, W)
        self.arrays["scratch"] = np.zeros(self.functions.scratch_floats(ctypes.byref(self.layer)))
        for name, array in self.arrays.items():
            self.arrays[name] = aligned(array)
            setattr(self.layer, name, self.arrays[name].ctypes.data)
        self.others = np.ones(OTHERS, np.float32)
        self.flops = 2 * 9 * C * O * H * W

    def names(self) -> list[str]:
        return [name.decode() for name in iter(map(self.functions.name_of, count()).__next__, None)]

    def seconds(self, k: int, cold: bool = False) -> float:
        """Of one run of function k; with `cold`, its weights are in no second-level cache."""
        others, n = (self.others.ctypes.data, OTHERS) if cold else (None, 0)
        return self.functions.seconds(k, ctypes.byref(self.layer), others, n)

    def check(self, k: int) -> None:
        """AssertionError if function k is farther from the reference than its bound."""
        self.arrays["y"][...] = np.nan
        self.seconds(k)
        name = self.names()[k]
        truth, bound = self.truth_and_bound(name)
        error = np.abs(self.arrays["y"].transpose(2, 0, 1) - truth)
        assert (error <= bound).all(), f"{name}: {np.max(error / bound)} times the bound"

    def truth_and_bound(self, name: str) -> tuple[Array, Array]:
        """The NumPy reference in float64, and 2·K·ε·R, with Winograd's own R."""
        x, w, b = (array.astype(np.float64) for array in self.given)
        geo = conv2d_shape(x[None].shape, w.shape, padding=1)
        m = int(name[len("Winograd F(")]) if name.startswith("Winograd") else 0
        if m:
            r = winograd_bound(x[None], w, b, geo, m)
        else:
            r = conv2d_forward(*map(np.abs, (x[None], w, b)), geo)
        truth = np.maximum(conv2d_forward(x[None], w, b, geo), 0)
        return truth[0], 2 * (9 * self.layer.C + 1) * EPS * r[0]


def aligned(array: Array) -> Array:
    """A float32 copy whose vectors straddle no cache line."""
    memory = np.empty(array.size + 16, np.float32)
    skip = -memory.ctypes.data // 4 % 16
    memory[skip : skip + array.size] = array.ravel()
    return memory[skip : skip + array.size].reshape(array.shape)
