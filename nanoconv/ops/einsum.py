"""Einstein's summation: any sum of products, written down by the names of its axes.

    einsum("nik,nkj->nij", a, b)        y[n,i,j] = Σ_k a[n,i,k] · b[n,k,j]

One letter per axis of each operand. A letter that the output has not is summed over; one that
stands twice in an operand takes its diagonal; "..." stands for any further axes, which broadcast.
Without "->" the output has, in alphabetical order, the letters that stand only once, behind "...".

    shapes    any; a letter has the same length wherever it stands, or 1
    cost      the product of the lengths of all letters, at most: NumPy contracts pairs of operands
              in a good order, by matrix products where it can

The sum is linear in each operand. The gradient of one is therefore the sum of dy with all others,
in which its letters are the output:

    da[n,i,k] = Σ_j dy[n,i,j] · b[n,k,j]        einsum("nij,nkj->nik", dy, b)

A letter that only this operand has was summed over alone: its gradient is the same all along.

Paper: Einstein, Die Grundlage der allgemeinen Relativitätstheorie, Annalen der Physik 49, 1916.

>>> import nanoconv as nc
>>> a = nc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
>>> trace = nc.einsum("ii", a)
>>> trace.item()
5.0
>>> trace.backward()
>>> a.grad.tolist()
[[1.0, 0.0], [0.0, 1.0]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import Op
from ..tensor import Array, Tensor, apply, operand

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # PyTorch's alphabetical order


def _einsum(*xs: Array, terms: tuple[str, ...], output: str) -> Array:
    return np.einsum(f"{','.join(terms)}->{output}", *xs, optimize=True)


def _gradient(k: int, dy: Array, xs: Sequence[Array], terms: tuple[str, ...], output: str) -> Array:
    """By operand k: dy with all others, spread along the letters that only k has."""
    letters, shape = "".join(dict.fromkeys(terms[k])), dict(zip(terms[k], xs[k].shape, strict=True))
    others = [n for n in range(len(xs)) if n != k]
    sources = set(output).union(*(terms[n] for n in others))
    have = "".join(a for a in letters if a in sources)
    inputs = [terms[n] for n in others]
    # A letter of length 1 here may be longer elsewhere: it broadcast, and is summed over.
    known = _einsum(dy, *(xs[n] for n in others), terms=(output, *inputs), output=have)
    for place, a in enumerate(have):
        if shape[a] == 1 and known.shape[place] != 1:
            known = known.sum(place, keepdims=True)
    alone = [place for place, a in enumerate(letters) if a not in have]
    full = np.broadcast_to(np.expand_dims(known, alone), [shape[a] for a in letters])
    if letters == terms[k]:
        return full
    dx = np.zeros_like(full, shape=xs[k].shape)  # a diagonal, back in its place
    np.einsum(f"{terms[k]}->{letters}", dx)[...] = full
    return dx


def _gradients(
    dy: Array, y: None, *xs: Array, terms: tuple[str, ...], output: str
) -> tuple[Array, ...]:
    return tuple(_gradient(k, dy, xs, terms, output) for k in range(len(xs)))


EINSUM = Op(
    "einsum",
    _einsum,
    _gradients,
    macs=lambda y, *xs, terms, output: int(
        np.prod(list(_lengths(terms, [x.shape for x in xs]).values()), dtype=object)
    ),
)


# --------------------------------------------------------------------------- the equation


def _lengths(terms: Sequence[str], shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """The length of each letter; an axis of length 1 broadcasts."""
    found: dict[str, int] = {}
    for k, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        for letter, length in zip(term, shape, strict=True):
            if found.setdefault(letter, length) == 1:
                found[letter] = length
            elif length not in (1, found[letter]):
                raise ValueError(
                    f"einsum: the axis {letter!r} has the length {length} in operand {k}, "
                    f"expected {found[letter]} as before"
                )
    return found


def _check_term(equation: str, term: str) -> None:
    letters = term.replace("...", "", 1)
    if wrong := [a for a in letters if a not in LETTERS]:
        raise ValueError(
            f"einsum: equation={equation!r} has {wrong[0]!r} in {term!r}, expected letters, one "
            "'...' and '->'"
        )


def _parse(equation: str, axes: Sequence[int]) -> tuple[tuple[str, ...], str]:
    """The letters of each operand and of the output, where letters stand for "..." too."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(axes):
        raise ValueError(
            f"einsum: equation={equation!r} has {len(terms)} terms for {len(axes)} operands"
        )
    for term in (*terms, right):
        _check_term(equation, term)
    further = [n - len(term.replace("...", "")) for n, term in zip(axes, terms, strict=True)]
    for k, (more, term) in enumerate(zip(further, terms, strict=True)):
        if more < 0 or (more and "..." not in term):
            raise ValueError(
                f"einsum: operand {k} has {axes[k]} axes, but {term!r} of equation={equation!r} "
                "names others"
            )
    free = [a for a in LETTERS if a not in equation]
    most = max((m for m, term in zip(further, terms, strict=True) if "..." in term), default=0)
    if most > len(free):
        raise ValueError(f"einsum: equation={equation!r} needs more than {len(LETTERS)} letters")
    dots = "".join(free[:most])
    whole = [t.replace("...", dots[most - m :]) for t, m in zip(terms, further, strict=True)]
    if arrow:
        output = right.replace("...", dots)
        for a in output:
            if output.count(a) > 1 or not any(a in term for term in whole):
                raise ValueError(
                    f"einsum: the output of equation={equation!r} has {a!r}, expected letters "
                    "of the operands, each once"
                )
    else:
        joined = "".join(term.replace("...", "") for term in terms)
        output = dots + "".join(a for a in LETTERS if joined.count(a) == 1)
    return tuple(whole), output


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum of products that `equation` describes, of tensors of one dtype.

    As torch.einsum: any number of operands, or one list of them; "..." and implicit outputs.
    Operands between lists of numbers, in the place of letters, are refused.

    Unlike PyTorch: operands have one dtype, and the format with lists of axes is refused.
    """
    if not isinstance(equation, str):
        raise TypeError(
            "einsum: equation must be a string such as 'ij,jk->ik', got "
            f"{type(equation).__name__}; lists of axes are not supported"
        )
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise ValueError("einsum: expected at least one operand")
    for k, t in enumerate(operands):
        if not isinstance(t, Tensor):
            raise TypeError(f"einsum: operand {k} must be a Tensor, got {type(t).__name__}")
        operand(t, operands[0], "einsum")
    terms, output = _parse(equation, [t.ndim for t in operands])
    _lengths(terms, [t.shape for t in operands])
    for term, t in zip(terms, operands, strict=True):
        for a in set(term):  # a diagonal is that of a square
            if len({n for b, n in zip(term, t.shape, strict=True) if a == b}) > 1:
                raise ValueError(
                    f"einsum: operand of shape {list(t.shape)} has no diagonal for {a!r} of "
                    f"{term!r}"
                )
    return apply(EINSUM, *operands, terms=terms, output=output)
