"""Checkpoints: what comes back, what is refused, and that no file is ever half there."""

import contextlib
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import nanoconv as nc
from nanoconv.io.checkpoints import load, load_metadata, save
from nanoconv.io.files import replacing

STATE = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": np.array(7),
    "empty": np.zeros((0, 4), np.float64),
    "mask": np.array([True, False]),
}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], strict=True)


def test_round_trip(tmp_path) -> None:
    save(STATE, tmp_path / "a.safetensors", {"net": "naïve"})
    same(load(tmp_path / "a.safetensors"), STATE)
    assert load_metadata(str(tmp_path / "a.safetensors")) == {"net": "naïve"}
    same(safetensors.numpy.load_file(tmp_path / "a.safetensors"), STATE)


def test_without_metadata(tmp_path) -> None:
    save(STATE, tmp_path / "a.safetensors")
    assert load_metadata(tmp_path / "a.safetensors") == {}


def test_npz(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", **STATE)
    same(load(tmp_path / "a.npz"), STATE)


def test_types_and_orders_of_npz(tmp_path) -> None:
    x = np.arange(12.0).reshape(3, 4)
    state = {
        "fortran": np.asfortranarray(x),
        "big_endian": x.astype(">f4"),
        "complex": x.astype(np.complex64),
        "text": np.array(["cat", "owl"]),
        "0-d": np.array(3, np.int8),
        "empty": np.zeros((3, 0), np.uint16),
        "a/b": np.array([[True], [False]]),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **state)
        loaded = load(tmp_path / "a.npz")
        for name, array in state.items():
            expected = array.astype(array.dtype.newbyteorder("="))
            np.testing.assert_array_equal(loaded[name], expected, strict=True)
            assert loaded[name].flags.aligned
            assert loaded[name].flags.writeable
        assert list(loaded) == list(state)


def test_old_headers_of_npz(tmp_path) -> None:
    """Python 2 wrote its long integers with an L."""
    for version, header in (
        (1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2L, 1L), }"),
        (2, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1)}"),
        (3, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 1), }"),
    ):
        text = header.encode() + b"  \n"
        length = struct.pack("<H" if version == 1 else "<I", len(text))
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            raw = b"\x93NUMPY" + bytes([version, 0]) + length + text + b"\1\0\2\0"
            file.writestr("x.npy", raw)
        np.testing.assert_array_equal(load(tmp_path / "a.npz")["x"], [[1], [2]])


def test_every_type_of_safetensors(tmp_path) -> None:
    """bfloat16 is the upper half of a float32."""
    halves = np.array([0x3F80, 0xC049, 0x7F80, 0x0001], np.uint16)  # 1, −π or so, ∞, the least
    table = {
        "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
        "e": {"dtype": "F64", "shape": [0, 7], "data_offsets": [8, 8]},
        "t": {"dtype": "BOOL", "shape": [3], "data_offsets": [8, 11]},
    }
    text = json.dumps(table).encode()
    raw = struct.pack("<Q", len(text)) + text + halves.tobytes() + b"\0\1\x07"
    (tmp_path / "a.safetensors").write_bytes(raw)
    loaded = load(tmp_path / "a.safetensors")
    wide = np.frombuffer((halves.astype(np.uint32) << 16).tobytes(), np.float32)
    np.testing.assert_array_equal(loaded["b"], wide.reshape(2, 2), strict=True)
    np.testing.assert_array_equal(loaded["t"], [False, True, True], strict=True)
    assert loaded["e"].shape == (0, 7)
    numbers = [np.dtype(code) for code in "bBhHiIlLefd"]
    state = {dtype.name: np.arange(3).astype(dtype) for dtype in numbers}
    save(state, tmp_path / "b.safetensors")
    same(load(tmp_path / "b.safetensors"), dict(sorted(state.items())))


def test_the_content_counts_not_the_name(tmp_path) -> None:
    save(STATE, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **STATE)
    for name in ("a.safetensors", "a.npz"):
        (tmp_path / "weights.bin").write_bytes((tmp_path / name).read_bytes())
        same(load(tmp_path / "weights.bin"), STATE)


@pytest.mark.parametrize("size", [0x4B50, 0x80])
def test_tables_whose_length_looks_like_another_format(tmp_path, size) -> None:
    """A length that begins with PK, as zip files do, or 80, as pickles do."""
    text = json.dumps({"w": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    raw = struct.pack("<Q", size) + text.ljust(size) + b"\7"
    (tmp_path / "a.safetensors").write_bytes(raw)
    assert load(tmp_path / "a.safetensors")["w"] == [7]


def test_pipes_and_devices_are_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "a.pth")
    for path in (tmp_path / "a.pth", "/dev/zero"):
        with pytest.raises(ValueError, match="is not a file that can be read twice"):
            load(path)


def test_names_that_nc_save_wrote_come_back(tmp_path) -> None:
    """Only PyTorch's files have prefixes that somebody else has put there."""
    state = {"model.weight": np.ones(2), "model.bias": np.ones(1)}
    save(state, tmp_path / "a.safetensors")
    assert set(load(tmp_path / "a.safetensors")) == set(state)


def test_memory_format_does_not_matter(tmp_path) -> None:
    """safetensors reads the bytes as they lie in memory, so they must lie in C order."""
    x = STATE["conv.weight"]
    odd = {
        "transposed": x.T,
        "channels_last": np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "reversed": x[::-1],
        "every_other": x[..., ::2],
        "broadcast": np.broadcast_to(np.float32(3), (2, 2)),
        "big_endian": x.astype(">f4"),
        "scalar": np.array(5.0)[...],
    }
    save(odd, tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors")
    for name, array in odd.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
        assert loaded[name].shape == array.shape


def test_tensors_and_a_model(tmp_path) -> None:
    nc.manual_seed(0)
    model = nc.nn.Sequential(nc.nn.Conv2d(3, 4, 3), nc.nn.BatchNorm2d(4))
    save(model.state_dict(), tmp_path / "a.safetensors")
    save(dict(model.named_parameters()), tmp_path / "b.safetensors")
    other = nc.nn.Sequential(nc.nn.Conv2d(3, 4, 3), nc.nn.BatchNorm2d(4))
    other.load_state_dict(load(tmp_path / "a.safetensors"))
    same(dict(other.state_dict()), dict(model.state_dict()))
    np.testing.assert_array_equal(
        load(tmp_path / "b.safetensors")["0.weight"], model[0].weight.detach().numpy()
    )


def test_equal_arguments_give_equal_bytes_in_every_process(tmp_path) -> None:
    code = (
        "import sys, numpy as np; from nanoconv.io.checkpoints import save;"
        "save({'b': np.ones(3), 'a': np.zeros(2)}, sys.argv[1], dict.fromkeys('zyxwvuabcd', ''))"
    )
    blobs = set()
    for name in ("1", "2", "3"):
        path = tmp_path / f"{name}.safetensors"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        blobs.add(path.read_bytes())
    assert len(blobs) == 1


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz"])
def test_every_truncation_is_refused(tmp_path, name) -> None:
    path = tmp_path / name
    save(STATE, tmp_path / "a.safetensors", {"k": "v"})
    np.savez(tmp_path / "a.npz", **STATE)
    whole = path.read_bytes()
    for size in [0, 1, 7, 8, 9, *range(20, len(whole), 31), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"load: .*{name} is not a .* file, or a damaged one"):
            load(path)


def test_foreign_files_are_refused(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(2))
    array = (tmp_path / "a.npy").read_bytes()
    for content in (b"hello", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(40), b"\xff" * 64, array):
        for name in ("a.safetensors", "a.npz"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match="damaged"):
                load(tmp_path / name)
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="damaged"):
        load_metadata(tmp_path / "a.safetensors")


class Payload:
    def __reduce__(self):
        return os._exit, (3,)


def test_code_in_a_file_is_never_run(tmp_path) -> None:
    np.savez(tmp_path / "evil.npz", x=np.array([Payload()], dtype=object))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="array of Python objects"):
        load(tmp_path / "evil.npz")
    with pytest.raises(ValueError, match=r"names posix\._exit"):
        load(tmp_path / "pickle.npz")


def test_paths_that_cannot_be_read_or_written(tmp_path) -> None:
    for function in (load, load_metadata):
        with pytest.raises(FileNotFoundError, match=r"no\.safetensors"):
            function(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="must end in"):
        load_metadata(tmp_path / "model.pth")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        load(tmp_path / "folder.safetensors")
    with pytest.raises(FileNotFoundError):
        save(STATE, tmp_path / "no" / "a.safetensors")
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save(STATE, tmp_path / "a.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.safetensors"]


@pytest.mark.parametrize(
    ("state", "metadata", "message"),
    [
        ({"a": np.array(["text"])}, None, "expected an array of numbers"),
        ({"a": None}, None, "expected an array of numbers"),
        ({1: np.zeros(2)}, None, "save: 1 "),
        ({"a": np.zeros(2)}, {"epoch": 3}, "metadata 'epoch': 3 must be text"),
    ],
)
def test_what_cannot_be_saved(tmp_path, state, metadata, message) -> None:
    with pytest.raises(TypeError, match=message):
        save(state, tmp_path / "a.safetensors", metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(error: type[BaseException]) -> None:
        with replacing(path) as file:
            file.write(b"half of the new")
            file.flush()
            raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            write(error)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_appears_at_once_and_has_usual_rights(tmp_path) -> None:
    path, plain = tmp_path / "a.bin", tmp_path / "plain.bin"
    plain.write_bytes(b"")
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz"])
def test_flipped_bytes_are_refused_or_harmless(tmp_path, name) -> None:
    """Whatever is wrong with a file: arrays come back, or one kind of error does."""
    save(STATE, tmp_path / "a.safetensors", {"k": "v"})
    np.savez_compressed(tmp_path / "a.npz", **STATE)
    path, rng = tmp_path / name, np.random.default_rng(0)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(200):
        changed = whole.copy()
        changed[rng.integers(0, whole.size, 3)] = rng.integers(0, 256, 3)
        path.write_bytes(changed.tobytes())
        with contextlib.suppress(ValueError):
            assert all(isinstance(array, np.ndarray) for array in load(path).values())
