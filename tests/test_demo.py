"""Training learns, repeats itself bit for bit, and confirms the theory that the demo prints."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import demo, train
from nanoconv.data import Dataset, digits
from nanoconv.metrics import accuracy, confusion_matrix
from nanoconv.models.digits import BLOCKS, digit_net, load_digit_net

TRAIN, TEST = digits.load()
FEW = TRAIN[:96]


def small_net() -> nc.nn.Sequential:
    nc.manual_seed(0)
    layers = (nc.nn.Conv2d(1, 16, 3, stride=2), nc.nn.BatchNorm2d(16), nc.nn.ReLU())
    return nc.nn.Sequential(*layers, nc.nn.Flatten(), nc.nn.Linear(144, 10))


def test_a_small_net_learns() -> None:
    model = small_net()
    optimizer = nc.optim.AdamW(model.parameters(), lr=0.01)
    history = train.fit(model, optimizer, TRAIN, TEST, epochs=4)
    assert history[-1].test_accuracy > 0.95
    assert history[-1].loss < history[0].loss / 3
    assert history[-1].accuracy > history[0].accuracy
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]


def test_fit_takes_every_image_once_per_epoch_in_a_new_order() -> None:
    data = Dataset(np.arange(70, dtype=np.float32).reshape(70, 1), np.zeros(70, np.int64))
    seen: list[np.ndarray] = []

    def look(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(images[:, 0].copy())
        return images

    model = nc.nn.Linear(1, 2)
    optimizer = nc.optim.SGD(model.parameters(), lr=0.0)
    schedule = nc.optim.StepLR(optimizer, step_size=1000)
    ticks: list[int] = []
    train.fit(
        model,
        optimizer,
        data,
        epochs=2,
        batch_size=32,
        schedule=schedule,
        augment=look,
        on_batch=lambda: ticks.append(1),
    )
    assert [len(batch) for batch in seen] == [24, 23, 23] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    np.testing.assert_array_equal(np.sort(first), np.arange(70))
    np.testing.assert_array_equal(np.sort(second), np.arange(70))
    assert (first != second).any()
    assert len(ticks) == schedule.last_epoch == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"train": FEW[:0]}, r"len\(train\)=0 must be at least 1"),
    ],
)
def test_fit_refuses(change, message) -> None:
    model = small_net()
    optimizer = nc.optim.SGD(model.parameters(), lr=0.1)
    arguments = {"model": model, "optimizer": optimizer, "train": FEW, "epochs": 1}
    with pytest.raises(ValueError, match=message):
        train.fit(**{**arguments, **change})


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    model = small_net()
    whole = train.probabilities(model, FEW.images)
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-5)
    parts = train.probabilities(model, FEW.images, batch_size=7)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)
    assert not model.training
    assert train.probabilities(model, FEW.images[:0]).shape == (0, 10)


def test_metrics() -> None:
    labels, predictions = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])
    assert accuracy(predictions, labels) == 0.75
    assert np.isnan(accuracy(labels[:0], labels[:0]))
    expected = [[1, 0, 0], [0, 0, 1], [0, 0, 2]]
    np.testing.assert_array_equal(confusion_matrix(predictions, labels, 3), expected)
    with pytest.raises(ValueError, match="labels from 0 to 2, expected 0 to 1"):
        confusion_matrix(np.zeros(4, int), labels, 2)
    for wrong in (labels[:3], labels[:, None]):
        with pytest.raises(ValueError, match=r"must both be \(N,\)"):
            accuracy(wrong, labels)


# --------------------------------------------------------------------------- the demo


@pytest.fixture(scope="module")
def results() -> list[demo.Result]:
    """Every net after two epochs with a few images: what is printed does not depend on skill."""
    threads = nc.get_num_threads()
    nc.set_num_threads(1)  # threads that spin while they wait would slow it on a busy machine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo.digits, "load", lambda: (FEW, TEST))
        found = [demo.train_net(net, seed=3, epochs=2) for net in BLOCKS]
    nc.set_num_threads(threads)
    return found


def test_the_count_confirms_the_prediction(results) -> None:
    rows = {row["net"]: row for row in demo.report(results)["nets"]}
    assert list(rows) == ["standard", "separable", "shuffle", "fire"]
    assert rows["standard"]["macs_ratio"] == 1
    separable = rows["separable"]
    assert separable["macs_ratio"] == pytest.approx(separable["predicted_ratio"], rel=1e-12)
    assert [row["predicted_ratio"] is None for row in rows.values()] == [True, False, True, True]


def test_the_table_has_a_row_for_each_net(results) -> None:
    rows = demo.table(results)
    assert [row[0] for row in rows] == ["net", *BLOCKS]
    assert len({len(row) for row in rows}) == 1


def test_the_best_net_is_saved_and_comes_back(results, tmp_path) -> None:
    files = demo.save_all(results, 3, tmp_path, "1.2.3")
    assert sorted(tmp_path.iterdir()) == sorted(files)
    winner = demo.best(results)
    assert winner.accuracy == max(result.accuracy for result in results)
    model, metadata = load_digit_net(files[0])
    assert metadata == {
        "net": winner.net,
        "seed": "3",
        "epochs": "2",
        "test_accuracy": f"{winner.accuracy:.4f}",
        "nanoconv": "1.2.3",
    }
    assert train.evaluate(model, TEST) == winner.accuracy


def test_of_equals_the_cheapest_is_the_best(results) -> None:
    equal = [demo.Result(r.net, r.model, r.cost, results[0].history) for r in results]
    assert demo.best(equal).net == "shuffle"


def test_pictures_are_drawn(results, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    files = demo.save_all(results, 0, tmp_path, "1.2.3")
    assert [file.name for file in files] == ["digits.safetensors", "curves.png", "mistakes.png"]
    for file in files[1:]:
        with image.open(file) as picture:
            assert picture.format == "PNG"
            assert np.asarray(picture.convert("L")).std() > 10


def test_a_net_without_mistakes_can_be_drawn(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    from nanoconv import plots

    none = np.zeros((0, 1, 8, 8))
    plots.save_mistakes(none, np.zeros(0, int), np.zeros((0, 10)), "none", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads(tmp_path) -> None:
    # In processes of their own: nothing of the first run can be left over for the second.
    code = f"""
import sys
from pathlib import Path
import nanoconv as nc
from nanoconv import demo
threads, seed, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
train, test = demo.digits.load()
demo.digits.load = lambda: (train[:96], test[:9])
demo.plots.available = lambda: False
nc.set_num_threads(threads)
for net in {list(BLOCKS)}:
    (folder / net).mkdir(parents=True)
    demo.save_all([demo.train_net(net, seed, epochs=2)], seed, folder / net, "1.2.3")
"""
    saved = {}
    for name, threads, seed in (("one", 1, 0), ("two", 2, 0), ("other", 1, 1)):
        command = [sys.executable, "-c", code, str(threads), str(seed), str(tmp_path / name)]
        # Threads that wait without spinning: the test stays quick while others use the machine.
        subprocess.run(command, check=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        files = sorted((tmp_path / name).rglob("*.*"))
        saved[name] = [file.read_bytes() for file in files]
    assert len(saved["one"]) == len(BLOCKS)
    assert saved["one"] == saved["two"]
    assert saved["one"] != saved["other"]


def test_a_report_is_json(results) -> None:
    assert json.loads(json.dumps(demo.report(results)))["best"] in BLOCKS


def test_there_are_four_nets() -> None:
    with pytest.raises(ValueError, match="block='dense' must be one of standard, separable"):
        digit_net("dense")
