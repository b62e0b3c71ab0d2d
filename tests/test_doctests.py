"""The examples in the docstrings and in README.md are run, and every lesson opens with one."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from interpreter import run_python

import nanoconv as nc
from nanoconv import ops

ROOT = Path(nc.__file__).parent
README = Path(__file__).parent.parent / "README.md"
NO_LESSONS = ("checks", "geometry", "arithmetic", "creation", "reductions", "shaping")
LESSONS = [
    f"nanoconv.ops.{info.name}"
    for info in pkgutil.iter_modules(ops.__path__)
    if info.name not in NO_LESSONS
]


def with_examples():
    """The names of all modules whose text holds an example."""
    for path in sorted(ROOT.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("name", list(with_examples()))
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where they save files
    module = importlib.import_module(name)
    failed, attempted = doctest.testmod(module, extraglobs={"nc": nc, "np": np})
    assert failed == 0
    assert attempted > 0


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_opens_with_an_example(name):
    module = importlib.import_module(name)
    assert doctest.DocTestParser().get_examples(module.__doc__ or "")


@pytest.mark.skipif(not README.exists(), reason="needs the source tree")
def test_the_readme_runs(tmp_path):
    """Its Python blocks, one after the other in a process of their own."""
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    weights = [block for block in blocks if "weights=" in block]  # needs files and a network
    assert (len(blocks), len(weights)) == (4, 1)
    compiling, training, choosing = sorted(
        (block for block in blocks if block not in weights),
        key=lambda block: "nc.compile" not in block,
    )
    result = run_python(
        f"import os; os.chdir({str(tmp_path)!r})\n"
        + training
        + "from nanoconv import from_numpy; x = from_numpy(test.images[:2])\n"
        + choosing
        + "import numpy as np; model = nc.models.mobilenet_v2(num_classes=10)\n"
        "x = np.zeros((1, 3, 224, 224), np.float32); nc.use('auto')\n" + compiling,
        NANOCONV_NUM_THREADS="1",
    )
    assert result.returncode == 0, result.stderr
    line = re.search(r"^10  loss \d\.\d{3}  test accuracy (\d+\.\d)%$", result.stdout, re.M)
    assert float(line[1]) > 90
    assert "cython.im2col" in result.stdout  # what show_config says
    assert "Limits measured now" in result.stdout
    assert (tmp_path / "mobilenet_v2.safetensors").exists()
    state = nc.load(tmp_path / "digits.safetensors")
    assert state["9.weight"].shape == (10, 64)
