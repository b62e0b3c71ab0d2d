"""What `benchmarks.peers` measured, as text and as a chart.

A ratio is the best peer's time ÷ nanoconv's: 1.5 means that the best of all others takes half as
long again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .report import machine_line
from .rows import Row, digits, geometric_mean, grouped, table

COLORS = {
    "nanoconv": "#c8283c",
    "onnxruntime": "#3b6fb6",
    "openvino": "#7a4fa3",
    "ncnn": "#4daf4a",
    "pytorch": "#f08a24",
}


def engine_of(row: Row) -> str:
    return row["engine"].partition("@")[0]


def best(rows: Iterable[Row], key: str) -> Row | None:
    return min(rows, key=lambda row: row[key], default=None)


def ratios(rows: list[Row]) -> dict[str, tuple[Row | None, float | None]]:
    """By median and by least time: the best peer on one net, and its time ÷ nanoconv's."""
    found: dict[str, tuple[Row | None, float | None]] = {}
    for key in ("ms", "min_ms"):
        ours = best((r for r in rows if engine_of(r) == "nanoconv"), key)
        peer = best((r for r in rows if engine_of(r) != "nanoconv"), key)
        found[key] = (peer, peer[key] / ours[key] if peer and ours else None)
    return found


def times(row: Row | None) -> str:
    """Milliseconds, median (least)."""
    return f"{digits(row['ms'])} ({digits(row['min_ms'])})" if row else ""


def case_of(row: Row) -> tuple[int, int, int]:
    return row["batch"], row["size"], row["threads"]


def named(case: tuple[int, int, int]) -> str:
    batch, size, threads = case
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}, {size}×{size}"


def line(rows: list[Row]) -> str:
    """One net while the others are still being measured."""
    quiet = [row for row in rows if not row["load"]]
    if not quiet:
        return "no engine left"
    cells = (f"{row['engine']} {times(row)}" for row in quiet)
    return f"{quiet[0]['net']}, {named(case_of(quiet[0]))}: {'; '.join(cells)}"


def rates(row: Row | None) -> str:
    """Images per second, by median (by the least time)."""
    if row is None:
        return ""
    by_median, by_least = (digits(1e3 * row["batch"] / row[key]) for key in ("ms", "min_ms"))
    return f"{by_median} ({by_least})"


def engines_in(rows: list[Row]) -> list[str]:
    return [name for name in COLORS if any(engine_of(row) == name for row in rows)]


def comparison(rows: list[Row], cell: Callable[[Row | None], str]) -> str:
    """A line for each net: every engine by its best way, and the ratios; their means come last."""
    engines, body, found = engines_in(rows), [], []
    for net, mine in grouped(rows, lambda row: row["net"]).items():
        by_engine, both = grouped(mine, engine_of), ratios(mine)
        found.append(both)
        peer = both["ms"][0]
        body.append(
            (
                net,
                *(cell(best(by_engine[name], "ms") if name in by_engine else None)
                  for name in engines),
                peer["engine"] if peer else "",
                *(digits(both[key][1]) for key in both),
            )
        )  # fmt: skip
    means = (digits(geometric_mean(both[key][1] for both in found)) for key in ("ms", "min_ms"))
    body.append(("geometric mean", *[""] * (len(engines) + 1), *means))
    header = ("net", *engines, "best peer", "× median", "× least")
    return table(header, body, markdown=False)


def scaling(rows: list[Row]) -> str:
    """How many times as fast each engine is on the most threads as on the fewest, by median."""
    least, most = min(row["threads"] for row in rows), max(row["threads"] for row in rows)
    engines, body = engines_in(rows), []
    for net, mine in grouped(rows, lambda row: row["net"]).items():
        cells = []
        for name in engines:
            few, many = (
                best((r for r in mine if engine_of(r) == name and r["threads"] == n), "ms")
                for n in (least, most)
            )
            cells.append(digits(few["ms"] / many["ms"]) if few and many else "")
        body.append((net, *cells))
    return table((f"{most} threads ÷ {least}", *engines), body, markdown=False)


def slowdowns(rows: list[Row]) -> str:
    """How many times as long each engine takes beside a busy process, by median."""
    ours, other = "nanoconv", "onnxruntime"
    body = []
    for (net, case), mine in grouped(rows, lambda row: (row["net"], case_of(row))).items():
        slower = {}
        for name in (ours, other):
            pair = [
                best((r for r in mine if engine_of(r) == name and r["load"] == load), "ms")
                for load in (False, True)
            ]
            if pair[0] and pair[1]:
                slower[name] = pair[1]["ms"] / pair[0]["ms"]
        ratio = slower[ours] / slower[other] if len(slower) == 2 else None
        cells = (digits(slower.get(name)) for name in (ours, other))
        body.append((net, named(case), *cells, digits(ratio)))
    return table(("net", "", ours, other, "ratio"), body, markdown=False)


def text(result: dict[str, Any]) -> str:
    """What the command prints."""
    parts = []
    quiet = [row for row in result["rows"] if not row["load"]]
    for case, rows in grouped(quiet, case_of).items():
        several = case[0] > 1
        unit = "images per second, by median (least time)" if several else "ms, median (least)"
        parts += [f"{named(case)}: {unit}", comparison(rows, rates if several else times)]
    for (batch, size), rows in grouped(quiet, lambda row: (row["batch"], row["size"])).items():
        if len({row["threads"] for row in rows}) > 1:
            parts += [f"Times as fast, batch {batch}, {size}×{size}:", scaling(rows)]
    if any(row["load"] for row in result["rows"]):
        parts += ["Beside a busy process, times as long as without it, by median:"]
        parts += [slowdowns(result["rows"])]
    for why, where in result["missing"].items():
        parts.append(f"Left out: {why}" + (f" ({', '.join(where)})" if where else ""))
    return "\n\n".join([*parts, machine_line(result)])


# --------------------------------------------------------------------------- the chart


def draw(result: dict[str, Any], path: Path) -> None:
    """A panel for each case: every engine's median ÷ nanoconv's, on every net."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    cases = grouped((row for row in result["rows"] if not row["load"]), case_of)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(
        len(cases), 1, figsize=(11, 0.8 + 3.2 * len(cases)), layout="constrained", squeeze=False
    )
    for axes, (case, rows) in zip(panels[:, 0], cases.items(), strict=True):
        draw_case(axes, named(case), rows)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color, label=n) for n, color in COLORS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    machine = result["machine"]
    figure.suptitle(
        f"Whole networks in float32, time ÷ nanoconv's (higher: slower than nanoconv)\n"
        f"{machine['cpu']}, {machine['date'][:10]}"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_case(axes: Any, title: str, rows: list[Row]) -> None:
    """Nets from left to right; a bar for each engine by its best way, labelled in milliseconds."""
    nets = grouped(rows, lambda row: row["net"])
    width = 0.8 / len(COLORS)
    for k, mine in enumerate(nets.values()):
        ours = best((row for row in mine if engine_of(row) == "nanoconv"), "ms")
        if ours is None:
            continue
        for j, (name, color) in enumerate(COLORS.items()):
            row = best((row for row in mine if engine_of(row) == name), "ms")
            if row:
                place = k + (j - (len(COLORS) - 1) / 2) * width
                bar = axes.bar(place, row["ms"] / ours["ms"], width, color=color, zorder=2)
                axes.bar_label(bar, [digits(row["ms"])], fontsize=6, rotation=90, padding=2)
    axes.axhline(1, color=COLORS["nanoconv"], linewidth=1, zorder=3)
    axes.grid(axis="y", color="#e4e4e4", zorder=0)
    axes.set_xticks(range(len(nets)), list(nets))
    axes.set_ylabel("time ÷ nanoconv's")
    axes.set_title(f"{title}, labels in milliseconds", fontsize=9)
    axes.margins(y=0.15)
