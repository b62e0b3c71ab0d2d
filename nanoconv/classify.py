"""Photographs → classes: what the commands `classify` and `evaluate` do, without their printing.

A `Classifier` is a network with all that its weights need: how photographs are prepared, and what
its outputs are called. Reading a photograph (decode, resize, crop) costs about as much as a small
network takes for it, so the next photographs are read by a thread while these are computed.

The network is compiled (`infer/session.py`), unless asked otherwise; it runs eagerly where there
are no compiled kernels, or `nc.use` does not allow them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import models
from .data import labels
from .data.labels import Labels
from .data.photographs import read_photograph
from .data.preprocessing import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from .functional import softmax
from .infer.session import Session
from .infer.session import compile as compile_model
from .infer.steps import kernels_missing
from .models.weights import SUFFIXES, WEIGHTS, Weights, weights_of_file
from .nn import Module, Softmax
from .tape import no_grad
from .tensor import from_numpy

Array = np.ndarray
MODEL, WEIGHTS_NAME, BATCH = "mobilenet_v2", "imagenet", 8
NORMALIZE = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "tensorflow": (HALF, HALF)}


@dataclass(frozen=True)
class Classifier:
    """A network and what its weights need.

    name      of the weights: the file's, or the published name
    builder   the network's function in `nanoconv.models`
    classes   how many outputs there are
    labels    what they are called; None if that is not known
    session   the network compiled; None if it runs eagerly
    """

    name: str
    builder: str
    model: Module
    preprocessing: Preprocessing
    classes: int
    labels: Labels | None
    session: Session | None = None

    def __call__(self, pixels: Array | Sequence[Array]) -> Array:
        """(N, H, W, 3) uint8, as `preprocessing.pixels` has them → probabilities (N, classes)."""
        return answers(self.model, self.preprocessing.normalise(pixels), self.session)

    def class_name(self, k: int) -> str:
        return self.labels[k] if self.labels else f"class {k}"

    def index_of(self, text: str) -> int | None:
        """The class that is meant by a WordNet id, a name or a number."""
        if self.labels:
            return self.labels.index_of(text)
        return int(text) if text.isdecimal() and int(text) < self.classes else None


@no_grad()
def answers(model: Module, images: Array, session: Session | None = None) -> Array:
    """The probabilities (N, classes) that a network, or its session, gives images (N, 3, H, W)."""
    scores = from_numpy(session(images)) if session else model(from_numpy(images))
    last = list(model.modules())[-1]
    return (scores if isinstance(last, Softmax) else softmax(scores, dim=1)).numpy()


def load_classifier(
    model: str | None = None,
    weights: str = WEIGHTS_NAME,
    same_padding: bool | None = None,
    normalize: str | None = None,
    eager: bool = False,
) -> Classifier:
    """A network with published weights, or with those of a file.

    model          a builder's name; None: that of the weights if their file's name is known, or
                   else MobileNetV2
    weights        a name, such as "imagenet", or a file with one of the suffixes of checkpoints
    same_padding   pads as TensorFlow's SAME does; None: as the weights want it
    normalize      "imagenet" or "tensorflow" (−1 to 1); None: as the weights want it
    eager          run the network layer by layer, not compiled

    What is not known of a file is taken from the first weights of its network in
    `models.weights.WEIGHTS`. ValueError for an unknown network or name, and for weights that do not
    fit; OSError where there is no file to read.
    """
    if normalize is not None and normalize not in NORMALIZE:
        raise ValueError(
            f"load_classifier: normalize={normalize!r} must be one of {', '.join(NORMALIZE)}"
        )
    is_file = Path(weights).suffix in SUFFIXES
    known = weights_of_file(Path(weights)) if is_file else None
    name = model or (known.builder if known else MODEL)
    build = models.builder(name)
    usual = usual_weights(name)
    if same_padding is None and is_file and (known is None or known.builder != name):
        same_padding = bool(usual.arguments.get("same_padding"))
    try:
        network = build(weights=weights, same_padding=same_padding).eval()
    except ValueError as error:
        if model is None and is_file and known is None:
            raise ValueError(f"{error} (another network can be named with --model)") from error
        raise
    pretrained: Weights = network.pretrained or usual
    preprocessing = pretrained.preprocessing
    if normalize:
        mean, std = NORMALIZE[normalize]
        preprocessing = replace(preprocessing, mean=mean, std=std)
    crop = preprocessing.crop
    shape = (1, 3, crop, crop)
    compiled = not (eager or kernels_missing())
    session = compile_model(network, shape, dynamic_batch=True) if compiled else None
    classes = answers(network, np.zeros(shape, np.float32), session).shape[1]
    names = labels.load(pretrained.labels) if pretrained.labels else None
    if names and len(names) != classes:
        names = None
    title = Path(weights).name if is_file else pretrained.name
    return Classifier(title, name, network, preprocessing, classes, names, session)


def usual_weights(builder: str) -> Weights:
    """The first weights of a network that are known: how photographs for it are prepared."""
    own = [weights for weights in WEIGHTS if weights.builder == builder]
    return own[0] if own else Weights(builder, builder, builder)


# --------------------------------------------------------------------------- reading ahead

Problem = OSError | ValueError


def read(path: Path, recipes: Sequence[Preprocessing]) -> list[Array] | Problem:
    """The pixels of a photograph by each recipe; or why there are none."""
    try:
        photograph = read_photograph(path)
        return [recipe.pixels(photograph) for recipe in recipes]
    except (OSError, ValueError) as error:
        return error


def read_ahead(
    paths: Iterable[Path], recipes: Sequence[Preprocessing], batch: int
) -> Iterator[list[tuple[Path, list[Array] | Problem]]]:
    """Batches of paths and what `read` says of them; one batch more is read meanwhile."""
    pending: deque[tuple[Path, Future[list[Array] | Problem]]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for path in paths:
            pending.append((path, pool.submit(read, path, recipes)))
            if len(pending) == 2 * batch:
                yield [(p, f.result()) for p, f in (pending.popleft() for _ in range(batch))]
        while pending:
            some = min(batch, len(pending))
            yield [(p, f.result()) for p, f in (pending.popleft() for _ in range(some))]
    finally:
        pool.shutdown(cancel_futures=True)  # what was asked for before an interrupt


def classify(
    classifier: Classifier, paths: Iterable[Path], batch: int = BATCH
) -> Iterator[tuple[Path, Array | Problem]]:
    """Each path with the probabilities (classes,) of what its photograph shows, or with why not."""
    for some in read_ahead(paths, [classifier.preprocessing], batch):
        pixels = [found[0] for _, found in some if isinstance(found, list)]
        found_classes = iter(classifier(pixels)) if pixels else iter(())
        for path, found in some:
            yield path, next(found_classes) if isinstance(found, list) else found
