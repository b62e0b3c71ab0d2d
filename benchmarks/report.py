"""A result file as text, as Markdown, and as a bar chart.

    python -m benchmarks.report RESULT.json            RESULT.md and RESULT.png beside it
    python -m benchmarks.report --short RESULT.json    the same without the table of every layer
    python -m benchmarks.report --ladder RESULT.json   prints what the README shows of the summary

Ratios are of medians; "× NumPy" and "× PyTorch" say how many times faster a rung is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from . import chart
from .layers import NETS
from .reasons import reason
from .rows import (
    LANGUAGES,
    NAMES,
    Row,
    digits,
    family,
    geometric_mean,
    grouped,
    language,
    percent,
    table,
)

SLOWER = 1.1  # auto's pick may take so many times the time of the fastest rung
PATIENCE = 1.5  # and so many times PyTorch's
DIRECTIONS = ("forward", "and back")


# --------------------------------------------------------------------------- the parts


def machine_line(result: dict[str, Any]) -> str:
    m = result["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in m["versions"].items() if v)
    peak = f"{digits(m['peak_gflops'])} GFLOP/s multiply-adds, " if m["peak_gflops"] else ""
    return (
        f"{m['cpu']}, {m['isa'] or 'no compiled kernels'}, {m['threads']} of {m['cpus']} threads: "
        f"{peak}{digits(m['ram_gbs'])} GB/s copy in RAM; load {m['load']}, {m['date']}; {versions}"
    )


def rows_table(rows: list[Row], markdown: bool) -> str:
    """Every rung on every layer of one problem, or of many."""
    header = ("layer", "shape", "n", "rung", "", "ms", "min ms", "GFLOP/s", "GB/s", "of peak",
              "bound by", "× NumPy", "× PyTorch")  # fmt: skip
    body = [
        (
            row["layer"],
            row["shape"],
            str(row["count"]),
            row["rung"],
            "auto" if row["auto"] else "",
            digits(row["ms"]),
            digits(row["min_ms"]),
            digits(row["gflops"]),
            digits(row["gbs"]),
            percent(row["share"]),
            row["bound"],
            digits(row["over_numpy"]),
            digits(row["over_pytorch"]),
        )
        for row in rows
    ]
    return table(header, body, markdown)


def ladder(result: dict[str, Any], of_nets: bool = False) -> str:
    """The summary: for each family and language the geometric mean over all layers.

    `of_nets`   only the ops of the three nets of `layers.py`, and of their layers
    """
    body = []
    whole = [r for r in result["rows"] if not r["part"]]
    if of_nets:
        ops = {layer.op for net in NETS.values() for layer in net} | {"im2col"}
        whole = [r for r in whole if r["op"] in ops and r["layer"].partition(".")[0] in NETS]
    for name, rows in grouped(whole, family).items():
        by_language = grouped(rows, language)
        cells = []
        for lang in LANGUAGES:
            own = by_language.get(lang, [])
            cell = digits(geometric_mean(r["over_numpy"] for r in own))
            against = digits(geometric_mean(r["over_pytorch"] for r in own))
            cells.append(f"{cell} ({against})" if against and lang != "pytorch" else cell)
        body.append((name, str(len({r["layer"] for r in rows})), *cells))
    return table(("", "layers", *NAMES), body)


def too_slow(result: dict[str, Any]) -> list[str]:
    """Where `auto` takes a rung although another one measures faster, by minimum and by median.

    Compared are times on the channels-last arrays for which `auto` chose.
    """
    found = []
    for (problem, layer), rows in grouped(
        result["rows"], lambda r: (r["problem"], r["layer"])
    ).items():
        ours = [r for r in rows if r["rung"] != "pytorch"]
        for auto in (r for r in ours if r["auto"]):
            keys = ("as_is_ms", "as_is_min_ms")
            better = [r for r in ours if all(auto[k] > SLOWER * r[k] for k in keys)]
            if better:
                best = min(better, key=lambda r: r["as_is_ms"])
                found.append(
                    f"{problem} on {layer} ({auto['shape']}): auto takes {auto['rung']}, "
                    f"{digits(auto['as_is_ms'])} ms; {best['rung']} takes "
                    f"{digits(best['as_is_ms'])} ms"
                )
    return found


def over_numpy(rows: list[Row], least: float) -> str:
    """Cython and Numba over the reference and PyTorch, per layer and direction."""
    languages = ("cython", "numba")
    body, reached = [], dict.fromkeys(languages, 0)
    for found in grouped(rows, lambda r: (r["problem"], r["layer"])).values():
        rungs = {language(r): r for r in found}
        cells = [
            digits(rungs[lang][key]) if lang in rungs else ""
            for key in ("over_numpy", "over_pytorch")
            for lang in languages
        ]
        first, ms = found[0], digits(rungs["numpy"]["ms"])
        body.append((first["problem"], first["layer"], first["shape"], ms, *cells))
        for lang in languages:
            reached[lang] += lang in rungs and rungs[lang]["over_numpy"] >= least
    if not body:
        return "Not measured."
    header = ("", "layer", "shape", "NumPy ms", "Cython × NumPy", "Numba × NumPy",
              "Cython × PyTorch", "Numba × PyTorch")  # fmt: skip
    counts = ", ".join(f"{lang.title()} on {n} of {len(body)}" for lang, n in reached.items())
    return f"{table(header, body)}\n\nAt least {least:g}× NumPy: {counts}."


def tile_share(result: dict[str, Any], asked: float = 0.85) -> str:
    """How near the pointwise tile comes to the multiply-adds that the core can do.

    The best of both are compared: what else goes on in a shared machine is not the tile's doing.
    "Alone" is the tile with weights that were packed before; the others are whole calls.
    """
    calls = grouped(
        (r for r in result["rows"] if r["rung"] == "simd.pointwise"), lambda r: r["layer"]
    )
    body, reached = [], 0
    for tile in result["tiles"]:
        alone = tile["gflops"] / tile["peak_gflops"]
        reached += alone >= asked
        shares = {
            r["problem"]: r["gflops"] * r["ms"] / r["min_ms"] / r["best_peak_gflops"]
            for r in calls.get(tile["layer"], [])
            if r["best_peak_gflops"]
        }
        cells = (
            percent(shares.get(f"conv2d.{d}")) for d in ("forward", "input_grad", "weight_grad")
        )
        body.append((tile["layer"], tile["shape"], percent(alone), *cells))
    if not body:
        return "Not measured."
    header = ("layer", "shape", "alone", "forward", "by input", "by weight")
    return f"{table(header, body)}\n\nAt least {percent(asked)} alone: {reached} of {len(body)}."


def whole_calls(result: dict[str, Any]) -> str:
    """Ops without a ladder beside PyTorch's, with the tape and all the Python around."""
    body = []
    for found in grouped(result["calls"], lambda r: (r["op"], r["name"])).values():
        first, both = found[0], {r["direction"]: r for r in found}
        cells = []
        for direction in DIRECTIONS:
            row = both.get(direction)
            cells += [digits(row["ms"]), digits(row["over_pytorch"])] if row else ["", ""]
        body.append((first["op"], first["name"], first["shape"], *cells))
    if not body:
        return "Not measured."
    header = ("", "layer", "input", "forward ms", "× PyTorch", "and back ms", "× PyTorch")
    return table(header, body)


def slower_than_pytorch(result: dict[str, Any]) -> list[str]:
    """What takes more than 1.5 times as long as in PyTorch, by minimum and by median.

    A ladder is judged by the rung that is taken where `use()` says nothing.
    """
    found = []
    for rows in grouped(result["rows"], lambda r: (r["problem"], r["layer"])).values():
        peer = next((r for r in rows if r["rung"] == "pytorch"), None)
        for auto in (r for r in rows if r["auto"] and peer):
            if all(auto[k] > PATIENCE * peer[k] for k in ("ms", "min_ms")):
                found.append((auto["problem"], auto["layer"], auto["shape"], auto, peer["ms"]))
    for r in result["calls"]:
        if max(r["over_pytorch"], r["best_over_pytorch"]) < 1 / PATIENCE:
            title = f"{r['op']} {r['direction']}"
            found.append((title, r["name"], r["shape"], r, r["pytorch_ms"]))
    return [
        f"{problem} on {layer} ({shape}): {digits(ours['ms'])} ms, PyTorch {digits(ms)} ms, "
        f"{digits(ours['ms'] / ms)} times as long: {reason(problem)}"
        for problem, layer, shape, ours, ms in found
    ]


# --------------------------------------------------------------------------- the whole

CAPTION = "Times faster than the NumPy reference (than PyTorch), geometric mean over the layers:"


def missing(result: dict[str, Any]) -> list[str]:
    return [f"{why}: {', '.join(problems)}" for why, problems in result["missing"].items()]


def text(result: dict[str, Any]) -> str:
    """What `pytest benchmarks` prints."""
    rows = [{**r, "layer": f"{r['problem']}  {r['layer']}"} for r in result["rows"]]
    parts = [rows_table(rows, markdown=False), CAPTION, ladder(result), *missing(result)]
    parts += ["The pointwise tile, as a share of the measured multiply-adds:", tile_share(result)]
    parts += ["Whole calls, one after the other with PyTorch's:", whole_calls(result)]
    if slow := slower_than_pytorch(result):
        parts.append("More than 1.5 times PyTorch's time:\n" + "\n".join(slow))
    if slow := too_slow(result):
        parts.append("WARNING: auto takes a rung although another is faster:\n" + "\n".join(slow))
    return "\n\n".join([*parts, machine_line(result)])


def markdown(result: dict[str, Any], picture: str, short: bool = False) -> str:
    """The report for people; if `short`, without the table of every rung on every layer."""
    mobile = [r for r in result["rows"] if r["layer"].startswith("mobilenet_v2.")]
    im2col = ("numpy", "cython.im2col", "numba.direct")
    parts = [
        f"# Benchmarks, {result['machine']['date'][:10]}",
        machine_line(result),
        f"![bar chart]({picture})",
        "## The ladder",
        CAPTION,
        ladder(result),
        "## Depthwise layers of MobileNetV2",
        over_numpy([r for r in mobile if r["op"] == "depthwise_conv2d"], least=5),
        "## im2col and col2im on MobileNetV2",
        over_numpy([r for r in mobile if r["op"] == "im2col"], least=1),
        "## Convolutions of MobileNetV2 by im2col (Cython) and directly (Numba)",
        over_numpy([r for r in mobile if r["op"] == "conv2d" and r["rung"] in im2col], least=1),
        "## The pointwise tile, as a share of the measured multiply-adds",
        tile_share(result),
        "## Whole calls of ops without a ladder",
        "Forward without a tape, and forward and back with it:",
        whole_calls(result),
        "## More than 1.5 times PyTorch's time",
        "\n".join(f"- {line}" for line in slower_than_pytorch(result)) or "Nothing.",
        "## Where auto takes a rung although another is faster",
        "\n".join(f"- {line}" for line in too_slow(result)) or "Nowhere, by more than 10 %.",
        "## Not timed",
        "\n".join(f"- {line}" for line in missing(result)) or "Every rung is installed.",
    ]
    if short:
        return "\n\n".join(parts) + "\n"
    parts.append("## All rungs on all layers")
    for problem, rows in grouped(result["rows"], lambda r: r["problem"]).items():
        parts += [f"### {problem}", rows_table(rows, markdown=True)]
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("result", type=Path, help="a JSON file of `pytest benchmarks`")
    parser.add_argument(
        "--ladder", action="store_true", help="print only the ops of the three nets"
    )
    parser.add_argument("--short", action="store_true", help="no table of every layer")
    options = parser.parse_args(argv)
    result = json.loads(options.result.read_text(encoding="utf-8"))
    if options.ladder:
        print(ladder(result, of_nets=True))
        return
    page, picture = options.result.with_suffix(".md"), options.result.with_suffix(".png")
    chart.draw(result, picture)
    page.write_text(markdown(result, picture.name, options.short), encoding="utf-8")
    print(f"{page}\n{picture}")


if __name__ == "__main__":
    main()
