"""Checkpoints: what comes back, what is refused, and that no file is ever half there."""

import contextlib
import os
import pickle
import stat
import subprocess
import sys

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
    for name in ("evil.npz", "pickle.npz"):
        with pytest.raises(ValueError, match="damaged"):
            load(tmp_path / name)


def test_paths_that_cannot_be_read_or_written(tmp_path) -> None:
    for function in (load, load_metadata):
        with pytest.raises(FileNotFoundError, match=r"no\.safetensors"):
            function(tmp_path / "no.safetensors")
        with pytest.raises(ValueError, match="must end in"):
            function(tmp_path / "model.pth")
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
