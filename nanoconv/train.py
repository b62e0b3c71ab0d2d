"""Training and evaluating a classifier: the loop that every paper leaves out.

>>> import nanoconv as nc
>>> from nanoconv.data import digits
>>> nc.manual_seed(0)
>>> train, test = digits.load()
>>> model = nc.nn.Sequential(nc.nn.Flatten(), nc.nn.Linear(64, 10))
>>> optimizer = nc.optim.Adam(model.parameters(), lr=0.01)
>>> history = fit(model, optimizer, train, test, epochs=5)
>>> history[-1].test_accuracy > 0.9
True
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .data import Dataset
from .functional import cross_entropy, softmax
from .metrics import accuracy
from .nn import Module
from .optim import Optimizer
from .tape import no_grad
from .tensor import from_numpy

Array = np.ndarray


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set: how it went, and what the model could do after it."""

    number: int  # from 1
    loss: float  # the mean over the pass, while the model was learning
    accuracy: float  # likewise
    test_accuracy: float  # after the pass; NaN without a test set
    seconds: float  # of training, without the test


def fit(
    model: Module,
    optimizer: Optimizer,
    train: Dataset,
    test: Dataset | None = None,
    *,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
    schedule: Any = None,
    augment: Callable[[Array, np.random.Generator], Array] | None = None,
    on_batch: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Minimise the cross entropy of `model` on `train`, `epochs` times over, and tell how it went.

    Each pass takes the images in a new order, in batches of equal size (at most `batch_size`),
    after `augment(images, rng)`; `seed` decides over both. `schedule` is stepped after every batch.
    `on_batch` and `on_epoch` are called after each, for progress bars. ValueError for an empty
    training set, less than one epoch or an empty batch.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("len(train)", len(train))):
        if value < 1:
            raise ValueError(f"fit: {name}={value} must be at least 1")
    rng = np.random.default_rng(seed)
    history = []
    for number in range(1, epochs + 1):
        start, loss, right = time.perf_counter(), 0.0, 0
        model.train()
        for batch in np.array_split(rng.permutation(len(train)), -(-len(train) // batch_size)):
            images, labels = train.images[batch], train.labels[batch]
            if augment is not None:
                images = augment(images, rng)
            scores = model(from_numpy(images))  # (n, classes)
            error = cross_entropy(scores, from_numpy(labels))
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            loss += error.item() * len(batch)
            right += int((scores.detach().numpy().argmax(1) == labels).sum())
            on_batch()
        seconds = time.perf_counter() - start
        tested = evaluate(model, test) if test is not None else float("nan")
        history.append(Epoch(number, loss / len(train), right / len(train), tested, seconds))
        on_epoch(history[-1])
    return history


def evaluate(model: Module, data: Dataset) -> float:
    """The accuracy of `model` on `data`."""
    return accuracy(probabilities(model, data.images).argmax(1), data.labels)


@no_grad()
def probabilities(model: Module, images: Array, batch_size: int = 256) -> Array:
    """What `model`, in evaluation mode from now on, thinks of images (N, …): (N, classes)."""
    model.eval()
    batches = [images[k : k + batch_size] for k in range(0, max(len(images), 1), batch_size)]
    return np.concatenate([softmax(model(from_numpy(b)), dim=1).numpy() for b in batches])
