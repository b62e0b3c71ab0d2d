"""docs/one_op.md: its excerpts stand in the files, its examples run, its tables are printed."""

from __future__ import annotations

import doctest
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import nanoconv as nc

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "one_op.md"
sys.path.append(str(ROOT))  # last: an installed nanoconv stays in front of the source tree's

if not PAGE.exists():
    pytest.skip("needs the source tree", allow_module_level=True)

from benchmarks import one_conv, steps_of_one  # noqa: E402

TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
EXCERPTS = [text for language, text in BLOCKS if language == "c"]


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def stands_in(excerpt: str, text: str) -> bool:
    """The lines of one follow each other in the other; how they are indented does not count."""
    return "\n".join(["", *lines_of(excerpt), ""]) in "\n".join(["", *lines_of(text), ""])


@pytest.mark.parametrize("block", EXCERPTS, ids=[block.splitlines()[0] for block in EXCERPTS])
def test_an_excerpt_stands_in_its_file(block: str) -> None:
    name, _, excerpt = block.partition("\n")
    path = ROOT / re.fullmatch(r"/\* (\S+) \*/", name)[1]
    text = path.read_text(encoding="utf-8")
    assert stands_in(excerpt, text)
    first, *rest = excerpt.splitlines()
    assert not stands_in("\n".join([first + " ", "x", *rest]), text)


def test_the_page_has_an_excerpt_for_each_idea() -> None:
    files = {block.splitlines()[0].strip("/* ").rpartition("/")[2] for block in EXCERPTS}
    assert files >= {"one_conv.h", "gemm.h", "conv_tiles.h", "winograd.h", "band_steps.h", "run.h"}


def test_its_examples_run() -> None:
    examples = [text for language, text in BLOCKS if language == "python" and ">>> " in text]
    assert examples
    test = doctest.DocTestParser().get_doctest("\n".join(examples), {}, "one_op.md", str(PAGE), 0)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S))
    assert len(links) > 10
    for link in links:
        assert (PAGE.parent / link).exists(), link


# --------------------------------------------------------------------------- the benchmark

needs_compiler = pytest.mark.skipif(
    sys.platform == "win32" or not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler",
)


@pytest.fixture(scope="module")
def one() -> one_conv.OneConv:
    pytest.importorskip("setuptools")  # setup.py has the compiler's flags
    return one_conv.OneConv(16, 64, 5, 13)  # tiles are cut short, and a tile hangs over


@needs_compiler
def test_each_function_computes_the_layer(one: one_conv.OneConv) -> None:
    names = one.names()
    assert len(set(names)) == len(names) > 10
    for k in range(len(names)):
        one.check(k)
        assert one.seconds(k, cold=True) > 0


@needs_compiler
def test_a_wrong_result_fails_the_check(one: one_conv.OneConv) -> None:
    weights = [one.arrays[name] for name in ("w", "panels", "dense", "u2", "u4")]
    kept = [array.copy() for array in weights]
    for array in weights:
        array *= 1.01
    try:
        for k, name in enumerate(one.names()):
            with pytest.raises(AssertionError, match=re.escape(name)):
                one.check(k)
    finally:
        for array, values in zip(weights, kept, strict=True):
            array[...] = values


@needs_compiler
def test_the_table_of_the_page_has_the_rows_of_the_benchmark(one: one_conv.OneConv) -> None:
    rows, peak = steps_of_one.ladder(one, rounds=1)
    assert peak > 0
    printed = steps_of_one.table(steps_of_one.LADDER, rows)
    assert printed.splitlines()[0].split() == table_of("step")[0].split()
    there = [line.split("|")[1].strip() for line in table_of("step")[2:]]
    number = r"^\d+ pixels × \d vectors"  # another machine has other tiles
    names = [re.sub(number, "a tile", name) for name in one.names()]
    assert [re.sub(number, "a tile", name) for name in there] == names


def table_of(heading: str) -> list[str]:
    """The lines of the page's table whose first column has this heading."""
    return re.search(rf"^\| {heading} .*?(?=\n\n)", TEXT, re.M | re.S)[0].splitlines()


@pytest.mark.parametrize(("wrong", "value"), [("C", 24), ("O", 32), ("H", 0), ("W", -1)])
def test_sizes_that_the_functions_do_not_take(wrong: str, value: int) -> None:
    sizes = {"C": 16, "O": 64, "H": 3, "W": 3, wrong: value}
    with pytest.raises(ValueError, match=rf"OneConv: {wrong}={value}, expected a positive multip"):
        one_conv.OneConv(**sizes)


def test_without_a_compiler_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    with pytest.raises(RuntimeError, match="needs a C compiler, and finds no CC=no-such-compiler"):
        one_conv.compiled()


@needs_compiler
def test_a_compiler_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("setuptools")
    monkeypatch.setattr(one_conv, "flags", lambda: ["-DLANES=three"])
    with pytest.raises(RuntimeError, match=r"one_conv: \S+ refuses: .*three"):
        one_conv.compiled()


def test_networks_are_shown_without_what_the_page_names() -> None:
    for name, skipped in steps_of_one.SKIPPED.items():
        rows = [line for line in table_of("network") if f"| {name} " in line]
        assert len(rows) == len(skipped) + 2
        assert all(any(f"without {what} " in row for row in rows) for what in skipped)


@pytest.mark.skipif(nc.isa() is None, reason="no compiled kernels")
def test_sessions_and_networks_have_their_rows() -> None:
    kernels = [row[1] for row in steps_of_one.sessions(0.01)]
    assert kernels[0] == kernels[2] == "conv"
    assert kernels[1].startswith("winograd")
    rows = steps_of_one.whole_nets(["squeezenet1_1"], 0.01)
    assert [row[1] for row in rows] == [
        "all", "without fuse_activation", "without winograd", "op by op: eager",
    ]  # fmt: skip
    assert np.isfinite(steps_of_one.one_call(0.01))
