"""PyTorch's files: what torch.save writes is what torch.load(weights_only=True) reads of it."""

import argparse
import collections
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nanoconv as nc
from nanoconv.io.checkpoints import contents, load

torch = pytest.importorskip("torch")

BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])


def saved(folder: Path, objects, zipped: bool) -> Path:
    path = folder / "model.pth"
    torch.save(objects, path, _use_new_zipfile_serialization=zipped)
    return path


def equals(arrays: dict[str, np.ndarray], tensors) -> None:
    """The same names in the same order, types, shapes and bits (bfloat16 as float32)."""
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), strict=True, err_msg=name)
        assert arrays[name].flags.writeable
        assert arrays[name].flags.aligned


def same_as_torch(path: Path, pick=lambda objects: objects) -> dict[str, np.ndarray]:
    arrays = load(path)
    equals(arrays, pick(torch.load(path, weights_only=True, map_location="cpu")))
    return arrays


TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip


@BOTH
def test_every_type_and_size(tmp_path, zipped) -> None:
    state = {}
    for dtype in TYPES if zipped else TYPES[:-3]:  # PyTorch cannot read its own old uint16
        numbers = torch.arange(-3, 21, dtype=torch.float64).abs()
        state[f"{dtype}"] = numbers.reshape(2, 3, 4).to(dtype)
        state[f"{dtype} 0-d"] = torch.tensor(1).to(dtype)
        state[f"{dtype} empty"] = torch.zeros(0, 3, dtype=dtype)
    same_as_torch(saved(tmp_path, state, zipped))


def test_types_that_pytorch_can_write_but_not_read(tmp_path) -> None:
    """Of the old format it cannot read uint16, uint32 and uint64, which have no storage types."""
    state = {str(dtype): torch.arange(6).to(dtype).reshape(2, 3) for dtype in TYPES[-3:]}
    equals(load(saved(tmp_path, state, False)), state)


@BOTH
def test_bits_of_floats(tmp_path, zipped) -> None:
    """NaN, infinities, both zeros, the least and the largest."""
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, 3e38, 1 / 3])
    state = {str(dtype): odd.to(dtype) for dtype in TYPES[:4]}
    arrays = same_as_torch(saved(tmp_path, state, zipped))
    for name, tensor in state.items():
        wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert arrays[name].tobytes() == wide.numpy().tobytes()


@BOTH
def test_views_of_one_storage(tmp_path, zipped) -> None:
    x = torch.arange(120.0)
    cube = x.reshape(4, 5, 6)
    state = {
        "all": x,
        "tied": x,
        "slice": x[7:19],
        "one": x[50],
        "none": x[3:3],
        "every third": x[::3],
        "transposed": cube.permute(2, 0, 1),
        "inside": cube[1:3, :, 2:5],
        "channels last": torch.arange(48.0)
        .reshape(2, 3, 2, 4)
        .to(memory_format=torch.channels_last),
        "expanded": x[:5].reshape(1, 5).expand(3, 5),
        "windows": x.unfold(0, 4, 2),
        "broadcast 0-d": torch.tensor(2.5).expand(2, 2),
        "axes of one": torch.as_strided(x, (1, 3, 1), (7, 1, 9)),
    }
    arrays = same_as_torch(saved(tmp_path, state, zipped))
    assert np.shares_memory(arrays["all"], arrays["tied"])
    arrays["all"][8] = -1  # what was shared is shared again …
    assert arrays["slice"][1] == arrays["tied"][8] == -1
    arrays["expanded"][0, 0] = 9  # … but no array shares an element with itself
    assert arrays["expanded"][1, 0] == 0
    assert np.count_nonzero(arrays["windows"] == 4) == 2
    arrays["windows"][0, 0] = -5
    assert np.count_nonzero(arrays["windows"] == -5) == 1


@BOTH
def test_a_model_and_its_parameters(tmp_path, zipped) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    arrays = same_as_torch(saved(tmp_path, net.state_dict(), zipped))
    ours = nc.nn.Sequential(nc.nn.Conv2d(3, 4, 3), nc.nn.BatchNorm2d(4))
    ours.load_state_dict(arrays)
    np.testing.assert_array_equal(ours[0].weight.detach().numpy(), arrays["0.weight"])
    same_as_torch(saved(tmp_path, dict(net.named_parameters()), zipped))
    same_as_torch(saved(tmp_path, collections.OrderedDict(net.state_dict()), zipped))


def training():
    """A net after a step, its optimizer, and what stands beside both in a checkpoint."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    net(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    beside = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"), betas=(0.9, 0.99)),
        "arch": "resnet18",
        "best_acc1": torch.tensor(71.5),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "shape": torch.Size([3, 4]),
        "dtype": torch.float16,
        "accuracies": [1.5, (2, None)],
    }
    return net, beside


@BOTH
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "ema", "anything"])
def test_the_checkpoint_of_a_training(tmp_path, zipped, wrapper) -> None:
    net, beside = training()
    for objects in ({**beside, wrapper: net.state_dict()}, {wrapper: net.state_dict(), **beside}):
        if wrapper == "anything":  # tensors beside a name that says nothing would be the weights
            del objects["best_acc1"]
        path = saved(tmp_path, objects, zipped)
        equals(load(path), net.state_dict())
    notes = " ".join(contents(path).notes)
    assert f"under {wrapper!r}" in notes
    assert "'epoch' = 3" in notes


@BOTH
def test_numpy_scalars_beside_the_weights(tmp_path, zipped) -> None:
    state = {"w": torch.ones(2)}
    path = saved(tmp_path, {"state_dict": state, "best": np.float64(1.5), "n": np.int32(3)}, zipped)
    equals(load(path), state)


def test_wrappers_in_wrappers_and_averages(tmp_path) -> None:
    net, beside = training()
    plain = net.state_dict()
    averaged = torch.optim.swa_utils.AveragedModel(net).state_dict()
    half = {name: tensor / 2 for name, tensor in plain.items()}
    path = saved(tmp_path, {"model": {"state_dict": plain}, **beside}, True)
    equals(load(path), plain)
    path = saved(tmp_path, {"model_ema": half, "model": plain}, True)
    equals(load(path), plain)
    equals(load(path, key="model_ema"), half)
    path = saved(tmp_path, {"model_ema": averaged, "epoch": 3}, True)
    equals(load(path), plain)  # n_averaged is no weight
    assert "n_averaged" in load(path, strip=False)
    path = saved(tmp_path, {"generator": plain, "discriminator": half}, True)
    with pytest.raises(ValueError, match=r"several.*'generator', 'discriminator'"):
        load(path)
    equals(load(path, key="discriminator"), half)
    with pytest.raises(ValueError, match="nothing under key='optimizer', but under 'generator'"):
        load(path, key="optimizer")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a", "module.b.c"], ["a", "b.c"]),
        (["model.a", "model.model.b"], ["a", "model.b"]),
        (["module.model.a", "module.model.b"], ["a", "b"]),
        (["_orig_mod.module.a"], ["a"]),
        (["model.0.weight", "fc.weight"], ["model.0.weight", "fc.weight"]),  # MobileNetV1
        (["module.model.0.weight", "module.fc.weight"], ["model.0.weight", "fc.weight"]),
        (["modules.a", "model_a"], ["modules.a", "model_a"]),
        (["model.", "model.a"], ["model.", "model.a"]),
    ],
)
def test_prefixes(tmp_path, names, expected) -> None:
    path = saved(tmp_path, {name: torch.ones(1) for name in names}, True)
    assert list(load(path)) == expected
    assert list(load(path, strip=False)) == names


@BOTH
@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (torch.ones(2), "no dict of tensors"),
        ([torch.ones(2)], "no dict of tensors"),
        ({}, "no dict of tensors, but nothing"),
        ({"epoch": 3, "lr": 0.1}, "no dict of tensors, but 'epoch', 'lr'"),
        ({"state_dict": {0: torch.ones(2)}}, "no dict of tensors, but nothing"),
        ({"state_dict": {"model": {"net": {"model": {"net": {"w": torch.ones(2)}}}}}}, "too deep"),
        ({"state_dict": {}}, "no dict of tensors, but 'state_dict'"),
    ],
)
def test_files_without_a_state_dict(tmp_path, zipped, objects, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(saved(tmp_path, objects, zipped))


@BOTH
def test_a_whole_model_is_refused(tmp_path, zipped) -> None:
    """It is a pickle of classes, which only their code could bring to life."""
    with pytest.raises(
        ValueError, match=r"names torch\.nn\.modules\.linear\.Linear, which no state"
    ):
        load(saved(tmp_path, torch.nn.Linear(2, 3), zipped))


def test_other_ways_of_writing_zip_files(tmp_path) -> None:
    """Packed anew with compression, a comment, without checksums, for a big-endian machine."""
    x = torch.arange(1000.0)
    half = x.to(torch.bfloat16)
    state = {"x": x, "half": half, "n": torch.tensor([2**40 + 1])}
    path = saved(tmp_path, state, True)
    before = {name: array.copy() for name, array in load(path).items()}

    def again(name: str, change=lambda name, raw: raw, **options) -> dict[str, np.ndarray]:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / name, "w", **options) as new:
            new.comment = b"packed anew"
            for entry in old.namelist():
                new.writestr(entry, change(entry, old.read(entry)))
        return load(tmp_path / name)

    widths = [4, 2, 8]

    def reverse(name: str, raw: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        if "/data/" not in name:
            return raw
        width = widths[int(name[-1])]
        return np.frombuffer(raw, f"<u{width}").astype(f">u{width}").tobytes()

    def old_version(name: str, raw: bytes) -> bytes:
        return b"little" if name.endswith("byteorder") else raw

    for arrays in (
        again("packed.pt", compression=zipfile.ZIP_DEFLATED),
        again("stored.pt"),
        again("big.pt", reverse),
        again("renamed", old_version),
    ):
        for name, array in before.items():
            np.testing.assert_array_equal(arrays[name], array, strict=True)
    torch.serialization.set_crc32_options(False)
    try:
        same_as_torch(saved(tmp_path, state, True))
    finally:
        torch.serialization.set_crc32_options(True)


def test_protocols_and_python_2(tmp_path) -> None:
    """Pickle protocols 2 to 5; an OrderedDict as Python 2 wrote it; parameters before 0.4."""
    state = collections.OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.ones(2))
    for protocol in (2, 3, 4, 5):
        for zipped in (True, False):
            path = tmp_path / "model.pt"
            torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            equals(load(path), state)
    path = saved(tmp_path, {"w": state["w"]}, True)
    parameter = b"ctorch.nn.parameter\nParameter\n"
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    raw = parts["model/data.pkl"]
    call = raw[raw.index(b"ctorch._utils") : raw.rindex(b"s.")]  # of the tensor, on the stack
    value = parameter + call + b"\x85R(\x88\x89Ntb"  # (tensor,), REDUCE, its state, BUILD
    pair = b"(U\x01w" + value + b"l"  # a list of two
    parts["model/data.pkl"] = b"\x80\x02ccollections\nOrderedDict\n]" + pair + b"a\x85R."
    with zipfile.ZipFile(tmp_path / "python2.pth", "w") as new:
        for name, part in parts.items():
            new.writestr(name, part)
    equals(load(tmp_path / "python2.pth"), {"w": state["w"]})


def test_a_large_file_in_threads(tmp_path) -> None:
    torch.manual_seed(0)
    state = {f"w{k}": torch.randn(1 << 19) for k in range(9)}
    path = saved(tmp_path, state, True)
    before = nc.get_num_threads()
    for threads in (1, 2):
        nc.set_num_threads(threads)
        try:
            equals(load(path), state)
        finally:
            nc.set_num_threads(before)
    raw = bytearray(path.read_bytes())
    raw[-len(raw) // 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="checksum"):
        load(path)


def test_plain_pickles_are_no_checkpoints(tmp_path) -> None:
    path = tmp_path / "model.pth"
    for objects in ({"a": [1, 2]}, 119547037146038801333356, {1: {2, 3}}):
        path.write_bytes(pickle.dumps(objects))
        with pytest.raises(ValueError, match="is not a PyTorch file, or a damaged one"):
            load(path)


@pytest.mark.needs_data
@pytest.mark.skipif("NANOCONV_DATA" not in os.environ, reason="NANOCONV_DATA is not set")
def test_real_checkpoints() -> None:
    paths = sorted((Path(os.environ["NANOCONV_DATA"]) / "checkpoints").iterdir())
    assert len(paths) >= 3
    for path in paths:
        objects = torch.load(path, weights_only=True, map_location="cpu")
        state = objects.get("state_dict", objects)
        names = [name.removeprefix("module.").removeprefix("model.") for name in state]
        assert len(set(names)) == len(names)
        equals(load(path), dict(zip(names, state.values(), strict=True)))


def test_loading_takes_the_memory_of_the_numbers(tmp_path) -> None:
    """One buffer: what is allocated at the same time is hardly more than the file."""
    import tracemalloc

    state = {f"w{k}": torch.zeros(1 << 18) for k in range(8)}  # 8 MB
    path = saved(tmp_path, {"state_dict": state, "optimizer": {0: torch.zeros(1 << 22)}}, True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    load(path)  # so that everything is imported
    tracemalloc.start()
    arrays = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(arrays) == 8
    assert peak < 1.1 * len(buffer.getvalue())  # and the optimizer's 16 MB were not read
