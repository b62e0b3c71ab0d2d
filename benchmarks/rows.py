"""Rows of a result: how they are grouped, averaged and printed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

Row = dict[str, Any]
LANGUAGES = ("loops", "numba.loops", "numpy", "numba", "cython", "simd", "pytorch")
NAMES = ("loops", "the same in Numba", "NumPy", "Numba", "Cython", "SIMD", "PyTorch")
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "gelu",
    "gelu_tanh", "mish", "softplus", "softsign", "logsigmoid", "elu", "selu", "celu", "hardtanh",
    "hardshrink", "softshrink", "threshold",
)  # fmt: skip
NUMBER = r"([\d.,]+( %)?( \([\d.,]+\))?)?"


def digits(value: float | None, unit: str = "") -> str:
    """Three significant digits; nothing for nothing."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}{unit}"
    places = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(places, 5)}f}{unit}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def table(header: Iterable[str], rows: Iterable[Iterable[str]], markdown: bool = True) -> str:
    """Columns of equal width, words to the left and numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [
        all(re.fullmatch(NUMBER, cell) for cell in column)
        for column in zip(*lines[1:], strict=True)
    ] or [False] * len(widths)

    def line(cells: list[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    dashes = [
        "-" * (w - 1) + (":" if right else "-") for w, right in zip(widths, numeric, strict=True)
    ]
    rule = f"| {' | '.join(dashes)} |" if markdown else "─" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])


def geometric_mean(values: Iterable[float | None]) -> float | None:
    logs = [math.log(v) for v in values if v]
    return math.exp(sum(logs) / len(logs)) if logs else None


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def language(row: Row) -> str:
    """The column of the ladder that a rung stands in."""
    return row["rung"] if row["rung"] in LANGUAGES else row["rung"].partition(".")[0]


def family(row: Row) -> str:
    """What is averaged: "conv2d 1×1, forward", "activations, backward" …"""
    name, _, direction = row["problem"].partition(".")
    if row["op"] in ACTIVATIONS:
        name = "activations"
    elif row["op"] == "conv2d":
        name += f" {row['kernel']}×{row['kernel']}"
    elif row["op"] == "conv_transpose2d":  # which runs the gradients of the others forward
        name = f"transposed: {name}"
    return f"{name}, {direction.replace('_', ' ')}" if direction else name
