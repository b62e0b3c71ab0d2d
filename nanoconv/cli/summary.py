"""`nanoconv summary`: what a network costs, layer by layer."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer

from ..classify import usual_weights
from ..graph.separable import separable, theory
from ..graph.summary import summary
from ..models import builder
from ..nn import Conv2d, Module
from .console import AsJson, print_table

LARGEST = 4096  # pixels; the network runs once, so that its images must fit into memory
HEADER = (
    "MACs: multiply-adds of convolutions, linear layers and matrix products. FLOPs: two for each "
    "MAC.\nBytes: what the ops read and write if each number is moved once. Share: of the MACs.\n"
)


def run_summary(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="mobilenet_v2, resnet18 …")],
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LARGEST,
            help="Height and width of the image: those its weights are for, unless said here.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Show modules so many names deep, with all inside.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the network's builder."),
    ] = None,
    with_theory: Annotated[
        bool, typer.Option("--theory", help="What depthwise separable convolutions save.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Parameters, multiply-adds and bytes of a network, layer by layer."""
    arguments = dict(map(setting, settings or []))
    try:
        net = builder(model)(**arguments)
    except TypeError as error:  # an argument that this network has not
        raise ValueError(str(error)) from error
    side = usual_weights(model).preprocessing.crop if size is None else size
    shape = (1, image_channels(net), side, side)
    whole = summary(net, shape)
    shown = whole if depth is None else whole.at_depth(depth)
    if as_json:
        found = {"network": model, "arguments": arguments, "input": shape, **shown.as_dict()}
        if with_theory:
            found["separable"] = [
                {**dataclasses.asdict(pair), "standard": pair.standard, "predicted": pair.predicted}
                for pair in separable(net, shape)
            ]
        print(json.dumps(found, indent=2))
        return
    print(HEADER)
    print_table(shown.rows(), left=2)
    if with_theory:
        print(f"\n{theory(net, shape, whole)}")


def setting(text: str) -> tuple[str, Any]:
    """ "width_mult=0.5" as a name and a number, a truth value or a text."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"--set {text}: expected NAME=VALUE")
    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except json.JSONDecodeError:
        return name, value


def image_channels(net: Module) -> int:
    """The channels of the images that the first convolution takes."""
    first = next(module for module in net.modules() if isinstance(module, Conv2d))
    return first.in_channels
