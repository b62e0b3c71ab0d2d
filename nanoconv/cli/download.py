"""`nanoconv download`: fetch published weights into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from ..io.download import cache_folder, fetch
from ..models.weights import WEIGHTS, Weights, weights_named
from .console import print_table


def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="A network, or NETWORK:WEIGHTS, as the list has."),
    ] = None,
) -> None:
    """Fetch published weights into the cache; without a name, list what there is."""
    if not names:
        rows = [("name", "file", "")]
        for weights in WEIGHTS:
            if weights.url:
                there = "in the cache" if (cache_folder() / weights.file).exists() else ""
                rows.append((f"{weights.builder}:{weights.name}", weights.file, there))
        print_table(rows, left=3)
        return
    wanted = [published(name) for name in names]  # says no before anything is fetched
    for weights in wanted:
        assert weights.url is not None
        print(fetch(weights.url, weights.checksum))


def published(name: str) -> Weights:
    """The weights of "mobilenet_v2" or "mobilenet_v2:imagenet1k_v1", if they are on the web."""
    builder, _, which = name.partition(":")
    known = sorted({weights.builder for weights in WEIGHTS if weights.url})
    if builder not in known:
        raise ValueError(f"download: {name!r} has no published weights; {', '.join(known)} have")
    weights = weights_named(builder, which or "imagenet")
    if weights.url is None:
        raise ValueError(f"download: {name!r} is not on the web; it is a file that you have")
    return weights
