"""`nanoconv evaluate`: counted by hand, by scikit-learn, and on real weights by PyTorch."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from test_classify import colour_classifier, photograph, real_data
from test_cli import fails, run

import nanoconv as nc
from nanoconv import models
from nanoconv.classify import classify, load_classifier
from nanoconv.data import labels
from nanoconv.evaluate import Example, evaluate, find_examples

Image = pytest.importorskip("PIL.Image", reason="needs the extra [cli]")
pytest.importorskip("typer", reason="needs the extra [cli]")
pytest.importorskip("rich", reason="needs the extra [cli]")


@pytest.fixture(autouse=True)
def _one_thread():
    before = nc.get_num_threads()
    nc.set_num_threads(1)
    yield
    nc.set_num_threads(before)


def album(folder: Path, contents: str = "red:red red green green:green blue:green") -> Path:
    """A folder for each class, with photographs of these colours."""
    folder.mkdir(exist_ok=True)
    name = folder
    for k, word in enumerate(contents.split()):
        label, _, colour = word.rpartition(":")
        if label:
            name = folder / label
            name.mkdir()
        photograph(name / f"{k}.png", colour)
    return folder


def index(folder: Path, text: str) -> Path:
    (folder / "index.csv").write_text(text, encoding="utf-8")
    return folder


# --------------------------------------------------------------------------- what is measured


def test_counts_by_hand(tmp_path) -> None:
    """Of three red ones two are found, the green one is, and what is called blue is green."""
    examples = find_examples(album(tmp_path))
    for batch in (1, 2, 8):
        (found,) = evaluate([colour_classifier()], examples, batch).evaluations
        assert len(found) == 5
        assert (found.top(1), found.top(3)) == (3 / 5, 1)
        by_class = found.by_class()
        np.testing.assert_allclose(by_class.precision, [1, 1 / 3, 0])
        np.testing.assert_allclose(by_class.recall, [2 / 3, 1, 0])
        np.testing.assert_allclose(by_class.f1, [4 / 5, 1 / 2, 0])
        assert by_class.support.tolist() == [3, 1, 1]
        assert by_class.macro() == pytest.approx((4 / 9, 5 / 9, 1.3 / 3))


def test_several_classifiers_in_one_pass(tmp_path) -> None:
    """Each gets its own pixels and its own row; what cannot be read counts for none of them."""
    import dataclasses

    first = colour_classifier()
    blind = dataclasses.replace(first.preprocessing, crop=4, std=(1e9, 1e9, 1e9))
    second = dataclasses.replace(first, name="blind", preprocessing=blind)
    album(tmp_path)
    (tmp_path / "red" / "broken.png").write_text("red")
    seen = []
    run = evaluate(
        [first, second, first],
        find_examples(tmp_path),
        2,
        lambda path, problem: seen.append((path.name, type(problem))),
    )
    assert [found.top(1) for found in run.evaluations] == [3 / 5, 3 / 5, 3 / 5]
    assert [found.predictions.tolist() for found in run.evaluations[1:]] == [
        [0] * 5,  # it says red whatever it sees
        run.evaluations[0].predictions.tolist(),
    ]
    assert [(path.name, type(problem)) for path, problem in run.skipped] == [
        ("broken.png", ValueError)
    ]
    assert len(seen) == 6
    assert [name for name, kind in seen if kind is ValueError] == ["broken.png"]


# --------------------------------------------------------------------------- what is shown


def test_examples_of_subfolders(tmp_path) -> None:
    album(tmp_path, "n01440764:red goldfish:green 2:blue blue .hidden:red")
    (tmp_path / "empty").mkdir()
    photograph(tmp_path / "loose.png", "red")
    examples = find_examples(tmp_path)
    shown = [(example.path.stem, *example.shows) for example in examples]
    assert shown == [("2", "2"), ("3", "2"), ("1", "goldfish"), ("0", "n01440764")]
    imagenet = load(tmp_path, classes=1000)
    assert [example.label(imagenet) for example in examples] == [2, 2, 1, 0]


def load(folder: Path, classes: int):
    """A small network for as many classes, untrained."""
    path = folder / f"{classes}.safetensors"
    nc.save(models.resnet20(num_classes=classes).state_dict(), path)
    found = load_classifier("resnet20", str(path))
    if classes == 1000:
        import dataclasses

        found = dataclasses.replace(found, labels=labels.load("imagenet"))
    return found


def test_examples_of_an_index(tmp_path) -> None:
    imagenet, ten, five = (load(tmp_path, classes) for classes in (1000, 10, 5))
    rows = "filename,class_index,wnid\na.png,1,n01443537\nsub/b.png,3,\nc.png,,n01440764\n"
    examples = find_examples(index(tmp_path, rows))
    names = [example.path.relative_to(tmp_path).as_posix() for example in examples]
    assert names == ["a.png", "sub/b.png", "c.png"]
    assert [example.label(imagenet) for example in examples] == [1, 3, 0]
    assert ten.labels == labels.load("cifar10")
    with pytest.raises(ValueError, match=r"a\.png: 1 = n01443537 is not one of the 10 classes of"):
        examples[0].label(ten)
    assert five.labels is None
    assert examples[0].label(five) == 1  # only the number can be meant
    with pytest.raises(ValueError, match=r"n01440764 is none of the 5 classes of 5\.safetensors"):
        examples[2].label(five)
    with pytest.raises(ValueError, match=r"2 = n01443537 is not one"):
        Example(tmp_path, ("2", "n01443537")).label(imagenet)
    with pytest.raises(ValueError, match="a house is none of the 1000"):
        Example(tmp_path, ("a house",)).label(imagenet)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,class_index\n", "names photographs"),
        ("a.png,3\nb.png,4\n", "photograph 1 has"),
        ("filename,class_index\na.png,\n", "photograph 1 has .*expected filename and class_index"),
        ("filename,wnid\na.png,n01440764\n,n01440764\n", "photograph 2 has"),
        ("filename,class_index\n\x00\xff", "photograph 1 has|comma-separated"),
    ],
)
def test_an_index_that_is_none(tmp_path, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        find_examples(index(tmp_path, text))


def test_folders_without_photographs(tmp_path) -> None:
    (tmp_path / "class").mkdir()
    with pytest.raises(ValueError, match="neither an index"):
        find_examples(tmp_path)
    with pytest.raises(FileNotFoundError):
        find_examples(tmp_path / "missing")
    (tmp_path / "index.csv").write_bytes(b"filename,wnid\n\xff\xfe,\n")
    with pytest.raises(ValueError, match="not a table of comma-separated values"):
        find_examples(tmp_path)


# --------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Two files of weights for ten classes and a third for another network, in a folder."""
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        nc.manual_seed(seed)
        nc.save(models.resnet20().state_dict(), folder / f"net{seed}.safetensors")
    nc.save({"weight": np.zeros(3, np.float32)}, folder / "other.safetensors")
    (folder / "README").write_text("no weights")
    return folder


def test_a_table_with_a_row_for_each_file(weights, tmp_path) -> None:
    album(tmp_path, "ship:blue frog:green green 7:red")
    (tmp_path / "7" / "broken.png").write_text("a horse")
    options = ["--model", "resnet20", "--weights", weights, "--threads", 1, "--classes"]
    finished = run("evaluate", tmp_path, *options)
    assert finished.returncode == 1  # for one could not be read
    left_out, broken = finished.stderr.splitlines()
    assert left_out.startswith(f"nanoconv: left out {weights}/other.safetensors: ")
    assert broken.startswith(f"nanoconv: {tmp_path}/7/broken.png: not a photograph")
    lines = finished.stdout.splitlines()
    assert lines[0].split() == [
        *("weights", "network", "top-1", "top-5", "precision", "recall", "F1", "photographs/s")
    ]
    assert [line.split()[:2] for line in lines[1:3]] == [
        [f"net{k}.safetensors", "resnet20"] for k in (0, 1)
    ]
    assert all(line.count("%") == 5 for line in lines[1:3])
    assert lines[4].startswith("4 photographs in ")
    frogs = [line.split() for line in lines if line.startswith("frog ")]
    assert len(frogs) == 2
    assert all(row[1] == "2" for row in frogs)


def test_json_says_the_same(weights, tmp_path) -> None:
    album(tmp_path, "ship:blue frog:green green 7:red")
    files = [part for k in (1, 0) for part in ("--weights", weights / f"net{k}.safetensors")]
    options = ["--model", "resnet20", *files, "--json", "--classes", "--batch", 3]
    finished = run("evaluate", tmp_path, *options)
    assert (finished.returncode, finished.stderr) == (0, "")
    report = json.loads(finished.stdout)
    assert (report["photographs"], report["skipped"]) == (4, [])
    assert [row["weights"] for row in report["weights"]] == ["net1.safetensors", "net0.safetensors"]
    for row in report["weights"]:
        classifier = load_classifier("resnet20", str(weights / row["weights"]))
        (found,) = evaluate([classifier], find_examples(tmp_path)).evaluations
        assert (row["top1"], row["top5"]) == (round(found.top(1), 4), round(found.top(5), 4))
        assert row["f1"] == round(found.by_class().macro()[2], 4)
        assert sum(row["photographs"] for row in row["classes"]) == 4
        assert {"frog", "horse", "ship"} <= {row["class"] for row in row["classes"]}


def test_what_cannot_be_evaluated(weights, tmp_path) -> None:
    fails(run("evaluate", tmp_path), 1, "neither an index.csv")
    album(tmp_path, "tench:red")
    options = ["--model", "resnet20", "--weights", weights / "net0.safetensors"]
    fails(run("evaluate", tmp_path, *options), 1, "tench is none of the 10 classes")


# --------------------------------------------------------------------------- real weights

EIGHT = [
    "mobilenet_v1_0.25_tfpad_bn",
    "mobilenet_v1_0.75_tfpad",
    "mobilenet_v2_1.0_tfpad",
    "mobilenet_v2_1.0_torchpad",
    "mobilenet_v3_small_1.0_tfpad",
    "shufflenet_v1_g8_1.0",
    "squeezenet1_0_pruned",
    "squeezenet1_1",
]


@pytest.mark.needs_data
@pytest.mark.timeout(900)
def test_eight_networks_are_right_as_often_as_in_pytorch() -> None:
    """One command; PyTorch's count is of its own networks after torchvision's own transforms."""
    weights, sample = real_data() / "weights", real_data() / "imagenet_sample"
    finished = run("evaluate", sample, "--weights", weights, "--json", "--threads", 1)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("left out") == 2  # CIFAR's ten classes, and 33 drinks
    report = json.loads(finished.stdout)
    ours = {Path(row["weights"]).stem: row["top1"] for row in report["weights"]}
    assert (report["photographs"], report["skipped"], list(ours)) == (100, [], EIGHT)
    with (sample / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    truth = np.array([int(row["class_index"]) for row in rows])
    theirs = pytorch_predictions([sample / row["filename"] for row in rows], weights)
    for name in EIGHT:
        assert abs(100 * ours[name] - (theirs[name] == truth).sum()) <= 1, name


@pytest.mark.needs_data
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", EIGHT)
def test_compiled_networks_say_what_eager_ones_say(name) -> None:
    path = str(real_data() / "weights" / f"{name}.npz")
    examples = find_examples(real_data() / "imagenet_sample")
    both = [load_classifier(weights=path, eager=eager) for eager in (False, True)]
    assert both[1].session is None
    compiled, eager = evaluate(both, examples).evaluations
    np.testing.assert_array_equal(compiled.predictions, eager.predictions)
    some = [example.path for example in examples[:8]]
    for (_, a), (_, b) in zip(classify(both[0], some), classify(both[1], some), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def pytorch_predictions(paths: list[Path], weights: Path) -> dict[str, np.ndarray]:
    """The class that PyTorch's network of each name takes each photograph for."""
    from pytorch_zoo import network, normalise, pixels, torch

    x = pixels([Image.open(path).convert("RGB") for path in paths])
    found = {}
    for name in EIGHT:
        net = network(name, weights / f"{name}.npz")
        with torch.no_grad():
            scores = torch.cat([net(batch) for batch in normalise(name, x).split(10)])
        found[name] = scores.argmax(1).numpy()
    return found
