"""The demonstration: four small nets learn to read digits, and the theory is held against them.

The nets differ in what stands in for a 3×3 convolution (`models.digits`). All are trained by one
recipe: AdamW under a cosine schedule, and pictures that are cut out a little differently each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import config, plots
from .data import digits
from .data.images import recut
from .graph import Summary, summary
from .io.checkpoints import save
from .models.digits import INPUT_SHAPE, digit_net
from .nn import Sequential
from .optim import AdamW, CosineAnnealingLR
from .train import Epoch, fit, probabilities

EPOCHS = 12
BATCH = 32
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-2


@dataclass(frozen=True)
class Result:
    """A trained net, what it costs and what it can do."""

    net: str
    model: Sequential
    cost: Summary
    history: list[Epoch]

    @property
    def accuracy(self) -> float:
        """On the test set, after the last epoch."""
        return self.history[-1].test_accuracy

    @property
    def seconds(self) -> float:
        """Per epoch, the median."""
        return float(np.median([epoch.seconds for epoch in self.history]))


def train_net(
    net: str,
    seed: int = 0,
    epochs: int = EPOCHS,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_batch: Callable[[], None] = lambda: None,
) -> Result:
    """Train the net of this name; the same seed gives the same bits.

    `on_epoch` and `on_batch` are called after each of `epochs` and of `batches(epochs)`.
    """
    train, test = digits.load()
    config.manual_seed(seed)
    model = digit_net(net)
    optimizer = AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    history = fit(
        model,
        optimizer,
        train,
        test,
        epochs=epochs,
        batch_size=BATCH,
        seed=seed,
        schedule=CosineAnnealingLR(optimizer, batches(epochs)),
        augment=recut,
        on_batch=on_batch,
        on_epoch=on_epoch,
    )
    return Result(net, model, summary(model, INPUT_SHAPE), history)


def batches(epochs: int) -> int:
    """How many batches a net is trained with."""
    return epochs * math.ceil(len(digits.load()[0]) / BATCH)


def best(results: Sequence[Result]) -> Result:
    """The most accurate; of equals, the one with the fewest multiply-adds."""
    return max(results, key=lambda result: (result.accuracy, -result.cost.macs))


# --------------------------------------------------------------------------- the theory


def saving(N: int, K: int) -> float:
    """1/N + 1/K²: what a separable convolution needs of the multiply-adds of a plain K×K one.

    (C·K² + C·N) / (C·N·K²) for each pixel, from C channels to N. Howard et al., MobileNets,
    arXiv 1704.04861, section 3.1.
    """
    return 1 / N + 1 / K**2


def predicted_ratio(cost: Summary, K: int = 3) -> float:
    """What a whole net would need of its multiply-adds if its blocks became separable."""
    predicted = 0.0
    for layer in cost.layers:
        part = saving(layer.output[1], K) if layer.name.startswith("block") else 1
        predicted += layer.macs * part
    return predicted / cost.macs


# --------------------------------------------------------------------------- what comes out

EXPLANATION = (
    "A separable convolution (depthwise K×K, then 1×1 to N channels) needs 1/N + 1/K² of the\n"
    f"multiply-adds of a plain one: {saving(32, 3):.1%} with N = 32 and K = 3, "
    f"{saving(64, 3):.1%} with N = 64. The whole net needs a\nlittle more of its own than its "
    "blocks, because the first layer and the classifier are the same in all."
)


def table(results: Sequence[Result]) -> list[list[str]]:
    """The comparison as text, heading first."""
    rows = [["net", "parameters", "MACs", "of standard", "predicted", "s/epoch", "test accuracy"]]
    for row in report(results)["nets"]:
        predicted = row["predicted_ratio"]
        rows.append(
            [
                row["net"],
                f"{row['parameters']:,}",
                f"{row['macs']:,}",
                f"{row['macs_ratio']:.1%}",
                "" if predicted is None else f"{predicted:.1%}",
                f"{row['seconds_per_epoch']:.2f}",
                f"{row['test_accuracy']:.2%}",
            ]
        )
    return rows


def report(results: Sequence[Result]) -> dict[str, Any]:
    """The comparison as numbers; the first net is what the others are compared with."""
    first = results[0].cost
    predicted = {"separable": predicted_ratio(first)}
    return {
        "best": best(results).net,
        "nets": [
            {
                "net": result.net,
                "parameters": result.cost.parameters,
                "macs": result.cost.macs,
                "macs_ratio": result.cost.macs / first.macs,
                "predicted_ratio": predicted.get(result.net),
                "seconds_per_epoch": round(result.seconds, 4),
                "test_accuracy": result.accuracy,
            }
            for result in results
        ],
    }


def save_all(results: Sequence[Result], seed: int, folder: Path, version: str) -> list[Path]:
    """Save the best net and, with Matplotlib, two pictures; returns the files."""
    winner = best(results)
    files = [folder / "digits.safetensors"]
    metadata = {
        "net": winner.net,
        "seed": str(seed),
        "epochs": str(len(winner.history)),
        "test_accuracy": f"{winner.accuracy:.4f}",
        "nanoconv": version,
    }
    save(winner.model.state_dict(), files[0], metadata)
    if plots.available():
        files += [folder / "curves.png", folder / "mistakes.png"]
        plots.save_learning_curves({r.net: r.history for r in results}, files[1])
        save_mistakes(winner, files[2])
    return files


def save_mistakes(result: Result, path: Path) -> None:
    """Draw the test images that a net misreads."""
    _, test = digits.load()
    thought = probabilities(result.model, test.images)
    wrong = thought.argmax(1) != test.labels
    title = f"The {result.net} net misreads {wrong.sum()} of {len(test)} test digits"
    plots.save_mistakes(test.images[wrong], test.labels[wrong], thought[wrong], title, path)
