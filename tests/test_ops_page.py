"""docs/ops.md: written from the ops, complete, and up to date."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import nanoconv as nc

TOOL = Path(__file__).parents[1] / "tools" / "ops_page.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("ops_page", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(tool) -> None:
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run: python tools/ops_page.py"


def test_every_function_and_every_ladder_is_on_it(tool) -> None:
    text = tool.PAGE.read_text(encoding="utf-8")
    for name in nc.functional.__all__:
        assert f"| `{name}(" in text, name
    for module in tool.lessons().values():
        for ladder in tool.ladders_of(module):
            assert f"| {ladder.name} | " in text, ladder.name


def test_every_lesson_says_what_a_reader_looks_for(tool) -> None:
    groups = {name: title for title, names in tool.GROUPS.items() for name in names}
    for name, module in tool.lessons().items():
        if groups[name] == "Elementary":
            continue
        text = inspect.getdoc(module) or ""
        for word in ("shapes ", "cost "):
            assert f"    {word}" in text, f"{name}.py does not tell its {word}"
        paper = re.search(r"arXiv|Papers?:|\b(19|20)\d\d\b", text)
        assert paper or name == "pad", f"{name}.py names no paper"
        assert ">>>" in text, f"{name}.py has no example"


def test_every_function_of_pytorch_is_here_or_said_not_to_be(tool) -> None:
    functional = pytest.importorskip("torch").nn.functional
    helpers = {"assert_int_or_pair", "boolean_dispatch", "handle_torch_function"}
    public = {
        name.removesuffix("_with_indices")
        for name, value in vars(functional).items()
        if not name.startswith(("_", "has_torch"))
        and not name.endswith("_")
        and callable(value)
        and not inspect.isclass(value)
        and getattr(value, "__module__", None) not in ("typing", "torch._jit_internal")
    } - helpers
    missing = {name for names in tool.ELSEWHERE.values() for name in names}
    assert not missing & set(nc.functional.__all__)
    assert public - set(nc.functional.__all__) == missing


def test_a_condition_is_told_in_words(tool) -> None:
    from nanoconv.dispatch import Kernel, at_least

    def pointwise(*args) -> bool:
        return True

    assert tool.condition(Kernel("cython.a", "")) == "`cython.a`"
    assert tool.condition(Kernel("cython.a", "", when=pointwise)) == "`cython.a` (if pointwise)"
    assert tool.condition(Kernel("numba.a", "", auto=False)) == "`numba.a` (by name only)"
    text = "`simd.a` (if pointwise, by itself only for at least 1,024 numbers)"
    assert tool.condition(Kernel("simd.a", "", pointwise, at_least(1024))) == text
