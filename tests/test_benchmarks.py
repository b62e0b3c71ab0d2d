"""The benchmarks: the layer tables are the networks', every ladder is timed, reports render."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nanoconv as nc

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # last: an installed nanoconv stays in front of the source tree's

from benchmarks import eager, measure, reasons, report, start, zoo  # noqa: E402
from benchmarks.book import better_formats  # noqa: E402
from benchmarks.calls import CALLS  # noqa: E402
from benchmarks.layers import LAYERS, NETS, quick_layers  # noqa: E402
from benchmarks.problems import (  # noqa: E402
    all_ladders,
    arrays_in,
    channels_last,
    complaint,
    mismatch,
    problems_of,
    truth_and_bounds,
)

SMALLEST = {layer.op: layer for layer in reversed(quick_layers())}  # they come smallest first


# --------------------------------------------------------------------------- the layers


@pytest.mark.parametrize(
    ("net", "macs", "convolutions"),
    [
        ("mobilenet_v2", 299_494_272, 52),
        ("shufflenet_v2", 143_883_992, 56),
        ("squeezenet", 349_151_936, 26),
    ],
)
def test_layers_add_up_to_the_published_network(net, macs, convolutions):
    found = [layer for layer in NETS[net] if layer.op in ("conv2d", "depthwise_conv2d")]
    assert sum(layer.count * layer.macs for layer in found) == macs
    assert sum(layer.count for layer in found) == convolutions


def test_each_layer_has_a_name_of_its_own():
    names = [(layer.op, layer.name) for layer in LAYERS]
    assert len(set(names)) == len(names)
    shapes = [(layer.net, layer.op, layer.x, layer.w, str(layer.attrs)) for layer in LAYERS]
    assert len(set(shapes)) == len(shapes)
    (layer,) = (layer for layer in NETS["mobilenet_v2"] if layer.name == "mobilenet_v2.block3.dw")
    assert (layer.x, layer.w, layer.title) == ((1, 144, 56, 56), (144, 1, 3, 3), "144 3×3, 56×56")


# --------------------------------------------------------------------------- the problems


@pytest.fixture(scope="module")
def problems():
    return [problem for layer in SMALLEST.values() for problem in problems_of(layer)]


# Of these, which need probabilities or have no gradient of one name, whole calls are timed.
WHOLE = ("kl_div", "binary_cross_entropy", "sigmoid_focal_loss", "cumsum")


def test_quick_mode_times_every_rung_of_every_ladder(problems):
    assert {call.op for call in CALLS} >= set(WHOLE)
    rungs = {problem.name: problem.rungs for problem in problems}
    ladders = {n: ladder for n, ladder in all_ladders().items() if not n.startswith(WHOLE)}
    assert set(ladders) <= set(rungs)
    assert all(rungs[name] == ladder.rungs for name, ladder in ladders.items())


def test_every_ladder_of_the_package_is_found():
    """`all_ladders` looks for them in the op files: none may be made elsewhere."""
    made = sum(
        path.read_text(encoding="utf-8").count("= Ladder(")
        for path in (ROOT / "nanoconv").rglob("*.py")
    )
    assert 10 < made <= len(all_ladders())


def test_the_reference_passes_the_check_in_both_formats(problems):
    for problem in problems:
        expected = truth_and_bounds(problem)
        for args in (problem.args, problem.arguments(channels_last)):
            assert complaint(problem.run("numpy", *args), expected) == "", problem.name


def test_a_wrong_result_fails_the_check(problems):
    for problem in problems:
        expected = truth_and_bounds(problem)
        results = arrays_in(problem.run("numpy", *problem.args))
        for k, (result, (truth, _)) in enumerate(zip(results, expected, strict=True)):
            changed = [array.copy() for array in results]
            place = (-1,) * result.ndim
            changed[k][place] += 1 if truth.dtype.kind != "f" else np.abs(truth).max() / 2
            assert complaint(tuple(changed), expected), problem.name
            changed[k][...] = 0
            assert mismatch(tuple(changed), expected), problem.name
            changed[k] = np.full_like(result, -1 if truth.dtype.kind != "f" else np.nan)
            assert complaint(tuple(changed), expected), problem.name
        assert complaint((), expected)
        assert mismatch((), expected)


# --------------------------------------------------------------------------- taking turns


def test_everybody_gets_turns():
    calls = dict.fromkeys("abc", 0)

    def run(name):
        calls[name] += 1

    times = measure.take_turns({name: lambda name=name: run(name) for name in calls}, seconds=0)
    assert {name: len(samples) >= 5 for name, samples in times.items()} == dict.fromkeys(
        "abc", True
    )
    assert all(calls[name] > len(times[name]) for name in calls)  # a warm call before each turn


def test_the_better_memory_format_counts():
    times = {"numpy@contiguous": [3.0, 1.0, 3.0], "numpy@channels_last": [2.0], "loops": [9.0]}
    assert better_formats(times) == {"numpy": ("channels_last", [2.0]), "loops": ("", [9.0])}


@pytest.mark.parametrize("threads", [1, 2])
def test_the_copy_moves_the_bytes(threads):
    for nbytes in (0, 1000, 1 << 21):
        measure.copy_of(nbytes, threads)()


# --------------------------------------------------------------------------- reports


def row(rung, ms, **changes):
    return {
        "problem": "conv2d.forward", "part": False, "op": "conv2d", "place": 0,
        "layer": "mobilenet_v2.block12.expand", "shape": "96→576 1×1, 14×14", "kernel": 1,
        "channels": 96, "count": 3, "rung": rung, "format": "contiguous", "auto": False, "ms": ms,
        "min_ms": ms, "as_is_ms": ms, "as_is_min_ms": ms, "runs": 9, "gflops": 20 / ms,
        "gbs": 2 / ms, "peak_gflops": 100.0, "best_peak_gflops": 100.0, "copy_gbs": 20.0,
        "bound": "multiply-adds", "share": 0.2 / ms, "over_numpy": 1 / ms, "over_pytorch": 0.5 / ms,
    } | changes  # fmt: skip


@pytest.fixture
def result():
    depthwise = {
        "problem": "depthwise_conv2d.forward", "op": "depthwise_conv2d", "kernel": 3, "place": 1,
        "layer": "mobilenet_v2.block3.dw", "shape": "144 3×3, 56×56", "bound": "memory",
    }  # fmt: skip
    return {
        "machine": {
            "cpu": "Example CPU", "cpus": 2, "isa": "avx2", "threads": 1, "load": 0.1,
            "date": "2026-01-31T12:00:00+00:00", "system": "Linux", "ram_gbs": 9.0,
            "peak_gflops": 100.0, "versions": {"numpy": "2.4", "torch": None},
        },
        "mode": "quick",
        "tiles": [
            {
                "layer": "mobilenet_v2.block12.expand", "shape": "96→576 1×1, 14×14",
                "gflops": 95.0, "peak_gflops": 100.0,
            },
        ],
        "calls": [
            {
                "op": "gather", "name": "rows", "shape": "64×1000", "direction": direction,
                "ms": ms, "pytorch_ms": 0.1, "over_pytorch": 0.1 / ms,
                "best_over_pytorch": 0.1 / ms,
            }
            for direction, ms in (("forward", 0.25), ("and back", 0.12))
        ],
        "missing": {"numba.direct is not installed": ["conv2d.forward"]},
        "rows": [
            row("simd.pointwise", 0.22, auto=True),
            row("cython.im2col", 0.16),
            row("numpy", 1.0),
            row("pytorch", 0.5),
            row("cython.direct", 0.1, auto=True, **depthwise),
            row("numba.direct", 0.25, **depthwise),
            row("numpy", 1.0, **depthwise),
        ],
    }  # fmt: skip


def test_the_summary_is_the_geometric_mean(result):
    other = "squeezenet.conv10"
    result["rows"] += [row("simd.pointwise", 0.055, layer=other), row("numpy", 1.0, layer=other)]
    lines = report.ladder(result).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert len({len(line) for line in lines}) == 1
    pointwise = dict(
        zip(cells[0], next(c for c in cells if c[0] == "conv2d 1×1, forward"), strict=True)
    )
    assert (pointwise["layers"], pointwise["SIMD"]) == ("2", "9.09 (4.55)")
    assert (pointwise["Cython"], pointwise["PyTorch"], pointwise["loops"]) == (
        "6.25 (3.12)",
        "2.00",
        "",
    )


def test_auto_is_blamed_for_a_slower_rung_only(result):
    (line,) = report.too_slow(result)
    assert "auto takes simd.pointwise" in line
    assert "cython.im2col takes 0.160 ms" in line
    result["rows"][0]["as_is_min_ms"] = 0.16  # the median alone may be noise
    assert report.too_slow(result) == []


def test_asked_figures(result):
    depthwise = report.over_numpy([r for r in result["rows"] if r["place"] == 1], least=5)
    assert depthwise.endswith("At least 5× NumPy: Cython on 1 of 1, Numba on 0 of 1.")
    share = report.tile_share(result)
    assert "91 %" in share
    assert "95 %" in share
    assert share.endswith("At least 85 % alone: 1 of 1.")
    assert report.tile_share(result | {"tiles": []}) == "Not measured."


def test_whole_calls_and_what_is_slower_than_pytorch(result):
    table = report.whole_calls(result)
    assert (
        "| gather | rows  | 64×1000 |      0.250 |     0.400 |       0.120 |     0.833 |" in table
    )
    assert report.whole_calls(result | {"calls": []}) == "Not measured."
    slow = report.slower_than_pytorch(result)
    assert slow[-1].startswith("gather forward on rows (64×1000): 0.250 ms, PyTorch 0.100 ms, 2.50")
    assert slow[-1].endswith(reasons.REASONS["gather"])
    assert sum("gather" in line for line in slow) == 1
    assert reasons.reason("never heard of") == "not looked into"


def test_every_reason_is_of_an_op_that_is_timed():
    ops = {call.op for call in CALLS} | {layer.op for layer in LAYERS}
    for name in reasons.REASONS:
        assert any(op.startswith(name.partition(".")[0]) for op in ops), name


def test_markdown_and_picture(result, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    report.main(["--ladder", str(path)])
    assert capsys.readouterr().out.strip() == report.ladder(result)
    report.main([str(path)])
    page = (tmp_path / "result.md").read_text(encoding="utf-8")
    assert "![bar chart](result.png)" in page
    assert "### depthwise_conv2d.forward" in page
    report.main(["--short", str(path)])
    short = (tmp_path / "result.md").read_text(encoding="utf-8")
    assert page.startswith(short)
    assert "## The pointwise tile" in short
    assert "###" not in short
    picture = (tmp_path / "result.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


# --------------------------------------------------------------------------- the commands


def test_the_command_times_a_layer_and_writes_json(tmp_path):
    pytest.importorskip("threadpoolctl")
    path = tmp_path / "out.json"
    process = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "benchmarks", "--quick", "--json", str(path),
         "-k", "block14.dw.act-relu6"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(Path(nc.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=250,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert "relu6.backward" in process.stdout
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert {r["problem"] for r in rows} == {"relu6.forward", "relu6.backward"}
    assert all(r["ms"] >= r["min_ms"] > 0 and r["share"] > 0 for r in rows)
    assert sum(r["auto"] for r in rows) == 2


def test_start_prints_the_ratio(capsys):
    start.main(["--rounds", "1"])
    assert "ratio" in capsys.readouterr().out


def test_eager_measures_networks_that_agree(monkeypatch):
    pytest.importorskip("torch")
    try:
        zoo.torchvision()
    except ImportError:
        pytest.skip("torchvision is not installed")
    monkeypatch.setattr(eager, "NETWORKS", ("shufflenet_v2_x0_5",))
    monkeypatch.setattr(eager, "BATCHES", (2,))
    monkeypatch.setattr(eager, "SIZE", 64)
    before = nc.get_num_threads(), torch_threads()
    try:
        (found,) = eager.measure(1, 0)
    finally:
        nc.set_num_threads(before[0])
        torch_threads(before[1])
    assert list(found["times"]) == ["nanoconv", "PyTorch", "channels last"]
    assert eager.row(found)[:3] == ["shufflenet_v2_x0_5", "2", "1"]
    with pytest.raises(
        ValueError, match=r"shufflenet: the scores differ from PyTorch's by 1\.0e\+00"
    ):
        eager.check("shufflenet", {"nanoconv": np.zeros(3), "PyTorch": np.ones(3)})


def torch_threads(count: int | None = None) -> int:
    import torch

    if count is not None:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def test_eager_compares_with_the_quicker_format():
    times = {
        "nanoconv": [2.0, 2.0, 8.0],
        "PyTorch": [3.0, 4.0, 5.0],
        "channels last": [1.0, 6.0, 7.0],
    }
    assert eager.speeds(times) == [0.5, 2.0]  # of the least, of the medians


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_eager_measures_what_loading_takes(tmp_path):
    path = tmp_path / "net.safetensors"
    nc.save({"weight": np.ones(1 << 22, np.float32)}, path)
    found = eager.load(path, 2)
    assert len(found["seconds"]) == 2
    assert found["peak"] > eager.load("numpy")["peak"] + (1 << 24)
