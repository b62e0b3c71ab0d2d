"""Flips, rolls, repetitions, triangles, slices; running sums and products."""

from __future__ import annotations

import math

import numpy as np
import pytest
from elementary import axis, check, ids, nc_or_torch, same_as_torch, shapes_with
from harness import Case, torch
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc


def size(shapes, attrs):
    return 4 + 30 * math.prod(shapes["x"])


def case(name, function, attrs, least=0, smallest=1, **options):
    options.setdefault("multilinear", True)
    return Case(name, function, shapes_with(attrs, least, smallest), size, **options)


def some_axes(shape):
    return st.permutations(range(len(shape))).flatmap(
        lambda p: st.integers(0, len(p)).map(lambda n: {"dims": tuple(p[:n])})
    )


def rolls(shape):
    pair = st.tuples(st.integers(-6, 6), axis(shape))
    return st.one_of(
        st.fixed_dictionaries({"shifts": st.integers(-30, 30)}),
        pair.map(lambda p: {"shifts": p[0], "dims": p[1]}),
        st.lists(pair, min_size=1, max_size=3).map(
            lambda p: {"shifts": tuple(s for s, _ in p), "dims": tuple(d for _, d in p)}
        ),
    )


def repetitions(shape):
    return st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape) + 1).map(
        lambda r: {"repeats": r}
    )


def one_axis(shape):
    return axis(shape).map(lambda dim: {"dim": dim})


def moves(shape):
    places = st.permutations(range(-len(shape), 0))
    return st.tuples(places, places, st.integers(0, len(shape))).map(
        lambda d: {"source": tuple(d[0][: d[2]]), "destination": tuple(d[1][: d[2]])}
    )


def slices(shape):
    return axis(shape).flatmap(
        lambda dim: st.integers(-shape[dim], shape[dim]).flatmap(
            lambda start: st.integers(0, (-start if start < 0 else shape[dim] - start)).map(
                lambda length: {"dim": dim, "start": start, "length": length}
            )
        )
    )


def diagonals(shape):
    return st.integers(-4, 4).map(lambda d: {"diagonal": d})


def weighted(tensors):
    return sum((k + 1.0) * t.sum() for k, t in enumerate(tensors))


CASES = [
    case("flip", lambda F, x, dims: x.flip(dims), some_axes),
    case("roll", lambda F, x, **a: x.roll(**a), rolls, least=1),
    case("repeat", lambda F, x, repeats: x.repeat(*repeats), repetitions, least=1),
    case("tile", lambda F, x, repeats: x.tile(repeats[1:]), repetitions, least=1),
    case("movedim", lambda F, x, **a: x.movedim(**a), moves),
    case("moveaxis", lambda F, x, **a: x.moveaxis(**a), moves),
    case("swapaxes", lambda F, x, dim: x.swapaxes(0, dim), one_axis),
    case("swapdims", lambda F, x, dim: x.swapdims(0, dim), one_axis),
    case("narrow", lambda F, x, **a: x.narrow(**a), slices, least=1),
    case("unbind", lambda F, x, dim: weighted(x.unbind(dim)), one_axis, least=1),
    case("tril", lambda F, x, **a: x.tril(**a), diagonals, least=2),
    case("triu", lambda F, x, **a: x.triu(**a), diagonals, least=2),
    case("cumsum", lambda F, x, dim: x.cumsum(dim), one_axis),
    case("cumprod", lambda F, x, dim: x.cumprod(dim), one_axis, multilinear=False),
    case(
        "cumprod.zeros",
        lambda F, x, dim: x.clamp(min=0).cumprod(dim),
        one_axis,
        multilinear=False,
    ),
    case("prod", lambda F, x: x.prod(), lambda shape: st.just({}), multilinear=False),
    case(
        "prod.along",
        lambda F, x, dim, keepdim: nc_or_torch(x).prod(x, dim, keepdim),
        lambda shape: st.fixed_dictionaries({"dim": axis(shape), "keepdim": st.booleans()}),
        multilinear=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=ids)
@given(data=st.data())
def test_equals_pytorch(case, data):
    check(case, data)


@pytest.mark.parametrize("values", [(2, 0, 3), (0, 0, 3), (0,), (np.inf, 2), (np.nan, 1.0), ()])
def test_product_with_zeros(values):
    same_as_torch(lambda x: x.prod(), values)
    same_as_torch(lambda x: x.prod(0), values)
    same_as_torch(lambda x: x.cumprod(0).sum(), values)


def test_integers_become_long():
    x = nc.tensor([1, 2, 3], dtype="int32")
    for function in (lambda x: x.cumsum(0), lambda x: x.cumprod(0), lambda x: x.prod()):
        assert function(x).dtype == np.int64
    assert nc.tensor([True, True]).cumsum(0).tolist() == [1, 2]
    assert x.cumsum(0, dtype="float64").dtype == np.float64
    assert x.prod(dtype="float32").item() == 6.0


def test_triangles_of_odd_values():
    x = np.full((3, 3), np.nan)
    np.testing.assert_array_equal(nc.tensor(x).tril().numpy(), torch.tensor(x).tril().numpy())


def test_views_share_memory():
    x = nc.zeros(2, 3)
    for y in (x.narrow(1, 1, 2), x.unbind(0)[1], x.movedim(0, 1), x.swapaxes(0, 1)):
        assert np.shares_memory(x.numpy(), y.numpy())


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.flip(0, 0), ValueError, "flip: dim=.* names an axis twice"),
        (lambda x: x.flip(2), ValueError, "flip: dim=2"),
        (lambda x: x.roll((1, 2)), ValueError, "roll: shifts=.* expected one shift for each"),
        (lambda x: x.roll(1, (0, 1)), ValueError, "roll: shifts=1 and dims="),
        (lambda x: x.roll(1.5, 0), TypeError, "roll: shifts=1.5, expected an integer"),
        (lambda x: x.sum().roll(1, 0), ValueError, "roll: dims=0, expected none for a scalar"),
        (lambda x: x.repeat(2), ValueError, r"repeat: \[2\] repetitions, expected at least 2"),
        (lambda x: x.repeat(2, -1), ValueError, r"repeat: \[2, -1\] repetitions"),
        (lambda x: x.repeat(2**40, 2), ValueError, r"repeat: .* at most 2\*\*40"),
        (lambda x: x.movedim(0, (0, 1)), ValueError, "movedim: source=0 and destination"),
        (lambda x: x.movedim((0, 0), (0, 1)), ValueError, "movedim: source="),
        (lambda x: x.narrow(0, 1, 2), ValueError, "narrow: start=1 and length=2 do not fit the 2"),
        (lambda x: x.narrow(0, -3, 1), ValueError, "narrow: start=-3"),
        (lambda x: x.narrow(0, 0, -1), ValueError, "narrow: start=0 and length=-1"),
        (lambda x: x.sum().narrow(0, 0, 1), ValueError, "narrow: expected at least one axis"),
        (lambda x: x.sum().unbind(), ValueError, "unbind: expected at least one axis"),
        (lambda x: x[0].tril(), ValueError, r"tril: input has shape \[3\], expected matrices"),
        (lambda x: x.triu(0.5), TypeError, "triu: diagonal=0.5"),
        (lambda x: x.cumsum(2), ValueError, "cumsum: dim=2"),
        (lambda x: x.cumprod(2), ValueError, "cumprod: dim=2"),
        (lambda x: x.prod(2), ValueError, "prod: dim=2"),
    ],
)
def test_refusals(function, error, message):
    with pytest.raises(error, match=message):
        function(nc.zeros(2, 3))
