"""einsum: the equation's grammar, its gradients, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from elementary import check
from harness import Case, torch
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.tape import observe

EQUATIONS = (
    "ij,jk->ik", "ij,jk", "bij,bjk->bik", "...ij,...jk->...ik", "i,i", "i,j->ij", "ii", "ii->i",
    "iij->j", "ij->ji", "ba", "ij->", "i,ij,j->", "ij,ik,il->jkl", "...,...", "i...->...",
    "...i->...", "b...c,b...d->...cd", "iij,jk->ik", "ij,kj,ki", "aB,Ba->", "iji,jk->k",
    "ij,kl->ik", "i...j->ij", " i j , j k -> i k ", "ijk,jil->kl", "a,b,c,d->dcba", "ij,ij,ij->i",
)  # fmt: skip


@st.composite
def equations(draw):
    equation = draw(st.sampled_from(EQUATIONS))
    lengths = {a: draw(st.integers(1, 3)) for a in equation if a.isalpha()}
    dots = draw(st.lists(st.integers(1, 3), max_size=2))
    shapes = {}
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    for name, term in zip("abcd", terms, strict=False):
        shape = []
        for part in term.replace("...", "."):
            if part == ".":  # fewer axes and axes of length 1 broadcast
                skip = draw(st.integers(0, len(dots)))
                shape += [draw(st.sampled_from((n, n, 1))) for n in dots[skip:]]
            else:
                once = term.count(part) == 1
                shape.append(draw(st.sampled_from((lengths[part],) * 4 + (1,) * once)))
        shapes[name] = tuple(shape)
    return shapes, {"equation": equation}


def size(shapes, attrs):
    return 8 + math.prod(max(n, 1) for shape in shapes.values() for n in shape)


EINSUM = Case(
    "einsum",
    lambda F, *xs, equation: (nc if isinstance(xs[0], nc.Tensor) else torch).einsum(equation, *xs),
    equations(),
    size,
    multilinear=True,
)


@given(data=st.data())
def test_equals_pytorch(data):
    check(EINSUM, data)


def test_operands_in_a_list():
    a = nc.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert nc.einsum("ij,jk", [a, a]).tolist() == (a @ a).tolist()
    assert nc.einsum("", nc.tensor(2.0)).item() == 2.0
    assert nc.einsum("ij->ij", nc.zeros(0, 3)).shape == (0, 3)
    assert nc.einsum("ij,jk->ik", nc.zeros(2, 0), nc.zeros(0, 3)).tolist() == [[0.0] * 3] * 2
    assert nc.einsum("ij,j->i", nc.tensor([[1, 2]]), nc.tensor([3, 4])).tolist() == [11]


def test_an_operand_without_gradient_costs_none():
    a, b = nc.randn(2, 3, requires_grad=True), nc.randn(3, 4)
    nc.einsum("ij,jk->ik", a, b).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), np.tile(b.numpy().sum(1), (2, 1)), rtol=1e-5)
    assert b.grad is None


def test_multiply_adds():
    seen = []
    with observe(lambda op, inputs, attrs, y, extra: seen.append(op.macs(y, *inputs, **attrs))):
        nc.einsum("ij,jk->ik", nc.zeros(2, 3), nc.zeros(3, 4))
    assert seen == [24]


@pytest.mark.parametrize(
    ("equation", "shapes", "error", "message"),
    [
        ("ij,jk->ik", [(2, 3)], ValueError, "has 2 terms for 1 operands"),
        ("ij->i", [(2,)], ValueError, "operand 0 has 1 axes, but 'ij'"),
        ("i->i", [(2, 2)], ValueError, "operand 0 has 2 axes, but 'i'"),
        ("...ij->i", [(2,)], ValueError, "operand 0 has 1 axes"),
        ("ij,jk", [(2, 3), (4, 2)], ValueError, "axis 'j' has the length 4 in operand 1"),
        ("ii", [(2, 3)], ValueError, "'i'"),
        ("ii", [(1, 3)], ValueError, "has no diagonal for 'i'"),
        ("i->ii", [(2,)], ValueError, "the output of .* has 'i'"),
        ("i->j", [(2,)], ValueError, "the output of .* has 'j'"),
        ("i1", [(2, 2)], ValueError, "has '1' in 'i1'"),
        ("i.j", [(2, 2)], ValueError, "has '.' in 'i.j'"),
        ("......", [(2, 2)], ValueError, "has '.' in"),
        ("i->i->i", [(2,)], ValueError, "expected letters"),
        ("", [], ValueError, "expected at least one operand"),
    ],
)
def test_refusals(equation, shapes, error, message):
    with pytest.raises(error, match=f"einsum: .*{message}"):
        nc.einsum(equation, *(nc.zeros(*shape) for shape in shapes))


def test_wrong_types():
    a = nc.zeros(2, 2)
    with pytest.raises(TypeError, match="einsum: equation must be a string"):
        nc.einsum(a, [0, 1])
    with pytest.raises(TypeError, match="einsum: operand 1 must be a Tensor, got list"):
        nc.einsum("ij,j", a, [0.0, 1.0])
    with pytest.raises(TypeError, match="einsum: dtypes differ"):
        nc.einsum("ij,jk", a, nc.zeros(2, 2, dtype="float64"))
