"""Reshaping, permuting, joining, splitting, indexing, padding, dtypes and creation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from elementary import axis, check, ids, nc_or_torch, shapes_with
from harness import Case, installed_rungs, rungs_taken, torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nanoconv as nc
from nanoconv.dispatch import is_channel_slice
from nanoconv.ops import shaping

# --------------------------------------------------------------------------- what to draw


def reshapes(shape):
    """The shape with some neighbours joined or split, and maybe one size left open."""
    total = math.prod(shape)
    choices = [(total,), (-1,), (1, -1), (*shape, 1), (1, *shape), (total, 1)]
    if len(shape) > 1:
        choices += [(shape[0], -1), (-1, shape[-1]), (shape[0] * shape[1], *shape[2:]), shape[::-1]]
    return st.fixed_dictionaries({"shape": st.sampled_from(choices)})


def flattenings(shape):
    n = len(shape)
    ends = st.integers(0, max(n - 1, 0)).flatmap(
        lambda a: st.tuples(st.sampled_from((a, a - max(n, 1))), st.integers(a, max(n - 1, a)))
    )
    return ends.map(lambda ab: {"start_dim": ab[0], "end_dim": ab[1]})


def permutations(shape):
    signs = st.sampled_from((0, len(shape)))
    return st.tuples(st.permutations(range(len(shape))), signs).map(
        lambda drawn: {"dims": tuple(k - drawn[1] for k in drawn[0])}
    )


def squeezings(shape):
    n = max(len(shape), 1)
    several = st.lists(axis(shape), min_size=1, max_size=2, unique_by=lambda k: k % n)
    return st.one_of(st.none(), axis(shape), several.map(tuple)).map(
        lambda dim: {} if dim is None else {"dim": dim}
    )


def paddings(shape):
    widths = st.lists(st.integers(-1, 3), min_size=0, max_size=2 * len(shape))
    return widths.filter(
        lambda w: all(
            n + min(a, 0) + min(b, 0) >= 0
            for n, a, b in zip(shape[::-1], w[::2], w[1::2], strict=False)
        )
    ).map(lambda w: {"pad": w[: len(w) // 2 * 2], "value": 1.5})


def pieces(shape):
    """Sections of a random axis."""
    return axis(shape).flatmap(
        lambda dim: st.one_of(
            st.integers(1, 5),
            st.integers(0, shape[dim]).map(lambda first: [first, shape[dim] - first]),
        ).map(lambda sizes: {"sizes": sizes, "dim": dim})
    )


def indices(shape):
    """Slices, integers, None and ...; or integer arrays; or a mask."""
    basic = hnp.basic_indices(shape, allow_newaxis=True).filter(forward_slices)
    arrays = hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3))
    masks = hnp.arrays(bool, shape)
    return st.one_of(basic, arrays, masks).map(lambda index: {"index": index})


def mixtures(shape):
    """Integers and arrays in one index, and something between or beside them."""
    return (
        mixed(shape)
        .filter(
            lambda index: (
                any(type(k) is int for k in index)
                and any(isinstance(k, (list, np.ndarray)) for k in index)
                and any(k is ... or isinstance(k, slice) for k in index)
            )
        )
        .map(lambda index: {"index": index})
    )


@st.composite
def mixed(draw, shape):
    """Each axis by an integer, a slice or an array, masks over one axis or two, None and `...`."""
    length, index, left = draw(st.integers(1, 3)), [], list(shape)  # arrays must broadcast
    while left:
        n = left.pop(0)
        kinds = ["integer", "slice", "all", "list", "array"]
        kinds += ["mask"] * (n >= length) + ["mask of two"] * bool(left and n * left[0] >= length)
        kind = draw(st.sampled_from(kinds))
        position = st.integers(-n, n - 1)
        if kind == "integer":
            index.append(draw(position))
        elif kind == "slice":
            index.append(draw(st.slices(n).filter(lambda k: k.step is None or k.step > 0)))
        elif kind == "all":
            index.append(slice(None))
        elif kind == "list":
            index.append(draw(st.lists(position, min_size=length, max_size=length)))
        elif kind == "array":
            sides = draw(st.sampled_from([(length,), (1,), (), (2, 1), (2, length)]))
            index.append(draw(hnp.arrays(np.int64, sides, elements=position)))
        else:
            sides = (n, left.pop(0)) if kind == "mask of two" else (n,)
            chosen = draw(st.permutations(range(math.prod(sides))))[:length]
            index.append(np.isin(np.arange(math.prod(sides)), chosen).reshape(sides))
    a = draw(st.integers(0, len(index)))
    b = draw(st.integers(a, len(index)))
    if draw(st.booleans()) and all(isinstance(k, slice) for k in index[a:b]):
        index[a:b] = [...]
    for _ in range(draw(st.integers(0, 2))):
        index.insert(draw(st.integers(0, len(index))), draw(st.sampled_from([None, True])))
    return tuple(index)


def forward_slices(index):
    """PyTorch has no negative steps."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(not isinstance(k, slice) or k.step is None or k.step > 0 for k in parts)


@st.composite
def parts(draw, equal):
    """Shapes of two or three tensors to join along `dim`."""
    shape = draw(st.lists(st.integers(1, 4), min_size=0 if equal else 1, max_size=4))
    dim = draw(axis(shape, more=1 if equal else 0))
    count = draw(st.integers(1, 3))
    shapes = {name: list(shape) for name in "abc"[:count]}
    if not equal:
        for each in shapes.values():
            each[dim] = draw(st.integers(0, 3))
    return {name: tuple(each) for name, each in shapes.items()}, {"dim": dim}


def weighted(tensors):
    """One tensor computed from all: Σ k · (sum of the k-th)."""
    return sum((k + 1.0) * t.sum() for k, t in enumerate(tensors))


def expanded(F, x):
    return x.unsqueeze(0).expand(3, *[-1] * x.ndim)


def size(shapes, attrs):
    return 4 + max(math.prod(shape) for shape in shapes.values())


def torch_index(index):
    if isinstance(index, tuple):
        return tuple(map(torch_index, index))
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


def case(name, function, attrs=None, drawn=None, least=0, **options):
    drawn = shapes_with(attrs, least) if drawn is None else drawn
    return Case(name, function, drawn, size, multilinear=True, **options)


def nothing(shape):
    return st.just({})


CASES = [
    case("reshape", lambda F, x, shape: x.reshape(shape), reshapes),
    case("flatten", lambda F, x, **a: x.flatten(**a), flattenings),
    case("permute", lambda F, x, dims: x.permute(dims), permutations),
    case("permute.many", lambda F, x, dims: x.permute(*dims), permutations, least=3),
    case("squeeze", lambda F, x, **a: x.squeeze(**a), squeezings),
    case(
        "transpose",
        lambda F, x, **a: x.transpose(**a),
        lambda shape: st.fixed_dictionaries({"dim0": axis(shape), "dim1": axis(shape)}),
    ),
    case(
        "unsqueeze",
        lambda F, x, dim: x.unsqueeze(dim),
        lambda shape: axis(shape, more=1).map(lambda dim: {"dim": dim}),
    ),
    case("expand", expanded, nothing),
    case(
        "expand.ones", lambda F, x: x.sum(0, keepdim=True).expand(4, *x.shape[1:]), nothing, least=1
    ),
    case("t", lambda F, x: x.reshape(-1, x.shape[-1]).t(), nothing, least=1),
    case("clone", lambda F, x: x.clone(), nothing),
    case("contiguous", lambda F, x: x.transpose(0, -1).contiguous(), nothing, least=1),
    case("pad", lambda F, x, **a: F.pad(x, **a), paddings),
    case("pad.zero", lambda F, x, pad, value: F.pad(x, pad), paddings),
    case(
        "split",
        lambda F, x, sizes, dim: weighted(x.split(sizes, dim)),
        pieces,
        least=1,
    ),
    case(
        "chunk",
        lambda F, x, chunks, dim: weighted(x.chunk(chunks, dim)),
        lambda shape: st.fixed_dictionaries({"chunks": st.integers(1, 5), "dim": axis(shape)}),
        least=1,
    ),
    case("cat", lambda F, *xs, dim: nc_or_torch(xs[0]).cat(xs, dim), drawn=parts(equal=False)),
    case("stack", lambda F, *xs, dim: nc_or_torch(xs[0]).stack(xs, dim), drawn=parts(equal=True)),
    case(
        "getitem",
        lambda F, x, index: x[index],
        indices,
        least=1,
        oracle=lambda F, x, index: x[torch_index(index)],
    ),
    case(
        "getitem.mixed",
        lambda F, x, index: x[index],
        mixtures,
        least=3,
        oracle=lambda F, x, index: x[torch_index(index)],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=ids)
@given(data=st.data())
def test_equals_pytorch(case, data):
    check(case, data)


@given(drawn=shapes_with(mixtures, least=3), seed=st.integers(0, 99))
def test_assignment_equals_pytorch(drawn, seed):
    """In the order of the axes too: the value has the shape of what the index takes."""
    shape, index = drawn[0]["x"], drawn[1]["index"]
    x = np.random.default_rng(seed).standard_normal(shape)
    ours, theirs = nc.tensor(x), torch.tensor(x)
    places = torch.arange(x.size).reshape(shape)[torch_index(index)]
    value = np.arange(1000.0, 1000 + places.numel()).reshape(places.shape)
    if places.unique().numel() < places.numel():
        value[...] = 7.0  # which of several values stays is not defined
    ours[index] = value
    theirs[torch_index(index)] = torch.tensor(value)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "index",
    [
        (0, slice(None), [0, 1]),
        (slice(None), 0, [0, 1]),
        ([0, 1], slice(None), 0),
        ([0, 1], 0, [0, 1]),
        (0, None, [0, 1]),
        (np.int64(0), slice(None), np.array([[0, 1]])),
        (0, slice(None), np.array([True, False, True, False])),
        (0, ..., [0, 1]),
        (slice(None), [0, 1], ..., [0, 1]),
        (0, True, slice(None), [0, 1]),
        (0, slice(None), (0, 1)),
        (0, slice(None), []),
        (0, np.eye(3, 4) > 0),
    ],
    ids=str,
)
def test_integers_beside_arrays_go_first(index):
    """NumPy would take the integer for an array too, and put the axes in another order."""
    x = np.arange(24.0).reshape(2, 3, 4)
    ours, theirs = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours[index], theirs[torch_index(index)]
    assert y.tolist() == expected.tolist()
    weights = np.arange(1.0, 1 + y.numel()).reshape(y.shape)
    y.backward(weights)
    expected.backward(torch.tensor(weights))
    assert ours.grad.tolist() == theirs.grad.tolist()
    with nc.no_grad(), torch.no_grad():
        ours[index] = -weights
        theirs[torch_index(index)] = torch.tensor(-weights)
    assert ours.tolist() == theirs.tolist()


# --------------------------------------------------------------------------- views and copies

VIEWS = {
    "reshape": lambda x: x.reshape(6, 4),
    "view": lambda x: x.view(4, -1),
    "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(0, 2),
    "t": lambda x: x[0].t(),
    "T": lambda x: x[0].T,
    "squeeze": lambda x: x[:1].squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "expand": lambda x: x.expand(5, 2, 3, 4),
    "split": lambda x: x.split(2, 1)[0],
    "chunk": lambda x: x.chunk(2, 2)[1],
    "slice": lambda x: x[:, 1:, ::2],
    "element": lambda x: x[1, 2, 3],
    "zero-dimensional index": lambda x: x[nc.tensor(1)],
    "detach": lambda x: x.detach(),
    "contiguous": lambda x: x.contiguous(),
    "to": lambda x: x.to("float32"),
}
COPIES = {
    "reshape": lambda x: x.transpose(0, 2).reshape(6, 4),
    "flatten": lambda x: x.transpose(0, 2).flatten(),
    "clone": lambda x: x.clone(),
    "contiguous": lambda x: x.transpose(0, 2).contiguous(),
    "to": lambda x: x.to(np.float64),
    "mask": lambda x: x[x > 3],
    "positions": lambda x: x[[0, 1]],
    "cat": lambda x: nc.cat([x]),
    "stack": lambda x: nc.stack([x]),
    "pad": lambda x: nc.functional.pad(x, (0, 0)),
    "tensor": lambda x: nc.tensor(x),
}


@pytest.mark.parametrize("function", VIEWS.values(), ids=VIEWS)
def test_views_share_memory(function):
    x = nc.arange(24).float().reshape(2, 3, 4)
    y = function(x)
    x.fill_(5)
    assert (y.numpy() == 5).all()


@pytest.mark.parametrize("function", COPIES.values(), ids=COPIES)
def test_copies_do_not(function):
    x = nc.arange(24).float().reshape(2, 3, 4)
    y = function(x)
    before = y.numpy().copy()
    x.fill_(5)
    np.testing.assert_array_equal(y.numpy(), before)


def test_view_refuses_to_copy():
    with pytest.raises(ValueError, match=r"view: shape=\[6\] needs a copy, .* use reshape\(\)"):
        nc.zeros(2, 3).t().view(6)
    assert nc.zeros(4, 2)[::2].view(1, 2, 2).shape == (1, 2, 2)


# --------------------------------------------------------------------------- refusals

REFUSALS = [
    (lambda x: x.reshape(4, 5), r"reshape: shape=\[4, 5\] does not fit the 24 elements"),
    (lambda x: x.reshape(-1, 5), r"reshape: shape=\[-1, 5\] does not fit"),
    (lambda x: x.reshape(-1, -1), r"reshape: shape=\[-1, -1\] does not fit"),
    (lambda x: x.reshape(-2, -12), r"reshape: shape=\[-2, -12\] does not fit"),
    (lambda x: x[:, :0].reshape(0, -1), r"reshape: shape=\[0, -1\] does not fit the 0 elements"),
    (lambda x: x.reshape(2.0, 12), r"reshape: shape=2\.0, expected an integer"),
    (lambda x: x.view(5), r"view: shape=\[5\] does not fit"),
    (lambda x: x.flatten(2, 1), r"flatten: start_dim=2 is behind end_dim=1"),
    (lambda x: x.flatten(3), r"flatten: start_dim=3, expected -3 to 2 for 3 axes"),
    (lambda x: x.permute(0, 1), r"permute: dims=\[0, 1\] must name each of 3 axes once"),
    (lambda x: x.permute(0, 1, 1), r"permute: dims=\[0, 1, 1\] must name each of 3 axes once"),
    (lambda x: x.transpose(0, 3), r"transpose: dim1=3, expected -3 to 2"),
    (lambda x: x.t(), r"t: expected at most 2 axes, got \[2, 3, 4\]"),
    (lambda x: x.squeeze(3), r"squeeze: dim=3, expected -3 to 2"),
    (lambda x: x.squeeze((0, -3)), r"squeeze: dim=\(0, -3\) names an axis twice"),
    (lambda x: x.unsqueeze(4), r"unsqueeze: dim=4, expected -4 to 3 for 4 axes"),
    (lambda x: x.expand(3, 3, 4), r"expand: size=\[3, 3, 4\] does not fit shape \[2, 3, 4\]"),
    (lambda x: x.expand(3, 4), r"expand: size=\[3, 4\] does not fit shape \[2, 3, 4\]"),
    (lambda x: x.expand(-1, 2, 3, 4), r"expand: size=\[-1, 2, 3, 4\] does not fit"),
    (lambda x: x.split(0), r"split: split_size=0 must be positive for an axis of 2"),
    (lambda x: x.split([1, 2]), r"split: sections=\[1, 2\] must sum to the 2 of axis 0"),
    (lambda x: x.split([3, -1]), r"split: sections=\[3, -1\] must sum to the 2 of axis 0"),
    (lambda x: x[0, 0, 0].split(1), r"split: expected at least one axis"),
    (lambda x: x[0, 0, 0].chunk(1), r"split: expected at least one axis"),
    (lambda x: x.chunk(0), r"chunk: chunks=0, expected at least 1"),
    (lambda x: nc.cat([]), r"cat: tensors is empty"),
    (lambda x: nc.cat([x, x[0]]), r"cat: tensors\[1\] has shape \[3, 4\], tensors\[0\] has"),
    (lambda x: nc.cat([x, x[:, :2]]), r"cat: tensors\[1\] .* may differ only in axis 0"),
    (lambda x: nc.cat([x, x.double()]), r"cat: dtypes differ, float32 and float64"),
    (lambda x: nc.cat([x, 1]), r"cat: tensors\[1\] must be a Tensor, got int"),
    (lambda x: nc.cat([x[0, 0, 0]]), r"cat: tensors\[0\] is a scalar"),
    (lambda x: nc.cat([nc.zeros(0), x[0, 0, 0]]), r"cat: tensors\[1\] is a scalar"),
    (lambda x: nc.cat([nc.zeros(0), x, x[0]]), r"cat: tensors\[2\] .* tensors\[1\] has"),
    (lambda x: nc.cat([nc.zeros(0), x], 3), r"cat: dim=3, expected -3 to 2 for 3 axes"),
    (lambda x: x.split(), r"split: expected one of split_size and split_size_or_sections"),
    (lambda x: x.split(1, split_size=1), r"split: expected one of split_size and"),
    (lambda x: x.reshape(24, shape=(24,)), r"reshape: shape is given twice"),
    (lambda x: x["a"], r"index: a <U1 array is neither a mask"),
    (lambda x: x[{0}], r"index: only integers, .* are valid indices, got set"),
    (lambda x: nc.stack([]), r"stack: tensors is empty"),
    (lambda x: nc.stack([x, x[:1]]), r"stack: tensors\[1\] has shape \[1, 3, 4\]"),
    (lambda x: nc.stack([x], 5), r"stack: dim=5, expected -4 to 3 for 4 axes"),
    (lambda x: nc.functional.pad(x, (1,)), r"pad: pad=\[1\], expected two widths"),
    (lambda x: nc.functional.pad(x, (1,) * 8), r"pad: pad=.*, expected two .* at most 3 axes"),
    (lambda x: nc.functional.pad(x, (-3, -2)), r"pad: pad=\[-3, -2\] crops more than shape"),
    (lambda x: nc.functional.pad(x, (-5, 9)), r"pad: pad=\[-5, 9\] crops more than shape"),
    (lambda x: nc.functional.pad(x, (1, 1), "zeros"), r"pad: mode='zeros', expected one of"),
    (lambda x: nc.functional.pad(x.long(), (1, 1), value=0.5), r"pad: the float 0\.5 does not fit"),
    (lambda x: x.contiguous("channels_last"), r"contiguous: channels_last needs 4 axes"),
    (lambda x: x.contiguous("nhwc"), r"is_contiguous: memory_format='nhwc', expected"),
    (lambda x: x.to("float16"), r"to: dtype float16 is not supported; expected one of float32"),
    (lambda x: x[0.5], r"are valid indices"),
    (lambda x: x[nc.tensor([0.5])], r"index: a float32 array is neither a mask"),
    (lambda x: x[nc.tensor([0], dtype="uint8")], r"index: a uint8 array is neither a mask"),
    (lambda x: x[2], r"index 2 is out of bounds for axis 0 with size 2"),
    (lambda x: x[0, 0, 0, 0], r"too many indices"),
    (lambda x: x[nc.tensor([True, False, True])], r"boolean index did not match"),
    (lambda x: nc.zeros(-1), r"zeros: size=\[-1\], expected no negative lengths"),
    (lambda x: nc.zeros(1.5), r"zeros: size=1\.5, expected an integer"),
    (lambda x: nc.full((2,), [1, 2]), r"full: fill_value has shape \[2\], expected a number"),
    (lambda x: nc.arange(3, 0), r"arange: step=1 does not lead from 3 to 0"),
    (lambda x: nc.arange(0, 3, 0), r"arange: step=0 does not lead from 0 to 3"),
    (lambda x: nc.rand(2, dtype="int64"), r"rand: dtype=int64, expected float32 or float64"),
    (lambda x: nc.ones(2, dtype="float16"), r"dtype float16 is not supported"),
]


@pytest.mark.parametrize(("function", "message"), REFUSALS, ids=[m for _, m in REFUSALS])
def test_refusals(function, message):
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        function(nc.arange(24).float().reshape(2, 3, 4))


# --------------------------------------------------------------------------- small facts


def test_empty_tensors():
    x = nc.zeros(2, 0, 3, requires_grad=True)
    for y in (
        x.reshape(0),
        x.view(3, 0),
        x.reshape(2, 3, -1),
        x.flatten(),
        x.permute(2, 1, 0),
        x.unsqueeze(0),
        x.expand(4, 2, 0, 3),
        nc.cat([x, x], 1),
        nc.stack([x, x]),
        x[:, :, 1],
        x[:, nc.tensor(np.zeros(0, np.int64))],
        x[:, []],
        x[nc.zeros(2, 0, 3, dtype="bool")],
        x.split(1, 1)[0],
        x.contiguous(),
        x.double(),
    ):
        assert y.numel() == 0
        y.sum().backward()
    assert x.grad.shape == x.shape
    assert [p.shape for p in nc.zeros(0).chunk(3)] == [(0,), (0,), (0,)]
    assert nc.functional.pad(x, (0, 0, 1, 0), value=2.0).tolist() == [[[2, 2, 2]]] * 2
    assert nc.zeros(1, 3).expand(0, 3).shape == (0, 3)


def test_repeated_positions_add_up():
    x = nc.zeros(3, requires_grad=True)
    y = x[nc.tensor([0, 2, 0, -1, 0])]
    y.backward(np.float32([1, 10, 2, 20, 4]))
    assert x.grad.tolist() == [7, 0, 30]


@pytest.mark.parametrize("none", [(), []])
def test_squeeze_of_no_axes(none):
    x = nc.zeros(1, 2, 1)
    assert x.squeeze(none).shape == nc.squeeze(x, none).shape == (1, 2, 1)
    assert x.squeeze().shape == x.squeeze(None).shape == (2,)


@pytest.mark.parametrize(
    ("shapes", "dim"),
    [
        ([(0,), (2, 3)], 0),
        ([(0,), (2, 3), (0,), (2, 1), (0,)], 1),
        ([(2, 1, 3), (0,)], -2),
        ([(0,), (0,)], 0),
        ([(0,), (2,)], 0),
        ([(0,), (2, 0)], 1),
    ],
)
def test_cat_skips_what_lists_are_begun_with(shapes, dim):
    results = []
    for library in (nc, torch):
        leaves = [library.ones(*shape, requires_grad=True) for shape in shapes]
        y = library.cat(leaves, dim)
        (y * y).sum().backward()
        results.append([tuple(t.shape) for t in (y, *(leaf.grad for leaf in leaves))])
        results[-1] += [leaf.grad.tolist() for leaf in leaves]
    assert results[0] == results[1]


LARGE = np.random.default_rng(0).standard_normal((2, 33, 33, 40), np.float32).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("images", "rung"),
    [
        ((LARGE, LARGE[:, :3]), "cython.rows"),
        ((LARGE[:, 1:33], LARGE, LARGE[:, 39:]), "cython.rows"),
        ((np.zeros(0, np.float32), LARGE, np.zeros(0, np.float32)), "cython.rows"),
        ((LARGE[:, :0], LARGE), "numpy"),  # too small a first one
        ((LARGE, LARGE[:, ::2]), "numpy"),
        ((LARGE, np.ascontiguousarray(LARGE)), "numpy"),
        ((LARGE, LARGE[..., ::-1]), "numpy"),
        ((LARGE.astype("int64"),) * 2, "numpy"),
        ((LARGE.astype("float64"),) * 2, "numpy"),
    ],
)
def test_cat_of_large_images(images, rung):
    if rung not in installed_rungs(shaping.CHANNELS):
        pytest.skip(f"{rung} is not installed")
    with nc.use("auto"), rungs_taken() as taken:
        y = nc.cat([nc.from_numpy(x) for x in images], 1)
    assert [ran.rung for ran in taken] == [rung]
    parts = [x for x in images if x.ndim == 4]
    np.testing.assert_array_equal(y.numpy(), np.concatenate(parts, 1))
    assert y.is_contiguous(nc.channels_last) or not all(map(is_channel_slice, parts))


def test_iteration_and_length():
    x = nc.arange(6).reshape(3, 2)
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    assert len(x) == 3
    with pytest.raises(TypeError, match="got a scalar"):
        len(x[0, 0])


def test_python_sequences_of_booleans_and_none():
    x = nc.arange(3)
    assert x[[True, False, True]].tolist() == [0, 2]
    assert x[None].shape == x[True].shape == (1, 3)
    assert x[...].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.clone(),
        lambda x: x.double(),
        lambda x: nc.cat([x, x], 1),
        lambda x: nc.cat([x, x], 0),
        lambda x: nc.functional.pad(x, (1, 2, 3, 0)),
        lambda x: nc.functional.pad(x, (-1, 0)),
        lambda x: nc.zeros_like(x),
        lambda x: nc.ones_like(x),
        lambda x: x.contiguous("channels_last"),
        lambda x: x.contiguous().to(memory_format=nc.channels_last),
        lambda x: x.split(2, 1)[0].clone(),
    ],
)
def test_channels_last_is_kept(function):
    x = nc.randn(2, 3, 4, 5).contiguous("channels_last").requires_grad_()
    y = function(x)
    assert y.is_contiguous("channels_last")
    assert not y.is_contiguous()
    if y.requires_grad:
        y.retain_grad()
        (y * 1).backward(np.ones_like(y.detach().numpy()))
        assert y.grad.is_contiguous("channels_last")


def test_contiguous_and_to_return_what_fits_already():
    x = nc.zeros(1, 2, 3, 4)
    assert x.contiguous() is x
    assert x.to(np.float32) is x
    assert x.float() is x
    y = x.contiguous(memory_format=nc.channels_last)
    assert y.contiguous(memory_format=nc.channels_last) is y
    assert y.contiguous().is_contiguous()
