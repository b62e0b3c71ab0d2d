"""`nanoconv inspect`: what it prints of good files, and what hostile ones would have done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bad_files
import numpy as np
import pytest

import nanoconv as nc
from nanoconv.io.checkpoints import contents, suspicions

pytest.importorskip("typer", reason="needs the extra [cli]")
pytest.importorskip("rich", reason="needs the extra [cli]")


def inspect(*arguments: object, columns: int = 200) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nanoconv", "inspect", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def written(folder: Path, name: str, raw: bytes) -> Path:
    (folder / name).write_bytes(raw)
    return folder / name


def shared() -> bytes:
    """Two names for one tensor, a third that sees a part of it; beside them, an epoch."""
    state = b"}" + b"".join(
        bad_files.text(f"module.{name}") + value + b"s"
        for name, value in (
            ("w", bad_files.tensor()),
            ("tied", bad_files.tensor()),
            ("part", bad_files.tensor(1, (2,), (1,))),
        )
    )
    pickled = b"\x80\x02}" + bad_files.text("state_dict") + state + b"s"
    return bad_files.zipped(pickled + bad_files.text("epoch") + b"K\x03s.")


def test_a_table(tmp_path) -> None:
    path = written(tmp_path, "a.pth", shared())
    finished = inspect(path)
    assert finished.returncode == 0
    assert finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert lines[:3] == [
        f"{path}: PyTorch (zip), {path.stat().st_size:,} bytes",
        "the state dict is under 'state_dict', beside 'epoch' = 3",
        "taken off all names: 'module.'",
    ]
    assert [line.split() for line in lines[4:]] == [
        ["tensor", "type", "shape", "numbers", "bytes", "shares", "memory", "with"],
        ["w", "float32", "2", "×", "2", "4", "16"],
        ["tied", "float32", "2", "×", "2", "4", "16", "w"],
        ["part", "float32", "2", "2", "8", "w"],
        ["3", "tensors", "10", "16"],  # what is shared is stored once
    ]


def test_json(tmp_path) -> None:
    path = written(tmp_path, "a.pth", shared())
    found = json.loads(inspect(path, "--json").stdout)
    assert found["format"] == "PyTorch (zip)"
    assert found["bytes"] == path.stat().st_size
    assert (found["numbers"], found["stored_bytes"]) == (10, 16)
    assert found["tensors"][1] == {
        "name": "tied",
        "dtype": "float32",
        "shape": [2, 2],
        "bytes": 16,
        "shares_memory_with": "w",
    }


def test_the_other_formats(tmp_path) -> None:
    nc.save(
        {"b": np.ones(3), "a": np.ones((2, 2), np.int8)}, tmp_path / "a.safetensors", {"k": "v"}
    )
    np.savez_compressed(tmp_path / "a.npz", x=np.ones((4, 5), np.float16))
    written(tmp_path, "old.th", bad_files.old())
    lines = inspect(tmp_path / "a.safetensors").stdout.splitlines()
    assert lines[0].endswith(f": safetensors, {(tmp_path / 'a.safetensors').stat().st_size} bytes")
    assert lines[1] == "k: v"
    assert [line.split()[0] for line in lines[3:]] == ["tensor", "a", "b", "2"]
    assert "float16  4 × 5       20     40" in inspect(tmp_path / "a.npz").stdout
    assert "PyTorch (before 1.6)" in inspect(tmp_path / "old.th").stdout


def test_nothing_is_loaded(tmp_path) -> None:
    """A checksum that is wrong is not noticed: the numbers are not read."""
    raw = bad_files.zipped()
    path = written(tmp_path, "a.pth", raw.replace(bad_files.NUMBERS, bytes(16)))
    with pytest.raises(ValueError, match="a checksum is"):
        nc.load(path)
    assert [tensor.name for tensor in contents(path).tensors] == ["w"]


@pytest.mark.parametrize("kind", ["zip", "old"])
def test_what_a_hostile_file_would_have_done(tmp_path, kind) -> None:
    sentinel = tmp_path / "sentinel"
    command = f"touch {sentinel}; echo '\x1b[2Jgone'\n"
    call = bad_files.named("os", "system") + bad_files.text(command) + b"\x85R"
    pickled = bad_files.program(call)
    path = written(
        tmp_path, "a.pth", (bad_files.zipped if kind == "zip" else bad_files.old)(pickled)
    )
    finished = inspect(path)
    assert finished.returncode == 1
    heading, names, calls = finished.stdout.splitlines()
    assert heading == f"{path}: what loading it with pickle would have done"
    assert names == "  names 'os.system'"
    assert calls.startswith("  calls os.system(")
    assert "\\x1b[2J" in calls
    assert "\\n" in calls or "…" in calls
    (error,) = finished.stderr.splitlines()
    assert error.startswith("nanoconv: ")
    assert "names os.system, which no state dict needs; nothing was run" in error
    told = json.loads(inspect(path, "--json").stdout)
    assert told["would_have"] == [names.strip(), calls.strip()]
    assert "nothing was run" in told["error"]
    assert not sentinel.exists()


@pytest.mark.parametrize("name", bad_files.code_carriers("x"))
def test_every_way_of_carrying_code_is_told(tmp_path, name) -> None:
    value, message = bad_files.code_carriers(str(tmp_path / "sentinel"))[name]
    path = written(tmp_path, "a.pth", bad_files.zipped(bad_files.program(value)))
    lines = suspicions(path)
    assert all(line.isprintable() for line in lines)
    if "names" in message:
        assert lines[0].startswith("names ")
    if name in ("reduce", "stack_global", "inst", "obj", "newobj", "newobj_ex"):
        assert lines[1].startswith("calls os.system(")
        assert "touch " in lines[1]
    if name == "build":
        assert "os._wrap_close()" in " ".join(lines)
    assert not (tmp_path / "sentinel").exists()


def test_state_and_depth_are_told(tmp_path) -> None:
    """BUILD's state, and values in values down to where it would be too much."""
    deep = b"N" + b"\x85" * 50
    call = bad_files.named("evil", "Thing") + deep + b"\x85R}" + bad_files.text("k") + b"K\x01sb"
    path = written(tmp_path, "a.pth", bad_files.zipped(bad_files.program(call)))
    assert suspicions(path) == [
        "names 'evil.Thing'",
        "calls evil.Thing((((…,),),)).__setstate__({'k': 1})",
    ]


def test_many_calls_are_counted(tmp_path) -> None:
    call = bad_files.named("os", "system") + bad_files.text("true") + b"\x85R0"
    pickled = b"\x80\x02" + call * 100 + bad_files.program(b"N")[2:]
    lines = suspicions(written(tmp_path, "a.pth", bad_files.zipped(pickled)))
    assert lines == ["names 'os.system'", *["calls os.system('true')"] * 20, "and 80 more"]


def test_objects_in_npz(tmp_path) -> None:
    array = np.array([bad_files.ObjectWith("true")], dtype=object)
    np.savez_compressed(tmp_path / "a.npz", array)
    finished = inspect(tmp_path / "a.npz")
    assert finished.returncode == 1
    assert "system('true')" in finished.stdout
    assert "array of Python objects" in finished.stderr


def test_files_that_are_none(tmp_path) -> None:
    for path, message in (
        (tmp_path / "no.pth", "No such file"),
        (tmp_path, "directory"),
        (written(tmp_path, "cut.pth", shared()[:300]), "cut off"),
        (written(tmp_path, "text.safetensors", b"hello, world"), "a table of"),
    ):
        finished = inspect(path)
        assert finished.returncode == 1
        assert finished.stdout == ""
        (line,) = finished.stderr.splitlines()
        assert line.startswith("nanoconv: ")
        assert message in line


def test_names_cannot_move_the_cursor(tmp_path) -> None:
    """Nor be markup for rich."""
    pickled = bad_files.program(bad_files.tensor(), "\x1b[2J[red]w[/]\n\u202e")
    path = written(tmp_path, "a.pth", bad_files.zipped(pickled))
    assert "\\x1b[2J[red]w[/]\\n\\u202e  float32" in inspect(path).stdout


def test_one_of_several(tmp_path) -> None:
    parts = [bad_files.text(name) + b"}" + bad_files.text("w") + bad_files.tensor() + b"ss"
             for name in ("generator", "discriminator")]  # fmt: skip
    path = written(tmp_path, "a.pth", bad_files.zipped(b"}" + b"".join(parts) + b"."))
    assert "choose by key= from 'generator', 'discriminator'" in inspect(path).stderr
    assert inspect(path, "--key", "generator").returncode == 0
