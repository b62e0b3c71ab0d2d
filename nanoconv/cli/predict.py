"""`nanoconv predict`: read digits in pictures with the model that the demo saved."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import read_digit
from ..models.digits import load_digit_net
from ..train import probabilities
from .console import AsJson, reason


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file that the demo saved.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One digit in each.")],
    as_json: AsJson = False,
) -> None:
    """Read the digits in pictures of any size, dark on light or light on dark."""
    net, _ = load_digit_net(model)
    answers: list[dict[str, Any]] = []
    for path in images:
        answer: dict[str, Any] = {"image": str(path)}
        try:
            thought = probabilities(net, read_digit(path)[None])[0]  # (10,)
        except (OSError, ValueError) as error:
            answer["error"] = reason(error)
            print(f"nanoconv: {path}: {reason(error)}", file=sys.stderr)
        else:
            first, second = (int(k) for k in thought.argsort()[:-3:-1])
            answer |= {"digit": first, "probability": round(float(thought[first]), 4)}
            answer |= {"runner_up": second, "its_probability": round(float(thought[second]), 4)}
            if not as_json:
                verdict = f"{first} ({thought[first]:.1%}), or {second} ({thought[second]:.1%})"
                print(f"{path}: {verdict}")
        answers.append(answer)
    if as_json:
        print(json.dumps(answers, indent=2))
    if any("error" in answer for answer in answers):
        raise typer.Exit(1)
