"""The examples in the docstrings are run, and every lesson opens with one."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import ops

OPS = [f"ops.{info.name}" for info in pkgutil.iter_modules(ops.__path__)]
NO_LESSONS = ("checks", "geometry", "arithmetic", "creation", "reductions", "shaping")
LESSONS = [name for name in OPS if not name.endswith(NO_LESSONS)]


@pytest.mark.parametrize("name", [*OPS, "tensor", "config", "gradcheck", "dispatch"])
def test_examples(name):
    module = importlib.import_module(f"nanoconv.{name}")
    assert doctest.testmod(module, extraglobs={"nc": nc, "np": np}).failed == 0


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_opens_with_an_example(name):
    module = importlib.import_module(f"nanoconv.{name}")
    assert doctest.DocTestParser().get_examples(module.__doc__ or "")
