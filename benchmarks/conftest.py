"""Options of `pytest benchmarks`, and the table at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parent / "results"
BOOK = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks")
    group.addoption("--quick", action="store_true", help="a few layers of each op, short turns")
    group.addoption("--threads", type=int, default=1, help="threads of kernels, BLAS and PyTorch")
    group.addoption("--json", type=Path, help="where to write the result (default: results/)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("python_files", "bench_*.py")


@pytest.fixture(scope="session")
def book(request: pytest.FixtureRequest) -> Iterator[Any]:
    import threadpoolctl

    import nanoconv as nc

    from .book import Book

    config = request.config
    threads = config.getoption("threads")
    try:
        import torch
    except ImportError:
        torch = None
    else:
        torch.set_num_threads(threads)
    before = nc.get_num_threads()
    nc.set_num_threads(threads)
    with threadpoolctl.threadpool_limits(threads):
        config.stash[BOOK] = Book("quick" if config.getoption("quick") else "full", threads, torch)
        yield config.stash[BOOK]
    nc.set_num_threads(before)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    book = config.stash.get(BOOK, None)
    if not book or not (book.rows or book.tiles or book.calls):
        return
    from . import report

    result = book.result()
    terminalreporter.section("benchmarks")
    terminalreporter.write_line(report.text(result))
    machine = result["machine"]
    name = f"{machine['date'][:16].replace(':', '')}-{machine['isa']}-{machine['threads']}.json"
    path = config.getoption("json") or RESULTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    terminalreporter.write_line(f"\nwritten: {path}\nnext: python -m benchmarks.report {path}")
