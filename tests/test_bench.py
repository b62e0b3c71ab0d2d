"""`nanoconv bench`: what it prints, and what it refuses."""

import json
import sys
from typing import Any

import pytest

import nanoconv as nc
from nanoconv import nn
from nanoconv.infer.steps import kernels_missing

pytest.importorskip("typer", reason="needs the extra [cli]")
needs_kernels = pytest.mark.skipif(bool(kernels_missing()), reason="needs compiled kernels")
SMALL = ("mobilenet_v1", "--set", "width_mult=0.25", "--size", 32, "--seconds", 0.01)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command; gives its status, output and errors."""
    from nanoconv.cli import main

    before = nc.get_num_threads()

    def command(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["nanoconv", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    yield command
    nc.set_num_threads(before)


def test_a_table_of_steps_and_the_whole_call(run) -> None:
    status, output, errors = run(*SMALL, "--threads", 1)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0].split()[:4] == ["step", "op", "kernel", "output"]
    (call,) = (line for line in lines if " median, " in line)
    assert call.startswith("mobilenet_v1, 3×32×32, compiled in ")
    assert "A call with an image: " in call
    assert any("on 1 thread. Limits measured now: " in line for line in lines)
    assert "A batch of " not in output


@needs_kernels
def test_of_a_batch_it_says_that_steps_are_those_of_an_image(run) -> None:
    status, output, _ = run(*SMALL, "--batch", 3)
    assert status == 0
    assert "Steps of one image: " in output
    assert "A batch of 3 goes through all steps image by image: " in output


@needs_kernels
def test_json_of_a_saved_session_and_of_its_batches(run, tmp_path) -> None:
    path = tmp_path / "net.safetensors"
    status, output, _ = run(*SMALL, "--batch", 2, "--save", path, "--json", "--skip", "bands")
    assert status == 0
    found = json.loads(output)
    assert found["inputs"] == [[2, 3, 32, 32]]
    calls = found["calls"]
    assert calls["number"] >= 3
    assert calls["images_per_second"] == pytest.approx(2e3 / calls["median_ms"])
    assert calls["least_ms"] <= calls["median_ms"]
    status, output, _ = run(path, "--batch", 3, "--seconds", 0.01, "--json")
    assert status == 0
    again = json.loads(output)
    assert again["inputs"] == [[3, 3, 32, 32]]
    names = [[step["name"] for step in f["steps"]] for f in (found, again)]
    assert names[0] == names[1]
    assert "band" not in {step["kernel"] for step in again["steps"]}


def test_weights_of_a_file(run, tmp_path) -> None:
    path = tmp_path / "digits.safetensors"
    nc.save(nc.models.resnet20(num_classes=4).state_dict(), path)
    arguments = ("resnet20", "--set", "num_classes=4", "--weights", path)
    status, output, errors = run(*arguments, "--seconds", 0.01, "--json")
    assert (status, errors) == (0, "")
    assert json.loads(output)["inputs"] == [[1, 3, 32, 32]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mobilenet_v9",), "no network 'mobilenet_v9'"),
        (("mobilenet_v1", "--set", "width"), "--set width: expected NAME=VALUE"),
        (("mobilenet_v1", "--set", "colour=3"), "no argument 'colour'"),
        (("mobilenet_v1", "--skip", "winograds"), "skip=['winograds'], expected any of"),
        (("mobilenet_v1", "--size", "1000000"), "--size"),
        (("mobilenet_v1", "--seconds", "0"), "--seconds"),
        (("mobilenet_v1", "--batch", "0"), "--batch"),
        (("missing.safetensors",), "No such file"),
        (("missing.safetensors", "--skip", "bands"), "--skip is for networks by name"),
    ],
)
def test_it_says_what_is_wrong(run, arguments, message) -> None:
    status, output, errors = run(*arguments)
    assert status in (1, 2)
    assert message in errors
    assert errors.count("\n") == 1
    assert output == ""


def test_files_that_are_no_session_and_batches_that_do_not_fit(run, tmp_path) -> None:
    path = tmp_path / "file.safetensors"
    nc.save({"weight": nc.ones(2, 2).numpy()}, path)
    status, output, errors = run(path)
    assert (status, output) == (1, "")
    assert "is no session of this version of nanoconv" in errors
    nc.compile(nn.Conv2d(3, 4, 3).eval(), (1, 3, 8, 8)).save(path)
    status, output, errors = run(path, "--batch", 2)
    assert (status, output) == (1, "")
    assert "--batch 2: the session takes batches of 1" in errors


@pytest.mark.parametrize(("width", "shown"), [(400, True), (100, False)])
def test_a_narrow_terminal_goes_without_words(width, shown, monkeypatch, capsys) -> None:
    from rich.console import Console

    from nanoconv.cli import bench

    monkeypatch.setattr(bench, "Console", lambda: Console(force_terminal=True, width=width))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    bench.show(nc.compile(model, (1, 3, 8, 8)).explain(0.01))
    output = capsys.readouterr().out
    assert ("why" in output.splitlines()[1]) == shown
    assert ("A wider terminal shows op, offset and why" in output) != shown
