"""Damaged and hostile files: an error that says why, soon, in little memory, and nothing is run."""

import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bad_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.io.checkpoints import contents, load, suspicions

SECONDS, MEMORY = 1.0, 100e6  # what one file may cost: of the processor, and of memory

# Loads each file named in a list, and tells what came of it. Memory is limited to what the process
# had before plus MEMORY, so that one allocation too many is a MemoryError.
MEASURE = """
import json, resource, sys, time
import numpy as np
from pathlib import Path
import nanoconv as nc

paths, memory = json.load(sys.stdin)
nc.set_num_threads(1)
np.save(paths[0] + ".npy", np.zeros(3))  # whatever is imported late
for path in (paths[0], paths[0] + ".npy"):
    try:
        nc.load(path)
    except ValueError:
        pass
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(memory)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def outcome(path):
    start = time.process_time()
    try:
        kind, message = "loaded", str(list(nc.load(path)))
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
        del error
    return time.process_time() - start, kind, message

# The quicker of two runs: something else may be using the machine.
json.dump([min(outcome(path) for _ in range(2)) for path in paths], sys.stdout)
"""


def outcomes(folder: Path, files: dict[str, tuple[bytes, str]]) -> list[tuple[float, str, str]]:
    """Of every file: seconds, type and text of the error."""
    paths = [folder / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name][0])
    finished = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=json.dumps([[str(path) for path in paths], MEMORY]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's means")
def test_a_clear_error_soon_in_little_memory(tmp_path) -> None:
    sentinel = tmp_path / "sentinel"
    files = bad_files.files(str(sentinel))
    assert len(files) > 150
    complaints = []
    for name, outcome in zip(files, outcomes(tmp_path, files), strict=True):
        seconds, kind, message = outcome
        expected = files[name][1]
        clear = (
            kind == "ValueError"
            and message.startswith("load: ")
            and name in message
            and message.isprintable()  # one line, and nothing that moves a cursor
            and len(message) < 600
            and re.search(expected, message)
        )
        if not clear or seconds > SECONDS:
            complaints.append(f"{name}, expected {expected!r}: {kind} after {seconds} s: {message}")
    assert not complaints, "\n".join(complaints)
    assert not sentinel.exists()


def test_the_good_files_behind_the_bad_ones(tmp_path) -> None:
    """So that the bad ones fail for the reason that they say."""
    expected = np.arange(4, dtype=np.float32).reshape(2, 2)
    good = {
        "a.pth": bad_files.zipped(),
        "b.pth": bad_files.old(),
        "c.npz": bad_files.npz(bad_files.header("(2, 2)")),
        "d.safetensors": bad_files.tensors(w=bad_files.line()),
        "e.pth": bad_files.bomb(bad_files.STATE, 16),
    }
    for name, raw in good.items():
        (tmp_path / name).write_bytes(raw)
        want = np.zeros((2, 2), np.float32) if name == "e.pth" else expected
        np.testing.assert_array_equal(load(tmp_path / name)["w"], want, strict=True)


def test_the_hostile_ones_would_have_run(tmp_path) -> None:
    """Python's own pickle runs them: the sentinel appears."""
    sentinel = tmp_path / "sentinel"
    code = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    for name in ("reduce", "stack_global", "memo", "nested", "inst", "obj"):
        value, _ = bad_files.code_carriers(str(sentinel))[name]
        pickled = bad_files.program(value)
        subprocess.run([sys.executable, "-c", code], input=pickled, check=False, timeout=60)
        assert sentinel.exists(), name
        sentinel.unlink()


# ---------------------------------------------------------------------------- cut and changed

VALID = {
    "zip.pth": bad_files.zipped(),
    "deflated.pth": bad_files.bomb(bad_files.STATE, 16),
    "old.th": bad_files.old(),
    "a.npz": bad_files.npz(bad_files.header("(2, 2)")),
    "a.safetensors": bad_files.tensors(
        w=bad_files.line(), __metadata__={"format": "pt"}, v=bad_files.line((0,), (16, 16), "BF16")
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_every_truncation_is_refused(tmp_path, name) -> None:
    path, raw = tmp_path / name, VALID[name]
    assert "w" in load_bytes(path, raw)
    for size in range(len(raw)):
        with pytest.raises(ValueError, match=re.escape(name)):
            load_bytes(path, raw[:size])


@pytest.mark.parametrize("name", ["zip.pth", "deflated.pth", "a.npz"])
def test_flipped_bits_change_no_number(tmp_path, name) -> None:
    """By the checksums of zip archives. The other formats have none."""
    path, raw = tmp_path / name, VALID[name]
    expected = load_bytes(path, raw)["w"].copy()
    for k in range(len(raw)):
        flipped = raw[:k] + bytes([raw[k] ^ 1 << k % 8]) + raw[k + 1 :]
        try:
            found = load_bytes(path, flipped)
        except ValueError:
            continue
        for array in found.values():  # what may change: a date, a name, an unused field
            np.testing.assert_array_equal(array, expected)


def load_bytes(path: Path, raw: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(raw)
    return load(path)


# ---------------------------------------------------------------------------- fuzz

# What happens inside the interpreter while this is on: see "Audit events table" in Python's manual.
watching = False
events: list[str] = []
FORBIDDEN = re.compile(
    r"pickle\.|marshal\.|exec$|compile$|os\.(system|exec|spawn|posix_spawn|fork|remove|rename)|"
    r"subprocess\.|socket\.|ctypes\.|shutil\.|code\.__new__|import$"
)


def watch(event: str, arguments: object) -> None:
    if watching and FORBIDDEN.match(event):
        events.append(f"{event} {arguments!r:.200}")


sys.addaudithook(watch)  # cannot be taken away; it does nothing while `watching` is off


def survives(name: str, raw: bytes) -> None:
    """Arrays, ValueError or OSError; and nothing was imported, compiled or started."""
    global watching
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        events.clear()
        watching = True
        try:
            for function in (load, contents, suspicions):
                with contextlib.suppress(ValueError, OSError):
                    function(path)
        finally:
            watching = False
        assert events == []
        assert os.listdir(folder) == [name]  # noqa: PTH208


@pytest.mark.parametrize(
    "action",
    [lambda: pickle.loads(b"cos\nsystem\n."), lambda: exec("1"), lambda: os.system("true")],
)
def test_the_watch_sees(action) -> None:
    global watching
    events.clear()
    watching = True
    try:
        action()
    finally:
        watching = False
    assert events


@pytest.fixture(scope="module", autouse=True)
def _everything_is_imported(tmp_path_factory) -> None:
    """What is imported late would be an event: Python imports some of its codecs when needed."""
    for codec in ("raw_unicode_escape", "cp437"):
        assert b"x".decode(codec) == "x"
    for name, raw in VALID.items():
        path = tmp_path_factory.mktemp("valid") / name
        load_bytes(path, raw)
        contents(path)
        suspicions(path)


@st.composite
def mutated(draw) -> tuple[str, bytes]:
    """A valid file with some bytes set, some piece cut, copied or taken from another file."""
    name = draw(st.sampled_from(sorted(VALID)))
    raw = bytearray(VALID[name])
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(raw) - 1, 0)))
        size = draw(st.integers(0, 40))
        action = draw(st.sampled_from(["set", "set", "set", "number", "cut", "copy", "splice"]))
        if action == "set":
            raw[start : start + 1] = draw(st.binary(min_size=1, max_size=1))
        elif action == "number":
            value = draw(
                st.sampled_from([0, 1, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
            )
            raw[start : start + 4] = value.to_bytes(4, "little")
        elif action == "cut":
            del raw[start : start + size]
        elif action == "copy":
            place = draw(st.integers(0, len(raw)))
            raw[place:place] = raw[start : start + size]
        else:
            other = VALID[draw(st.sampled_from(sorted(VALID)))]
            raw[start : start + size] = other[start : start + size]
    return name, bytes(raw)


@given(mutated())
def test_fuzzed_files(file) -> None:
    survives(*file)


PIECES = st.one_of(
    st.sampled_from([bytes([k]) for k in range(256)]),
    st.sampled_from([
        bad_files.tensor(), bad_files.storage(), bad_files.number(1 << 40), bad_files.text("w"),
        bad_files.integers((2, 2)), bad_files.named("collections", "OrderedDict") + b")R",
        bad_files.named("torch._utils", "_rebuild_parameter"), b"(", b"}", b"]", b"s", b"a", b"R",
        b"\x85", b"\x86", b"q\x00", b"h\x00", b"b", b"Q", b"0", b"2", b"u", b"e", b"t",
        bad_files.named("os", "system"), bad_files.text("state_dict"), b"I01\n", b"S'x'\n",
        b"V\\u12\n",
    ]),
    st.binary(max_size=4),
)  # fmt: skip


@given(st.lists(PIECES, max_size=40), st.booleans())
def test_fuzzed_pickles(pieces, zipped) -> None:
    pickled = b"\x80\x02" + b"".join(pieces) + b"."
    survives("a.pth", bad_files.zipped(pickled) if zipped else bad_files.old(pickled))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)
LINE = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "BF16", "BOOL", "U8", "X"]) | JSON,
    "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
    "data_offsets": st.tuples(st.integers(-1, 16), st.integers(-1, 17)) | JSON,
})  # fmt: skip


@given(st.dictionaries(st.sampled_from(["w", "v", "__metadata__", "\n"]), LINE | JSON))
def test_fuzzed_tables(lines) -> None:
    survives("a.safetensors", bad_files.table(json.dumps(lines)))


AXES = st.lists(st.integers(-1, 5), max_size=3).map(lambda axes: str(tuple(axes)))
CODES = st.sampled_from(["'<f4'", "'>i2'", "'|b1'", "'|O'", "'<U1'", "'<f16'", "[('a', '<f4')]"])


@given(AXES | st.text(max_size=5), CODES | st.text(max_size=5), st.sampled_from(["True", "False"]))
def test_fuzzed_headers(shape, descr, fortran) -> None:
    survives("a.npz", bad_files.npz(bad_files.header(shape, descr, fortran)))


def test_nc_load_is_this_load() -> None:
    assert nc.load is load
