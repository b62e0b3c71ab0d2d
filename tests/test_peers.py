"""The race against other engines: the exported networks are the networks, the ratios are ratios."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # last: an installed nanoconv stays in front of the source tree's

from benchmarks import peers, peers_report, peers_start  # noqa: E402
from benchmarks.engines import ENGINES, Task, burst, by_image, image  # noqa: E402
from benchmarks.networks import NETS, fold, network, record  # noqa: E402
from benchmarks.onnx_models import export  # noqa: E402

SMALL = ("mobilenet_v2_0.35", "mobilenet_v3_small", "shufflenet_v1", "shufflenet_v2_x0_5",
         "squeezenet1_1")  # fmt: skip


class Pieces(nn.Module):
    """What none of the small networks does: uneven means, windows that hang over, a lone norm."""

    def __init__(self, stop: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.means = nn.AdaptiveAvgPool2d((7, 5))
        self.same = nn.AdaptiveAvgPool2d((7, 5))
        self.stop = stop

    def forward(self, x):
        x = self.pool(self.norm(x))
        x = nc.cat([x[:, 1 : self.stop], x[:, :1]], 1)
        return nc.flatten(self.same(self.means(x)), 1)


@pytest.fixture(scope="module", params=[*SMALL, "pieces"])
def exported(request, tmp_path_factory):
    """A network's file with folded norms, one without, its input and its own logits."""
    pytest.importorskip("onnx")
    name = request.param
    model = Pieces(3).eval() if name == "pieces" else network(name)
    x, directory = image(2, 65), tmp_path_factory.mktemp(name)
    made = record(model, x)
    paths = directory / "folded.onnx", directory / "as_is.onnx"
    export(fold(made), paths[0])
    export(made, paths[1])
    with nc.no_grad():
        return paths, x, model(nc.tensor(x)).numpy()


# --------------------------------------------------------------------------- the models


def test_onnxruntime_computes_the_same(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    paths, x, y = exported
    for path in paths:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert peers.difference(session.run(None, {"x": x})[0], y) < peers.FAR


def test_pytorch_computes_the_same(exported):
    torch = pytest.importorskip("torch")
    from benchmarks.torch_models import module

    paths, x, y = exported
    for path in paths:
        with torch.inference_mode():
            assert peers.difference(module(path)(torch.from_numpy(x)).numpy(), y) < peers.FAR


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "shufflenet_v1"])
def test_folding_leaves_no_batch_norm_and_no_constant_unread(name):
    made = record(network(name), image(1, 64))
    folded = fold(made)
    ops = [step.op for step in made.steps]
    assert [step.op for step in folded.steps] == [op for op in ops if op != "batch_norm"]
    assert folded.output == made.output
    assert set(folded.constants) == {
        name for step in folded.steps for name in step.inputs if name in folded.constants
    }
    assert fold(folded) == folded


def test_what_cannot_be_exported_is_named(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=r"getitem takes .* of \(1, 3, 16, 16\), expected slices"):
        export(record(Pieces(2).eval(), image(1, 32)), tmp_path / "part.onnx")
    with pytest.raises(ValueError, match=r"there is no writer for gelu, only for conv2d, "):
        export(record(nn.GELU(), image(1, 8)), tmp_path / "gelu.onnx")
    assert not list(tmp_path.iterdir())


def test_every_network_is_there():
    for builder, _ in NETS.values():
        assert builder in nc.models.names()


def test_random_networks_do_not_die_out():
    """Each image has logits of its own, far from zero and from infinity."""
    for name in SMALL:
        with nc.no_grad():
            y = network(name)(nc.tensor(image(2, 64))).numpy()
        assert 1e-4 < np.abs(y).max() < 1e4, name
        assert peers.difference(y[:1], y[1:]) > peers.FAR, name


# --------------------------------------------------------------------------- the race


def test_difference():
    y = np.array([[1.0, -2.0]])
    assert peers.difference([[1.0, -1.0]], y) == 0.5
    assert peers.difference([[1.0, -1.0, 0.0]], y) == np.inf
    assert peers.difference([[1.0, np.nan]], y) == np.inf


def test_a_burst_is_long_enough():
    calls = []
    assert len(burst(calls.append, image(1, 1), 0, 3)) == 3
    assert len(calls) > 3  # unmeasured ones before
    assert sum(burst(lambda x: None, image(1, 1), 0.01, 1)) <= 0.02


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_images_one_by_one_keep_their_order(threads):
    seen = []

    def one(task):
        assert (task.batch, task.threads) == (1, 1)
        return lambda x: seen.append(x.shape) or x.sum((2, 3))

    x = image(7, 4)
    y = by_image(Task("e", "n", 4, 7, threads, ""), one)(x)
    assert seen == [(1, 3, 4, 4)] * 7
    np.testing.assert_array_equal(y, [image.sum((1, 2)) for image in x])


def test_a_process_says_why_it_cannot(tmp_path):
    task = Task("onnxruntime@spinning", "resnet18", 64, 1, 1, str(tmp_path))
    for asked, said in ((task, "onnx"), (replace(task, engine="none"), "KeyError: 'none'")):
        worker = peers.Worker(asked)
        assert said in worker.ready["error"]
        worker.close()
    missing = {}
    assert peers.race([task], np.zeros((1, 1000)), 1, 0, 1, False, missing) == []
    assert list(missing.values()) == [["resnet18 at 64, batch 1"]]


def test_ways():
    assert peers.ways(["openvino", "ncnn"], 1) == ["openvino@latency", "ncnn"]
    assert peers.ways(["ncnn"], 2) == ["ncnn", "ncnn@by image"]
    assert peers.ways(["pytorch@eager"], 1) == ["pytorch@eager"]
    assert {peers.family(name) for name in ENGINES} == set(peers.PACKAGES)
    assert set(peers_report.COLORS) == set(peers.PACKAGES)


def test_absent_engines_are_named(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda package: None)
    missing = {}
    assert peers.installed(["ncnn", "pytorch@eager"], missing) == []
    assert list(missing) == ["ncnn: pip install ncnn pnnx onnx", "pytorch: pip install torch onnx"]


def test_the_command(tmp_path, capsys):
    for package in ("onnx", "onnxruntime", "matplotlib"):
        pytest.importorskip(package)
    out, chart = tmp_path / "peers.json", tmp_path / "peers.svg"
    peers.main(
        ["--nets", "shufflenet_v2_x0_5", "--sizes", "64", "--batch", "1", "2", "--threads", "1",
         "--engines", "onnxruntime", "--rounds", "2", "--seconds", "0", "--runs", "2", "--load",
         "--models", str(tmp_path), "--json", str(out), "--chart", str(chart)]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "1 thread, batch 2, 64×64: images per second" in printed
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {(r["batch"], r["engine"].partition("@")[2], r["load"]) for r in result["rows"]} == {
        (batch, way, load)
        for batch, way in ((1, "spinning"), (1, "no spinning"), (2, "spinning"),
                           (2, "no spinning"), (2, "by image"))
        for load in (False, True)
    }  # fmt: skip
    assert all(r["runs"] == 4 and r["error"] < peers.FAR for r in result["rows"])
    assert chart.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("wrong", [["--threads", "0"], ["--rounds", "0"], ["--nets", "lenet"]])
def test_wrong_options(wrong, capsys):
    with pytest.raises(SystemExit):
        peers.main(wrong)
    assert f"{wrong[0]}: " in capsys.readouterr().err


# --------------------------------------------------------------------------- the tables


def row(engine, ms, min_ms, net="a", **changes):
    return {
        "net": net, "size": 224, "batch": 1, "threads": 1, "load": False, "engine": engine,
        "ms": ms, "min_ms": min_ms, "runs": 9, "error": 0.0,
    } | changes  # fmt: skip


ROWS = [
    row("nanoconv", 2.0, 1.0),
    row("onnxruntime@spinning", 4.0, 3.0),
    row("onnxruntime@no spinning", 5.0, 2.5),
    row("ncnn", 6.0, 2.0),
    row("nanoconv", 1.0, 1.0, "b"),
    row("ncnn", 8.0, 8.0, "b"),
]


def test_the_best_peer_by_median_may_not_be_the_best_by_least_time():
    both = peers_report.ratios(ROWS[:4])
    assert [(peer["engine"], ratio) for peer, ratio in both.values()] == [
        ("onnxruntime@spinning", 2.0),
        ("ncnn", 2.0),
    ]
    assert peers_report.ratios(ROWS[1:4])["ms"] == (ROWS[1], None)
    assert peers_report.ratios(ROWS[:1])["ms"] == (None, None)


def test_the_table_ends_with_the_geometric_mean():
    lines = peers_report.comparison(ROWS, peers_report.times).splitlines()
    assert lines[0].split()[:4] == ["net", "nanoconv", "onnxruntime", "ncnn"]
    assert [line.split()[-2:] for line in lines[2:4]] == [["2.00", "2.00"], ["8.00", "8.00"]]
    assert "onnxruntime@spinning" in lines[2]
    assert lines[4].split() == ["geometric", "mean", "4.00", "4.00"]  # √(2·8)


def test_batches_are_rated_in_images_per_second():
    assert peers_report.rates(row("ncnn", 20.0, 10.0, batch=8)) == "400 (800)"


def test_scaling_and_slowdown():
    rows = [*ROWS[:2], row("nanoconv", 1.25, 1, threads=2), row("onnxruntime@spinning", 2.5, 2,
            threads=2)]  # fmt: skip
    assert peers_report.scaling(rows).splitlines()[-1].split() == ["a", "1.60", "1.60"]
    rows = [*ROWS[:2], row("nanoconv", 6.0, 1, load=True), row("onnxruntime@spinning", 8.0, 1,
            load=True)]  # fmt: skip
    assert peers_report.slowdowns(rows).splitlines()[-1].split()[-3:] == ["3.00", "2.00", "1.50"]


def test_the_report_and_its_chart(tmp_path):
    pytest.importorskip("matplotlib")
    machine = {
        "cpu": "Example CPU", "cpus": 2, "isa": "avx2", "threads": 2, "load": 0.1, "ram_gbs": 9.0,
        "date": "2026-01-31T12:00:00+00:00", "peak_gflops": 100.0, "versions": {"ncnn": None},
    }  # fmt: skip
    rows = [*ROWS, row("nanoconv", 3.0, 1, load=True), row("nanoconv", 1.0, 1, threads=2)]
    missing = {"ncnn: no": ["a"], "openvino: pip install openvino": []}
    result = {"machine": machine, "rows": rows, "missing": missing}
    text = peers_report.text(result)
    assert "Left out: ncnn: no (a)\n\nLeft out: openvino: pip install openvino\n" in text
    assert "Beside a busy process" in text
    peers_report.draw(result, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


# --------------------------------------------------------------------------- starting


def test_the_first_answer_of_a_process():
    seconds, peak = peers_start.first_answer(peers_start.CODE["import numpy"].format())
    assert seconds > 0
    assert 5 < peak < 1000
    with pytest.raises(RuntimeError, match="ended with status 1"):
        peers_start.first_answer("exit(1)")


def test_start_prints_a_table():
    rows = [{"engine": "import numpy", "s": 0.0831, "min_s": 0.08, "peak_mb": 31.0}]
    text = peers_start.text(
        {"start": rows, "compile_s": [0.09, 0.1, 0.3], "missing": {"nanoconv: none": []}}
    )
    assert text.splitlines()[-3:] == [
        "import numpy  0.0831   0.0800     31.0",
        "nanoconv.compile: 0.100 s, least 0.0900",
        "Left out: nanoconv: none",
    ]
