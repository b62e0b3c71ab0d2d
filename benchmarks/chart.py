"""The bar chart of a result: the ladder on famous layers above, each net beside PyTorch below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .rows import Row, digits, grouped, language

COLORS = {
    "loops": "#a6761d",
    "numba.loops": "#d9c48f",
    "numpy": "#8a8a8a",
    "numba": "#4daf4a",
    "cython": "#f08a24",
    "simd": "#c8283c",
    "pytorch": "#3b6fb6",
}
FAMOUS = (  # problem, window size, the layer to show if it was measured, title
    ("conv2d.forward", 3, "squeezenet.fire4.expand3x3", "3×3 convolution"),
    ("conv2d.forward", 1, "mobilenet_v2.block12.expand", "pointwise convolution"),
    ("depthwise_conv2d.forward", 3, "mobilenet_v2.block3.dw", "depthwise convolution"),
    ("depthwise_conv2d.weight_grad", 3, "mobilenet_v2.block3.dw", "its weight gradient"),
)
NETS = {
    "mobilenet_v2": "MobileNetV2",
    "shufflenet_v2": "ShuffleNetV2 1.0×",
    "squeezenet": "SqueezeNet 1.1",
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Write the chart as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    layers = {net: convolutions(result["rows"], net) for net in NETS}
    layers = {net: found for net, found in layers.items() if found}
    figure = plt.figure(figsize=(15, 9.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(0.85, 1), hspace=0.04)
    above.suptitle(
        "The ladder: milliseconds of one layer, shorter is better (bold: the rung that is chosen)",
        fontsize=11,
    )
    for axes, famous in zip(above.subplots(1, len(FAMOUS)), FAMOUS, strict=True):
        draw_ladder(axes, result["rows"], *famous)
    below.suptitle(
        "Forward convolutions: how many times faster than PyTorch (bars: the rung that is chosen)",
        fontsize=11,
    )
    if layers:
        widths = [len(found) + 3 for found in layers.values()]
        panels = below.subplots(1, len(layers), sharey=True, squeeze=False, width_ratios=widths)[0]
        for axes, (net, found) in zip(panels, layers.items(), strict=True):
            draw_net(axes, NETS[net], found)
        panels[0].set_ylabel("× PyTorch")
        legend(below, plt)
    m = result["machine"]
    threads = f"{m['threads']} thread{'s' if m['threads'] > 1 else ''}"
    figure.suptitle(
        f"nanoconv on {m['cpu']}, {m['isa'] or 'no compiled kernels'}, {threads}, batch 1, "
        f"224×224 pixels, {m['date'][:10]}",
        fontsize=13,
        fontweight="bold",
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_ladder(
    axes: Any, rows: list[Row], problem: str, kernel: int, layer: str, title: str
) -> None:
    """One layer: a horizontal bar for each rung, the slowest at the top."""
    layers = grouped(
        (r for r in rows if r["problem"] == problem and r["kernel"] == kernel),
        lambda r: r["layer"],
    )
    if not layers:
        axes.set_axis_off()
        return
    layer = layer if layer in layers else next(iter(layers))
    rungs = sorted(layers[layer], key=lambda r: r["ms"])
    bars = axes.barh(
        [r["rung"] for r in rungs],
        [r["ms"] for r in rungs],
        color=[COLORS[language(r)] for r in rungs],
        log=True,
    )
    for row, tick in zip(rungs, axes.get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if row["auto"] else "normal")
    axes.bar_label(bars, [f" {digits(r['ms'])}" for r in rungs])
    axes.margins(x=0.18)
    axes.set_xlim(left=min(r["ms"] for r in rungs) / 3)
    net, _, place = layer.partition(".")
    axes.set_title(f"{title}\n{NETS[net]} {place}\n{rungs[0]['shape']}", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.9g}")
    axes.xaxis.set_minor_formatter("")


def convolutions(rows: list[Row], net: str) -> dict[str, list[Row]]:
    """The rungs of each forward convolution of a net, in the order in which it runs them."""
    wanted = [
        r for r in rows
        if r["problem"] in ("conv2d.forward", "depthwise_conv2d.forward")
        and r["layer"].startswith(f"{net}.")
        and r["over_pytorch"]
    ]  # fmt: skip
    return grouped(sorted(wanted, key=lambda r: r["place"]), lambda r: r["layer"])


def draw_net(axes: Any, title: str, layers: dict[str, list[Row]]) -> None:
    """A net: for each layer a bar from 1 to the rung that is chosen, dots for the others."""
    from matplotlib.ticker import LogLocator, NullLocator

    for k, rows in enumerate(layers.values()):
        for row in rows:
            ratio, color = row["over_pytorch"], COLORS[language(row)]
            if row["auto"]:
                axes.bar(k, ratio - 1, bottom=1, width=0.7, color=color, zorder=2)
            elif language(row) in ("numpy", "numba", "cython"):
                axes.plot(k, ratio, "o", color=color, markersize=4, zorder=3)
    axes.axhline(1, color=COLORS["pytorch"], linewidth=1.5, zorder=4)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#e4e4e4", zorder=0)
    axes.set_xticks(range(len(layers)), [name.partition(".")[2] for name in layers], rotation=90)
    axes.set_xlim(-0.8, len(layers) - 0.2)
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.set_title(title, fontsize=10)


def legend(figure: Any, plt: Any) -> None:
    names = {"simd": "SIMD", "cython": "Cython", "numba": "Numba", "numpy": "NumPy"}
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLORS[key], label=names[key]) for key in names]
    handles.append(plt.Line2D([], [], color=COLORS["pytorch"], label="PyTorch"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
