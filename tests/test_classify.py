"""`nanoconv classify`: as a function, and as a user meets it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import ENVIRONMENT, INTERRUPTIBLE, run

import nanoconv as nc
from nanoconv import models, nn
from nanoconv.classify import Classifier, answers, classify, load_classifier, read_ahead
from nanoconv.data import labels
from nanoconv.data.labels import Labels
from nanoconv.data.preprocessing import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from nanoconv.infer.steps import kernels_missing
from nanoconv.models.weights import weights_of_file

Image = pytest.importorskip("PIL.Image", reason="needs the extra [cli]")
pytest.importorskip("typer", reason="needs the extra [cli]")
pytest.importorskip("rich", reason="needs the extra [cli]")

COLOURS = {"red": (250, 20, 30), "green": (10, 240, 20), "blue": (20, 30, 230)}


@pytest.fixture(autouse=True)
def _one_thread():
    before = nc.get_num_threads()
    nc.set_num_threads(1)
    yield
    nc.set_num_threads(before)


def real_data() -> Path:
    if not (folder := os.environ.get("NANOCONV_DATA")):
        pytest.skip("NANOCONV_DATA names no folder of real data")
    return Path(folder)


def colour_classifier() -> Classifier:
    """Says which colour there is most of."""
    model = nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(3, 3, bias=False))
    model[2].load_state_dict({"weight": 10 * np.eye(3, dtype=np.float32)})
    recipe = Preprocessing(8, 8, mean=(0, 0, 0), std=(1, 1, 1))
    return Classifier("colours", "none", model.eval(), recipe, 3, Labels(list(COLOURS)))


def photograph(path: Path, colour: str) -> Path:
    Image.new("RGB", (20, 10), COLOURS[colour]).save(path)
    return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    """Weights of no known name, of a small network for ten classes and images of 32×32 pixels."""
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    nc.manual_seed(0)
    nc.save(models.resnet20().state_dict(), path)
    return path


# --------------------------------------------------------------------------- class names


def test_imagenet_has_its_thousand_classes() -> None:
    imagenet = labels.load("imagenet")
    assert len(imagenet) == len(set(imagenet)) == len(set(imagenet.ids)) == 1000
    assert list(imagenet.ids) == sorted(imagenet.ids)
    for k, name in (
        (0, "tench"),
        (207, "Golden Retriever"),
        (281, "tabby cat"),
        (999, "toilet paper"),
    ):
        assert imagenet[k] == name
    assert imagenet.ids[281] == "n02123045"


def test_a_class_is_found_by_id_name_or_number() -> None:
    imagenet = labels.load("imagenet")
    for text in ("n02123045", "N02123045", "tabby cat", "Tabby_Cat", " tabby  cat", "281"):
        assert imagenet.index_of(text) == 281
    for text in ("", "cat", "1000", "-1", "n99999999"):
        assert imagenet.index_of(text) is None
    assert labels.load("cifar10").index_of("truck") == 9


def test_lists_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"name='coco' must be one of cifar10, imagenet"):
        labels.load("coco")


@pytest.mark.needs_data
def test_names_are_those_of_the_sources() -> None:
    imagenet, sources = labels.load("imagenet"), real_data() / "labels"
    simple = (sources / "imagenet-simple-labels.json").read_text(encoding="utf-8")
    assert list(imagenet) == json.loads(simple)
    synset = (sources / "synset.txt").read_text(encoding="utf-8").splitlines()
    assert list(imagenet.ids) == [line.strip("'\"").split()[0] for line in synset]


# --------------------------------------------------------------------------- which network


def test_a_file_of_unknown_name_is_taken_as_the_network_wants_it(resnet) -> None:
    found = load_classifier("resnet20", str(resnet))
    assert (found.name, found.builder, found.classes) == ("mine.safetensors", "resnet20", 10)
    assert found.preprocessing == Preprocessing(32, 32)
    assert found.labels == labels.load("cifar10")
    assert not found.model.training
    mine = models.resnet20(weights=resnet).eval()
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = nc.functional.softmax(mine(nc.from_numpy(found.preprocessing.normalise(x))), dim=1)
    np.testing.assert_allclose(found(x), expected.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_a_file_of_known_name_says_of_which_network_it_is(resnet, tmp_path) -> None:
    path = tmp_path / "resnet20_cifar10.safetensors"
    path.write_bytes(resnet.read_bytes())
    found = load_classifier(weights=str(path))
    assert (found.name, found.builder) == (path.name, "resnet20")
    assert found.labels == labels.load("cifar10")
    known = weights_of_file(Path("resnet56-4bfd9763.th"))
    assert known is not None
    assert (known.builder, known.labels) == ("resnet56", "cifar10")
    assert known.preprocessing == Preprocessing(32, 32)


def test_options_say_otherwise(resnet) -> None:
    plain = load_classifier("resnet20", str(resnet))
    other = load_classifier("resnet20", str(resnet), same_padding=True, normalize="tensorflow")
    assert (plain.preprocessing.mean, plain.preprocessing.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert (other.preprocessing.mean, other.preprocessing.std) == (HALF, HALF)
    assert (other.preprocessing.resize, other.preprocessing.crop) == (32, 32)
    assert plain.model.conv1.padding != other.model.conv1.padding
    with pytest.raises(ValueError, match="normalize='caffe' must be one of imagenet, tensorflow"):
        load_classifier("resnet20", str(resnet), normalize="caffe")


def test_mobilenet_v1_is_of_tensorflow_unless_said_otherwise(tmp_path) -> None:
    """All weights of it that are known are; one of unknown name will be like those."""
    path = tmp_path / "mine.npz"
    net = models.mobilenet_v1(width_mult=1.0, num_classes=7)
    np.savez(path, **net.state_dict())
    found = load_classifier("mobilenet_v1", str(path))
    stems = [m for m in found.model.modules() if isinstance(m, nn.Conv2d)]
    assert stems[0].padding == "same"
    assert found.preprocessing.mean == HALF
    assert (found.classes, found.labels) == (7, None)
    assert found.class_name(3) == "class 3"
    assert [found.index_of(text) for text in ("6", "7", "tench")] == [6, None, None]
    plain = load_classifier("mobilenet_v1", str(path), same_padding=False, normalize="imagenet")
    assert next(m for m in plain.model.modules() if isinstance(m, nn.Conv2d)).padding != "same"
    assert plain.preprocessing.mean == IMAGENET_MEAN


def test_networks_and_weights_that_there_are_not(resnet, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"'mobilnet_v2'.*mobilenet_v2"):
        load_classifier("mobilnet_v2", str(resnet))
    with pytest.raises(ValueError, match=r"mine\.safetensors.* does not fit .*--model"):
        load_classifier(None, str(resnet))
    with pytest.raises(ValueError, match=r"mine\.safetensors.* does not fit"):
        load_classifier("squeezenet1_1", str(resnet))
    with pytest.raises(FileNotFoundError):
        load_classifier("resnet20", str(tmp_path / "missing.npz"))
    with pytest.raises(ValueError, match="weights='imaginary', expected"):
        load_classifier("mobilenet_v2", "imaginary")


def test_networks_are_compiled_unless_asked_otherwise(resnet, monkeypatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    eager = load_classifier("resnet20", str(resnet), eager=True)
    assert eager.session is None
    found = load_classifier("resnet20", str(resnet))
    assert (found.session is None) == bool(kernels_missing())
    np.testing.assert_allclose(found(x), eager(x), rtol=0, atol=1e-5)
    if found.session is not None:
        np.testing.assert_array_equal(found(x[1:2]), found(x)[1:2])  # of a batch of another size
    with nc.use("numpy"):
        assert load_classifier("resnet20", str(resnet)).session is None
    monkeypatch.setattr("nanoconv.classify.kernels_missing", lambda: "no compiled kernels")
    assert load_classifier("resnet20", str(resnet)).session is None


def test_a_network_that_ends_in_softmax_gets_no_second_one() -> None:
    scores = np.array([[1.0, 2, 4]], np.float32)
    once = np.exp(scores) / np.exp(scores).sum()
    for model in (nn.Sequential(nn.Flatten()), nn.Sequential(nn.Flatten(), nn.Softmax(dim=1))):
        np.testing.assert_allclose(answers(model, scores[:, :, None, None]), once, rtol=1e-6)


# --------------------------------------------------------------------------- what it says


def test_answers_come_in_order_whatever_the_batch(tmp_path) -> None:
    colours = ["red", "green", "blue", "green", "red"]
    paths = [photograph(tmp_path / f"{k}.png", colour) for k, colour in enumerate(colours)]
    paths.insert(2, tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("red")
    paths.append(tmp_path / "text.png")
    classifier = colour_classifier()
    for batch in (1, 2, 3, 100):
        said = dict(classify(classifier, paths, batch))
        assert list(said) == paths
        assert isinstance(said.pop(paths[2]), FileNotFoundError)
        assert isinstance(said.pop(paths[-1]), ValueError)
        names = [classifier.class_name(int(found.argmax())) for found in said.values()]
        assert names == colours
        assert all(abs(found.sum() - 1) < 1e-5 for found in said.values())
    assert list(classify(classifier, [])) == []
    assert [found.shape for _, found in classify(classifier, paths[:1])] == [(3,)]
    broken = dict(classify(classifier, [paths[2], paths[-1]], 1))
    assert all(isinstance(found, Exception) for found in broken.values())


def test_no_more_is_read_ahead_than_one_batch(tmp_path) -> None:
    """Or a hundred thousand photographs would lie in memory."""
    asked = []

    def paths():
        for k in range(50):
            asked.append(k)
            yield tmp_path / "missing.png"

    batches = read_ahead(paths(), [Preprocessing()], 4)
    next(batches)
    assert len(asked) == 8
    next(batches)
    assert len(asked) == 12
    batches.close()


# --------------------------------------------------------------------------- the command


def test_a_line_of_json_for_each(resnet, tmp_path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    good = [photograph(folder / f"{name}.png", "red") for name in ("a", "[red]")]
    (folder / "cut.png").write_bytes(good[0].read_bytes()[:45])
    bomb = folder / "huge.bmp"
    bomb.write_bytes(
        b"BM" + np.array([0, 0, 54, 40, 40_000, 40_000, 0x180001, *[0] * 6], "<u4").tobytes()
    )
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")  # no UTF-8
    photograph(odd, "blue")
    missing = tmp_path / "missing.jpg"
    options = ["--model", "resnet20", "--weights", resnet, "--top", 3, "--threads", 1]
    finished = run("classify", folder, missing, odd, *options)
    assert finished.returncode == 1
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    expected = [
        str(p) for p in (folder / "[red].png", folder / "a.png", folder / "cut.png", bomb, missing)
    ]
    assert [line["photograph"] for line in lines] == [*expected, str(tmp_path / "caf�.png")]
    problems = ["not a photograph, or a damaged one", "too large", "No such file or directory"]
    reported = finished.stderr.splitlines()
    for line, said, problem in zip(lines[2:5], reported, problems, strict=True):
        assert said.startswith(f"nanoconv: {line['photograph']}: ")
        assert said.endswith(line["error"])
        assert problem in line["error"]
    for line in (*lines[:2], lines[5]):
        names, chances = zip(
            *((c["class"], c["probability"]) for c in line["classes"]), strict=True
        )
        assert len(names) == 3
        assert set(names) <= set(labels.load("cifar10"))
        assert list(chances) == sorted(chances, reverse=True)
    assert lines[0]["classes"] == lines[1]["classes"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["classify"], 2, "PHOTO"),
        (["classify", "x.jpg", "--top", "0"], 2, "top"),
        (["classify", "x.jpg", "--normalize", "caffe"], 2, "normalize"),
        (["classify", "EMPTY"], 1, "no photograph in EMPTY"),
        (["classify", "x.jpg", "--model", "mobilnet"], 1, "there is no network 'mobilnet'"),
        (["classify", "x.jpg", "--weights", "missing.pth"], 1, "missing.pth"),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, arguments, status, message) -> None:
    from nanoconv import cli

    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    monkeypatch.setattr(cli, "remember_interrupts", lambda: None)
    monkeypatch.setattr(sys, "argv", ["nanoconv", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (status, "", 1)
    assert err.startswith("nanoconv: ")
    assert message in err


def on_a_terminal(*arguments: object, stdout: int | None = None) -> tuple[str, str]:
    """What a terminal shows of `nanoconv ARGUMENTS`, and what goes to `stdout` if not there."""
    import pty

    command = [sys.executable, "-c", "from nanoconv.cli import main; main()", *map(str, arguments)]
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        command, stdout=stdout or terminal, stderr=terminal, text=True, env=environment
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(ours, 10_000):
                shown += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        printed = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0, shown
    return shown.decode(), printed


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_a_table_and_a_bar_on_a_terminal(resnet, tmp_path) -> None:
    for name in ("a", "[bold]b"):
        photograph(tmp_path / f"{name}.png", "green")
    options = ["--model", "resnet20", "--weights", resnet, "--top", 2]
    shown, _ = on_a_terminal("classify", tmp_path, *options)
    assert "2/2" in shown  # the bar
    rows = [line.split() for line in shown.splitlines() if line.rstrip().endswith("%")]
    assert [len(row) for row in rows] == [3, 2, 3, 2]
    assert [row[0] for row in rows[::2]] == [f"{tmp_path}/[bold]b.png", f"{tmp_path}/a.png"]
    assert {row[-2] for row in rows} <= set(labels.load("cifar10"))


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_the_bar_keeps_out_of_the_lines(resnet, tmp_path) -> None:
    """rich would send to the bar's terminal what is printed meanwhile."""
    for name in ("a", "b"):
        photograph(tmp_path / f"{name}.png", "green")
    options = ["--model", "resnet20", "--weights", resnet]
    shown, printed = on_a_terminal("classify", tmp_path, *options, stdout=subprocess.PIPE)
    assert "2/2" in shown
    names = [Path(json.loads(line)["photograph"]).name for line in printed.splitlines()]
    assert names == ["a.png", "b.png"]
    shown, _ = on_a_terminal("classify", tmp_path, *options, "--json")
    lines = [json.loads(line) for line in shown.splitlines()]  # and no bar between them
    assert len(lines) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_ends_it(resnet, tmp_path) -> None:
    path = photograph(tmp_path / "a.png", "red")
    for k in range(2000):
        (tmp_path / f"{k}.png").symlink_to(path)
    arguments = ["classify", tmp_path, "--model", "resnet20", "--weights", resnet, "--batch", 1]
    command = [sys.executable, "-c", INTERRUPTIBLE, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "classes" in first
    assert (process.returncode, err) == (130, "nanoconv: interrupted\n")
    assert len(out.splitlines()) < 1999


def test_the_command_runs_eagerly_if_asked(resnet, tmp_path) -> None:
    path = photograph(tmp_path / "1.png", "red")
    answers = []
    for option in ([], ["--eager"]):
        finished = run("classify", path, "--model", "resnet20", "--weights", resnet, *option)
        assert (finished.returncode, finished.stderr) == (0, "")
        answers.append(json.loads(finished.stdout)["classes"])
    assert [row["class"] for row in answers[0]] == [row["class"] for row in answers[1]]


@pytest.mark.needs_data
def test_real_photographs() -> None:
    data = real_data()
    classifier = load_classifier(weights=str(data / "weights" / "mobilenet_v2_1.0_tfpad.npz"))
    expected = {
        "coral_parrot": ("macaw",),
        "coral_hot_dog": ("hot dog",),
        "tflsupport_burger": ("cheeseburger",),
        "renesas_coco_elephant": ("Asian elephant", "African bush elephant", "tusker"),
        "coral_cat_720p": ("tabby cat", "tiger cat", "Egyptian Mau"),
    }
    paths = [data / "images" / f"{name}.jpg" for name in expected]
    for (path, found), names in zip(classify(classifier, paths), expected.values(), strict=True):
        assert classifier.class_name(int(found.argmax())) in names, path
