"""Sessions in files: the same bits come back, and nothing but a whole file of ours is read."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rounding import assert_near
from safetensors import safe_open
from safetensors.numpy import save_file
from sessions import eager_to_fuse, flat, kernels, same_bits, tiles, truth_of
from small_models import SmallModel

import nanoconv as nc
from nanoconv import _kernels, nn
from nanoconv.graph import capture
from nanoconv.infer import packing
from nanoconv.infer.saving import checksum_of
from nanoconv.tape import checksum

plan_cy = pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
F = nc.functional


def normed_net() -> nn.Module:
    """With a layer that no kernel computes, so that its weights are read as they are."""
    nc.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 5, 3),
    ).eval()  # fmt: skip


def small_net() -> nn.Module:
    nc.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.Hardswish(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5), nn.Softmax(1),
    ).eval()  # fmt: skip


X = np.random.default_rng(0).standard_normal((1, 3, 9, 8)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a small session."""
    nc.compile(small_net(), X.shape).save(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


# --------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("number", range(24))
def test_a_loaded_session_has_the_same_bits(tmp_path: Path, number: int) -> None:
    model = SmallModel(21, number)
    xs = model.inputs()
    with eager_to_fuse(4) if number % 2 else eager_to_fuse():
        session = nc.compile(model, model.shapes, dynamic_batch=number % 3 == 0, threads=2)
        if not session.alone:
            pytest.skip("its images depend on each other")
        session.save(tmp_path / "s")
        loaded = nc.Session.load(tmp_path / "s", threads=2)
    assert kernels(loaded) == kernels(session)
    assert loaded.input_shapes == session.input_shapes
    same_bits(loaded(*xs), session(*xs), f"{model!r}")
    results = loaded(*xs)
    assert nc.graph.ir.mapped(results, lambda _: 0) == nc.graph.ir.mapped(session(*xs), lambda _: 0)
    loaded.save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "s")


def test_numbers_as_constants(tmp_path: Path) -> None:
    session = nc.compile(lambda x: (x + 1).pow(2), X.shape, skip=["fold_constants"])
    assert () in {array.shape for array in session.graph.constants.values()}
    session.save(tmp_path / "s")
    same_bits(nc.Session.load(tmp_path / "s")(X), session(X), "loaded")


def contents(path: Path) -> tuple[dict, dict]:
    """The metadata of a file, and the bytes of its tensors."""
    with safe_open(path, "np") as file:
        names = file.keys()
        return file.metadata(), {name: file.get_tensor(name).tobytes() for name in names}


def test_choices_stay(path: Path, tmp_path: Path) -> None:
    w = nc.tensor(np.ones((32, 32, 3, 3), "f4"))
    with eager_to_fuse(2):
        session = nc.compile(lambda x: F.conv2d(x, w), (2, 32, 9, 9), skip=["winograd", "bands"])
        session.save(tmp_path / "s")
        loaded = nc.Session.load(tmp_path / "s")
    assert tiles(loaded) == set()
    assert loaded.batch == 2


OTHER_LEVEL = """
import sys
import numpy as np
import nanoconv as nc
session = nc.Session.load(sys.argv[1])
xs = np.load(sys.argv[2])
ys = list(nc.graph.ir.leaves(session(*xs.values())))
np.savez(sys.argv[3], *ys)
print(nc.isa())
"""


@pytest.mark.parametrize(
    "level", [v for v in _kernels.built() if v in _kernels.supported() and v != _kernels.level]
)
def test_another_level_packs_the_weights_again(tmp_path: Path, level: str) -> None:
    for number in range(4):
        model = SmallModel(22, number)
        xs = model.inputs()
        session = nc.compile(model, model.shapes)
        session.save(tmp_path / "s")
        np.savez(tmp_path / "x.npz", *xs)
        names = (str(tmp_path / name) for name in ("s", "x.npz", "y.npz"))
        run(OTHER_LEVEL, *names, NANOCONV_ISA=level)
        graph = capture(model, *xs)
        truth = truth_of(graph, xs, session)
        for m in (2, 4):  # with shorter vectors, Winograd may be faster where it was not
            wider = truth_with(graph, xs, m)
            truth = [
                a if (a.error >= b.error).all() else b for a, b in zip(truth, wider, strict=True)
            ]
        with np.load(tmp_path / "y.npz") as found:
            assert_near(list(found.values()), truth, f"{model!r} on {level}")


def truth_with(graph: Any, xs: list, m: int) -> list:
    from rounding import outputs

    return outputs(graph, *xs, tiles={m})


def run(code: str, *arguments: str, **environment: str) -> str:
    """The output of a new process."""
    command = [sys.executable, "-P", "-c", code, *arguments]
    root = str(Path(nc.__file__).parent.parent)
    variables = os.environ | {"PYTHONPATH": root} | environment
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loading_needs_no_model_and_no_numba(path: Path) -> None:
    code = """
import sys
import numpy as np
import nanoconv as nc
session = nc.Session.load(sys.argv[1])
session(np.zeros((1, 3, 9, 8), np.float32))
print(*sorted(name for name in sys.modules if name.startswith(("nanoconv.nn", "nanoconv.models",
    "numba", "llvmlite", "torch", "nanoconv.optim", "nanoconv.compress", "PIL"))))
"""
    assert run(code, str(path)).split() == []


# --------------------------------------------------------------------------- what is refused


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(ValueError, match=match) as found:
        nc.Session.load(path)
    text = str(found.value)
    assert text.startswith(f"load: {path}: ")
    assert "\n" not in text
    assert len(text) < 400


def test_truncated_files(path: Path) -> None:
    whole = path.read_bytes()
    for size in [*range(64), *range(64, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(path)


@pytest.mark.parametrize("net", [small_net, normed_net])
def test_flipped_bits_anywhere(path: Path, net: Any) -> None:
    """Every file with one wrong bit is refused, or the bit was in nothing that is read."""
    nc.compile(net(), X.shape).save(path)
    whole = bytearray(path.read_bytes())
    expected = nc.Session.load(path)(X)
    rng = np.random.default_rng(0)
    header = int.from_bytes(whole[:8], "little") + 8
    places = [*range(16), *rng.integers(0, header, 700), *rng.integers(header, len(whole), 700)]
    refusals: list[str] = []
    for place in map(int, places):
        flipped = whole.copy()
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            session = nc.Session.load(path)
        except ValueError as error:
            refusals.append(str(error))
            continue
        same_bits(session(X), expected, f"byte {place} is wrong")
    assert len(refusals) > len(places) / 2
    assert all(text.startswith(f"load: {path}: ") and "\n" not in text for text in refusals)


@pytest.mark.parametrize("threads", [0, -3, 2.5, "2", True])
def test_bad_threads(path: Path, threads: Any) -> None:
    with pytest.raises(ValueError, match=f"load: threads={threads!r}, expected a positive integer"):
        nc.Session.load(path, threads)


def test_no_more_threads_than_there_can_be(path: Path) -> None:
    assert (
        nc.Session.load(path, 10**6).threads
        == nc.compile(small_net(), X.shape, threads=10**6).threads
        < 10**6
    )


def test_a_flipped_bit_in_each_tensor(path: Path, tmp_path: Path) -> None:
    """Damaged weights are refused where they are read, and nowhere written again."""
    session = nc.compile(normed_net(), X.shape)
    norm = next(node for node in session.graph.nodes if node.op.name == "group_norm")
    session.save(path)
    values = session.trace(X)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    places = {name: about["data_offsets"] for name, about in json.loads(whole[8:header]).items()
              if name != "__metadata__"}  # fmt: skip
    read = {"packed.0", "packed.2", *(f"constant.{k}" for k in norm.inputs[1:])}
    assert read < places.keys()
    for name, (start, _) in places.items():
        flipped = bytearray(whole)
        flipped[header + start + 2] ^= 1 << 6
        path.write_bytes(flipped)
        if name in read:
            refused(path, f"is damaged: {name} is not what was written")
            continue
        loaded = nc.Session.load(path)
        same_bits(loaded.trace(X), values, f"traced with a wrong bit in {name}")
        with pytest.raises(ValueError, match=f"save: the file that was loaded is damaged: {name}"):
            loaded.save(tmp_path / "again")


def test_garbage_and_foreign_files(path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        path.write_bytes(rng.bytes(int(rng.integers(1, 4000))))
        refused(path)
    nc.save(small_net().state_dict(), tmp_path / "weights.safetensors")
    refused(tmp_path / "weights.safetensors", "is no session")
    np.savez(tmp_path / "weights.npz", **small_net().state_dict())
    refused(tmp_path / "weights.npz")
    (tmp_path / "text").write_text("a session\n")
    refused(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        nc.Session.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        nc.Session.load(tmp_path)


# --------------------------------------------------------------------------- what means harm


def changed(path: Path, change: Any) -> None:
    """Rewrite a file with another description, and the checksums that it should have."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about = json.loads(metadata["session"])
    change(about, tensors)
    about["checksums"] = {name: checksum(a) for name, a in tensors.items()}
    text = json.dumps(about)
    save_file(tensors, path, {**metadata, "session": text, "checksum": str(checksum_of(text))})


def test_weights_packed_by_another_rule_are_refused(path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(packing.Machine, "quickest_panel", lambda *_: 1)
    with pytest.raises(ValueError, match="packed by rules"):
        nc.Session.load(path)


def test_rewriting_alone_does_no_harm(path: Path) -> None:
    expected = nc.Session.load(path)(X)
    changed(path, lambda about, tensors: None)
    same_bits(nc.Session.load(path)(X), expected, "rewritten")


def numbers(about: Any, where: tuple = ()) -> list[tuple]:
    """The places of all integers in a description."""
    if isinstance(about, dict):
        return [p for key, part in about.items() for p in numbers(part, (*where, key))]
    if isinstance(about, list):
        return [p for k, part in enumerate(about) for p in numbers(part, (*where, k))]
    return [where] if type(about) is int else []


def test_every_number_of_a_description_changed(path: Path) -> None:
    """An author who knows the checksums can write any number anywhere; none leads out of memory."""
    whole = path.read_bytes()
    found: list[tuple] = []
    changed(path, lambda about, tensors: found.extend(numbers(about["graph"], ("graph",))))
    for where in found:
        for value in (-1, 0, 1, 7, 10**6, 2**31, 2**62, -(2**40)):
            path.write_bytes(whole)

            def change(about: Any, tensors: Any, where: tuple = where, value: int = value) -> None:
                place = about
                for key in where[:-1]:
                    place = place[key]
                place[where[-1]] = value

            changed(path, change)
            loaded_or_refused(path)


def loaded_or_refused(path: Path) -> None:
    try:
        session = nc.Session.load(path)
    except ValueError as error:
        if "\n" in str(error):
            raise
        return
    shapes = [tuple(size or 1 for size in shape) for shape in session.input_shapes]
    memory = [segment.plan.arena for segment in session.segments if segment.plan is not None]
    if sum(map(np.prod, shapes)) < 10**6 and max(memory, default=0) < 10**7:
        try:
            session(*(np.zeros(shape, np.float32) for shape in shapes))
        except (ValueError, IndexError, TypeError, MemoryError, AssertionError):
            return


@pytest.mark.parametrize(
    "change",
    [
        lambda about, tensors: about.update(batch=0),
        lambda about, tensors: about.update(batch="N"),
        lambda about, tensors: about.update(without=["speed"]),
        lambda about, tensors: about["graph"]["nodes"].reverse(),
        lambda about, tensors: about["graph"]["nodes"][0].__setitem__(0, "os.system"),
        lambda about, tensors: about["graph"]["nodes"][0].__setitem__(2, {"code": "1"}),
        lambda about, tensors: about["graph"]["nodes"][0].__setitem__(2, {"dict": [["x", {}]]}),
        lambda about, tensors: about["graph"].update(outputs=10**9),
        lambda about, tensors: about["graph"].update(outputs={"dict": 5}),
        lambda about, tensors: about["graph"].update(outputs=None),
        lambda about, tensors: about["graph"].update(inputs=[]),
        lambda about, tensors: about["graph"].update(values=[]),
        lambda about, tensors: about.pop("graph"),
        lambda about, tensors: tensors.pop("packed.0"),
        lambda about, tensors: tensors.update({"packed.0": tensors["packed.0"][:-16].copy()}),
        lambda about, tensors: tensors.update({"packed.0": tensors["packed.0"].astype("f8")}),
        lambda about, tensors: tensors.update({"packed.9": tensors["packed.0"]}),
        lambda about, tensors: tensors.update({"constant.x": tensors["packed.0"]}),
        lambda about, tensors: tensors.update({"another": tensors["packed.0"]}),
        lambda about, tensors: about["graph"]["nodes"][0][1].__setitem__(0, None),
        lambda about, tensors: about["graph"]["nodes"][-2][1].__setitem__(1, None),
    ],
)
def test_descriptions_that_cannot_be(path: Path, change: Any) -> None:
    changed(path, change)
    refused(path)


def shuffled(x: nc.Tensor) -> nc.Tensor:
    return F.channel_shuffle(x.cumsum(2), 3)


def bordered(x: nc.Tensor) -> nc.Tensor:
    return F.pad(x, (1, 2, 3, 1), mode="reflect")


def leaky(x: nc.Tensor) -> nc.Tensor:
    return F.leaky_relu(x, 0.25)


@pytest.mark.parametrize(
    ("model", "text", "harm", "message"),
    [
        (shuffled, '["groups", 3]', '["groups", 0]', "load: .*zero"),
        (bordered, '{"tuple": [3, 1]}', f'{{"tuple": [3, {2**40}]}}', "pad with attributes"),
        (bordered, '{"tuple": [1, 2]}', '{"tuple": [-9, 12]}', "pad with attributes"),
        (leaky, f'"{(0.25).hex()}"', f'"{"1" * 400}"', "too large to represent"),
        (leaky, f'"{(0.25).hex()}"', "0.25", "load: "),
    ],
)
def test_attributes_that_cannot_be(
    tmp_path: Path, model: Any, text: str, harm: str, message: str
) -> None:
    nc.compile(model, X.shape, skip=["channel_views"]).save(tmp_path / "s")

    def change(about: dict, tensors: Any) -> None:
        graph = json.dumps(about["graph"])
        assert text in graph
        about["graph"] = json.loads(graph.replace(text, harm))

    changed(tmp_path / "s", lambda about, tensors: None)
    nc.Session.load(tmp_path / "s")
    changed(tmp_path / "s", change)
    refused(tmp_path / "s", message)


def test_deep_nesting_is_refused(path: Path) -> None:
    tensors = {}
    with safe_open(path, "np") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for depth in (10**3, 10**5):
        deep = '{"list":[' * depth + "0" + "]}" * depth
        outputs = json.dumps(json.loads(metadata["session"])["graph"]["outputs"])
        text = metadata["session"].replace(f'"outputs":{outputs}', f'"outputs":{deep}')
        assert len(text) > len(metadata["session"])
        save_file(tensors, path, metadata | {"session": text, "checksum": str(checksum_of(text))})
        refused(path)


# --------------------------------------------------------------------------- writing


class Pair(NamedTuple):
    first: Any
    second: Any


class Names(dict):
    pass


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (lambda x: Pair(x + 1, x), "Pair"),
        (lambda x: [{"pair": Pair(x + 1, x)}], "Pair"),
        (lambda x: {1: x + 1}, "dict with other keys"),
    ],
)
def test_results_that_a_file_cannot_describe(tmp_path: Path, result: Any, kind: str) -> None:
    session = nc.compile(result, X.shape)
    message = f"save: the result is a {kind}; expected tuples, lists and dicts with string keys"
    with pytest.raises(ValueError, match=message):
        session.save(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_dict_of_another_class_comes_back_as_the_session_gives_it(tmp_path: Path) -> None:
    session = nc.compile(lambda x: Names(y=x + 1, none=None), X.shape)
    session.save(tmp_path / "s")
    y, again = session(X), nc.Session.load(tmp_path / "s")(X)
    assert (type(y), type(again), [*again]) == (dict, dict, ["y", "none"])
    assert again["none"] is None
    same_bits(again, y, "loaded")


def test_a_file_is_whole_or_not_there(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    whole = path.read_bytes()
    session = nc.Session.load(path)

    def fail(*args: Any) -> bytes:
        raise OSError("the disk is full")

    monkeypatch.setattr("safetensors.numpy.save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        session.save(path)
    assert path.read_bytes() == whole
    with pytest.raises(OSError, match="the disk is full"):
        session.save(tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_session_survives_that_its_file_is_replaced(path: Path) -> None:
    session = nc.Session.load(path)
    expected = session(X)
    nc.compile(nn.ReLU().eval(), (1, 3, 2, 2)).save(path)
    same_bits(session(X), expected, "after the file was replaced")
    assert len(flat(nc.Session.load(path)(np.zeros((1, 3, 2, 2), "f4")))) == 1
