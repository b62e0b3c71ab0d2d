"""The command line, as a user meets it: in a process of its own, and by what it prints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import demo
from nanoconv.data import digits
from nanoconv.io import checkpoints

Image = pytest.importorskip("PIL.Image", reason="needs the extra [cli]")
pytest.importorskip("typer", reason="needs the extra [cli]")
pytest.importorskip("rich", reason="needs the extra [cli]")

TEST = digits.load()[1]
ENVIRONMENT = {**os.environ, "NANOCONV_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}

# Where tests run in the background, interrupts may be ignored, and children inherit that.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from nanoconv.cli import main
main()
"""


def run(*arguments: object, code: str = "from nanoconv.cli import main; main()"):
    """`nanoconv ARGUMENTS` without a terminal."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def fails(finished, status: int, message: str) -> None:
    """One line on standard error, nothing on standard output."""
    assert finished.returncode == status, finished
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith("nanoconv: ")
    assert message in line


# --------------------------------------------------------------------------- small things


def test_version_and_help() -> None:
    assert run("--version").stdout == f"nanoconv {nc.__version__}\n"
    finished = run("--help")
    assert finished.returncode == 0
    assert all(name in finished.stdout for name in ("demo", "predict", "config", "--version"))
    module = subprocess.run(
        [sys.executable, "-m", "nanoconv", "--version"], capture_output=True, check=True
    )
    assert module.stdout.decode() == f"nanoconv {nc.__version__}\n"


def test_config() -> None:
    finished = run("config")
    assert finished.returncode == 0
    assert f"NumPy      {np.__version__}" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "dance"),
        (["demo", "--epochs", "0"], "epochs"),
        (["demo", "--epochs", "many"], "epochs"),
        (["demo", "--seed", "-1"], "seed"),
        (["demo", "--threads", "0"], "threads"),
        (["demo", "--speed"], "--speed"),
        (["demo", "--output", __file__], "output"),
        (["predict"], "MODEL"),
        (["predict", "model.safetensors"], "IMAGE"),
    ],
)
def test_wrong_arguments(arguments, message) -> None:
    fails(run(*arguments), 2, message)


@pytest.mark.parametrize("missing", ["typer", "rich", "PIL"])
def test_missing_extras_are_named(missing) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from nanoconv.cli import main; main()"
    fails(run("demo", code=code), 1, f'needs {missing}: pip install "nanoconv[cli]"')


def test_importing_nanoconv_imports_none_of_them() -> None:
    code = (
        "import sys, nanoconv, nanoconv.data, nanoconv.models, nanoconv.train, nanoconv.demo;"
        "print({'typer', 'rich', 'PIL', 'matplotlib', 'numba'} & set(sys.modules))"
    )
    assert run(code=code).stdout == "set()\n"


def test_a_folder_that_cannot_be_made(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    finished = run("demo", "--output", tmp_path / "file" / "folder")
    fails(finished, 1, "Not a directory")


# --------------------------------------------------------------------------- demo

FEW = (  # trains with few images, so that only the skill differs from the real thing
    "from nanoconv import cli, demo; train, test = demo.digits.load();"
    "demo.digits.load = lambda: (train[:64], test[:20]);"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    code = FEW + "cli.main()"
    return folder, run("demo", "--epochs", 1, "--seed", 5, "--output", folder, code=code)


def test_demo_ends_in_the_table(finished) -> None:
    folder, result = finished
    assert result.returncode == 0, result.stderr
    assert f"saved {folder / 'digits.safetensors'}" in result.stdout
    lines = result.stdout.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("net "))
    rows = [line.split() for line in lines[start + 1 : start + 5]]
    assert [row[0] for row in rows] == ["standard", "separable", "shuffle", "fire"]
    assert rows[0][1:4] == ["75,114", "2,083,456", "100.0%"]
    assert rows[1][1:5] == ["11,338", "299,136", "14.4%", "14.4%"]
    assert "1/N + 1/K²" in "\n".join(lines[start + 5 :])
    assert result.stderr.count("trained ") == 4


def test_demo_saves_a_model_that_predict_takes(finished, tmp_path) -> None:
    folder, _ = finished
    path = picture(tmp_path / "digit.png", TEST.images[0, 0])
    result = run("predict", folder / "digits.safetensors", path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{path}: ")


def test_demo_as_json(tmp_path) -> None:
    result = run("demo", "--quick", "--json", "--output", tmp_path, code=FEW + "cli.main()")
    report = json.loads(result.stdout)
    assert report["seed"] == 0
    assert report["best"] in [row["net"] for row in report["nets"]]
    assert all(Path(file).exists() for file in report["files"])


def test_the_bars_move_with_every_batch_and_fill(monkeypatch) -> None:
    from nanoconv.cli import demo as command

    train, test = demo.digits.load()
    monkeypatch.setattr(demo.digits, "load", lambda: (train[:64], test[:20]))
    moves, notes = [], []

    class Bars(command.Progress):
        def advance(self, task, advance=1):
            super().advance(task, advance)
            moves.append(self.tasks[task].percentage)

        def update(self, task, **fields):
            super().update(task, **fields)
            notes.append((task, fields["note"].partition(",")[0]))

    monkeypatch.setattr(command, "Progress", Bars)
    results = command.train_all(seed=0, epochs=2)
    assert moves == [25, 50, 75, 100] * len(results)
    assert notes == [(k, f"epoch {n}") for k in range(len(results)) for n in (1, 2)]


def test_demo_without_matplotlib_says_how_to_get_it(tmp_path) -> None:
    code = FEW + "demo.plots.available = lambda: False; cli.main()"
    result = run("demo", "--epochs", 1, "--output", tmp_path, code=code)
    assert result.returncode == 0, result.stderr
    assert 'pip install "nanoconv[plot]"' in result.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["digits.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_leaves_no_file(tmp_path) -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, "demo", "--output", str(tmp_path / "folder")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) as process:
        try:
            while not (tmp_path / "folder").exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)  # it is about to train
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "nanoconv: interrupted")
    assert "Traceback" not in err
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_counts_even_where_its_exception_is_dropped(tmp_path) -> None:
    code = """
import contextlib, os, signal
from nanoconv.data import digits
def load(real=digits.load):
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigpending()
    return real()
digits.load = load
"""
    finished = run("demo", "--output", tmp_path, code=code + INTERRUPTIBLE)
    assert (finished.returncode, finished.stderr) == (130, "nanoconv: interrupted\n")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------- predict


def picture(path: Path, ink: np.ndarray, size=(8, 8), dark=True, margin=0, resample=0) -> Path:
    """A held-out digit as somebody might have drawn it."""
    grey = (255 * ink).astype(np.uint8)
    image = Image.fromarray(grey).resize(size, resample)
    grey = np.pad(np.asarray(image), margin)
    Image.fromarray(255 - grey if dark else grey).save(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The standard net after three epochs: good enough to tell digits apart."""
    folder = tmp_path_factory.mktemp("model")
    threads = nc.get_num_threads()
    nc.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo.plots, "available", lambda: False)
        (path,) = demo.save_all([demo.train_net("standard", epochs=3)], 0, folder, nc.__version__)
    nc.set_num_threads(threads)
    return path


@pytest.mark.parametrize(
    ("size", "dark", "margin", "resample"),
    [
        pytest.param((8, 8), True, 0, Image.Resampling.NEAREST, id="as-it-is"),
        pytest.param((32, 32), False, 9, Image.Resampling.NEAREST, id="light-on-dark"),
        pytest.param((28, 28), True, 4, Image.Resampling.BICUBIC, id="smooth"),
        pytest.param((90, 90), True, 30, Image.Resampling.BILINEAR, id="large"),
        pytest.param((61, 83), False, 5, Image.Resampling.LANCZOS, id="stretched"),
    ],
)
def test_held_out_digits_are_read(model, tmp_path, size, dark, margin, resample) -> None:
    test = TEST[:100]
    paths = [
        picture(tmp_path / f"{k}.png", image[0], size, dark, margin, resample)
        for k, image in enumerate(test.images)
    ]
    finished = run("predict", model, *paths, "--json")
    assert finished.returncode == 0, finished.stderr
    answers = json.loads(finished.stdout)
    assert [answer["image"] for answer in answers] == [str(path) for path in paths]
    read = np.array([answer["digit"] for answer in answers])
    assert (read == test.labels).mean() >= 0.95


def test_the_answer_in_words(model, tmp_path) -> None:
    path = picture(tmp_path / "digit.png", TEST.images[0, 0])
    finished = run("predict", model, path)
    head, _, runner_up = finished.stdout.partition("%), or ")
    assert head.startswith(f"{path}: {TEST.labels[0]} (9")
    assert runner_up.endswith("%)\n")


def test_bad_images_are_named_and_skipped(model, tmp_path) -> None:
    good = picture(tmp_path / "good.png", TEST.images[0, 0])
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("L", (20, 20), 255).save(tmp_path / "blank.png")
    names = ["missing.png", "broken.png", "text.jpg", "blank.png", "good.png", "."]
    finished = run("predict", model, *(tmp_path / name for name in names))
    assert finished.returncode == 1
    assert finished.stdout.startswith(f"{good}: ")
    assert len(finished.stdout.splitlines()) == 1
    reasons = [
        "No such file",
        "not a picture",
        "not a picture",
        "the picture is blank",
        "directory",
    ]
    lines = finished.stderr.splitlines()
    bad = [name for name in names if name != "good.png"]
    for line, name, reason in zip(lines, bad, reasons, strict=True):
        assert line.startswith(f"nanoconv: {tmp_path / name}: ")
        assert reason in line
    answers = json.loads(run("predict", model, tmp_path / "text.jpg", good, "--json").stdout)
    assert answers[0]["error"] == "not a picture, or a damaged one"
    assert answers[1]["digit"] == TEST.labels[0]


def test_models_that_are_none(model, tmp_path) -> None:
    image = picture(tmp_path / "digit.png", TEST.images[0, 0])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model.read_bytes()[:1000])
    other = tmp_path / "other.safetensors"
    checkpoints.save({"weight": np.zeros(3)}, other)
    swapped = tmp_path / "swapped.safetensors"
    checkpoints.save(checkpoints.load(model), swapped, {"net": "fire"})
    for path, message in (
        (tmp_path / "no.safetensors", "No such file"),
        (cut, "damaged"),
        (other, "is not a model that `nanoconv demo` saved"),
        (swapped, "does not fit"),
        (image, "is not a .safetensors file"),
    ):
        fails(run("predict", path, image), 1, message)
