"""The settings of the process, their environment variables, and what importing costs."""

import os
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from interpreter import run_python

import nanoconv as nc
from nanoconv import _kernels, config


def output(code: str, **environment: str) -> str:
    result = run_python("import nanoconv as nc\n" + code, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def error(code: str, **environment: str) -> str:
    """The last line on stderr of a program that must fail with an exception, not a crash."""
    result = run_python("import nanoconv as nc\n" + code, **environment)
    assert result.returncode == 1, result
    return result.stderr.strip().splitlines()[-1]


# --------------------------------------------------------------------------- backend


def test_use_sets_and_a_block_restores() -> None:
    before = nc.get_backend()
    with nc.use("numpy"):
        assert nc.get_backend() == "numpy"
        with nc.use("cython"):
            assert nc.get_backend() == "cython"
        assert nc.get_backend() == "numpy"
    assert nc.get_backend() == before
    assert output("nc.use('numba'); print(nc.get_backend())") == "numba"


def test_a_block_that_raises_restores() -> None:
    before = nc.get_backend()
    with pytest.raises(ZeroDivisionError), nc.use("loops"):
        1 // 0  # noqa: B018
    assert nc.get_backend() == before


def test_use_takes_every_rung_by_its_exact_name() -> None:
    assert "cython.im2col" in config.rungs
    for rung in config.rungs:
        with nc.use(rung):
            assert nc.get_backend() == rung


@pytest.mark.parametrize("name", ["", "cuda", "cython.", "cython.im2cool", "im2col", "Numpy"])
def test_use_names_the_backends_it_knows(name: str) -> None:
    before = nc.get_backend()
    with pytest.raises(ValueError, match=rf"use: backend='{name}' must be one of loops, numpy, "):
        nc.use(name)
    assert nc.get_backend() == before


def test_backend_from_the_environment() -> None:
    assert output("print(nc.get_backend())") == "auto"
    assert output("print(nc.get_backend())", NANOCONV_BACKEND="") == "auto"
    assert output("print(nc.get_backend())", NANOCONV_BACKEND="cython.im2col") == "cython.im2col"
    assert output("nc.use('numpy'); print(nc.get_backend())", NANOCONV_BACKEND="simd") == "numpy"
    said = error("nc.get_backend()", NANOCONV_BACKEND="fast")
    assert said.startswith("ValueError: use: backend='fast' must be one of loops, ")


def test_a_block_leaves_the_environment_in_force() -> None:
    code = "with nc.use('loops'): pass\nprint(nc.get_backend())"
    assert output(code, NANOCONV_BACKEND="numba") == "numba"


def test_a_block_holds_for_its_own_thread_only() -> None:
    before, inside, done = nc.get_backend(), threading.Event(), threading.Event()
    seen: list[str] = []

    def work() -> None:
        seen.append(nc.get_backend())
        with nc.use("loops"):
            inside.set()
            done.wait(10)
            seen.append(nc.get_backend())
        seen.append(nc.get_backend())

    with nc.use("numpy"):
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait(10)
        assert nc.get_backend() == "numpy"
    assert nc.get_backend() == before  # while the other thread is still inside of its block
    done.set()
    thread.join()
    assert seen == [before, "loops", before]


def test_blocks_of_two_threads_at_once_leave_the_process_as_it_was() -> None:
    said = output("""
import sys, threading
sys.setswitchinterval(1e-6)
together = threading.Barrier(3)
def work(mine):
    together.wait()
    for _ in range(20_000):
        with nc.use(mine):
            if nc.get_backend() != mine:
                print("not", mine)
threads = [threading.Thread(target=work, args=[mine]) for mine in ("numpy", "loops", "numba")]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(nc.get_backend())
""")
    assert said == "auto"


def test_what_is_set_inside_a_block_holds_after_it() -> None:
    code = "with nc.use('loops'):\n    nc.use('numpy')\n    print(nc.get_backend())\n"
    assert output(code + "print(nc.get_backend())").split() == ["loops", "numpy"]


def test_an_object_is_entered_when_it_is_and_as_often() -> None:
    code = "wish = nc.use('loops')\nprint(nc.get_backend())\nnc.use('numpy')\n"
    code += "with wish, wish: print(nc.get_backend())\nprint(nc.get_backend())"
    assert output(code).split() == ["loops", "loops", "numpy"]


def test_settings_of_the_past_are_forgotten() -> None:
    code = "for _ in range(100): nc.use('numpy')\n"
    assert output(code + "print(len(nc.config._settings))") == "2"


# --------------------------------------------------------------------------- threads


def test_threads_from_the_environment() -> None:
    assert output("print(nc.get_num_threads())", NANOCONV_NUM_THREADS="7") == "7"
    assert output("nc.set_num_threads(3); print(nc.get_num_threads())") == "3"
    for text in ("0", "-1", "two", "1.5", "²"):
        said = error("nc.get_num_threads()", NANOCONV_NUM_THREADS=text)
        assert said == f"ValueError: NANOCONV_NUM_THREADS={text!r} must be a positive integer"


@pytest.mark.parametrize("n", [1.0, "2", None, True, [1]])
def test_set_num_threads_takes_an_int(n: object) -> None:
    with pytest.raises(TypeError, match=r"set_num_threads: n=.* must be an int, not "):
        nc.set_num_threads(n)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, -1])
def test_set_num_threads_is_at_least_one(n: int) -> None:
    with pytest.raises(ValueError, match=f"set_num_threads: n={n} must be at least 1"):
        nc.set_num_threads(n)


@pytest.mark.parametrize("n", [config.max_threads() + 1, 20_000])
def test_more_threads_than_a_process_can_start_are_refused(n: int) -> None:
    limit = config.max_threads()
    assert limit >= max(256, 4 * (os.cpu_count() or 1))
    with pytest.raises(ValueError, match=f"set_num_threads: n={n} must be at most {limit}"):
        nc.set_num_threads(n)
    said = error("nc.get_num_threads()", NANOCONV_NUM_THREADS=str(n))
    assert said == f"ValueError: NANOCONV_NUM_THREADS={n} must be at most {limit}"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_default_threads_follow_the_affinity() -> None:
    cpu = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{cpu}]); print(nc.get_num_threads())"
    assert output(code) == "1"


CGROUPS = {
    "v2": ({"user/cpu.max": "150000 100000"}, "0::/user", 1.5),
    "v2, the parent is tighter": (
        {"cpu.max": "300000 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"},
        "0::/a/b",
        2.0,
    ),
    "v2 without a quota": ({"user/cpu.max": "max 100000"}, "0::/user", np.inf),
    "v2, path hidden by a container": ({"cpu.max": "50000 100000"}, "0::/host/only", 0.5),
    "v1": (
        {
            "cpu,cpuacct/job/cpu.cfs_quota_us": "250000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        },
        "12:memory:/x\n3:cpu,cpuacct:/job\n1:cpuset:/job",
        2.5,
    ),
    "v1 without a quota": (
        {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"},
        "3:cpu:/job",
        np.inf,
    ),
    "v1 and v2 together": (
        {
            "cpu/cpu.cfs_quota_us": "300000",
            "cpu/cpu.cfs_period_us": "100000",
        },
        "2:cpu:/\n0::/",
        3.0,
    ),
    "no cgroups": ({}, None, np.inf),
}


@pytest.mark.parametrize("name", CGROUPS)
def test_cgroup_quota(name: str, tmp_path: Path) -> None:
    files, groups, expected = CGROUPS[name]
    for path, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    assert config.cgroup_cpus(str(tmp_path)) == expected


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.0, 1), (np.inf, 6), (2.9, 2)])
def test_usable_cpus_never_exceed_quota_or_affinity(
    quota: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(config, "cgroup_cpus", lambda: quota)
    assert config.usable_cpus() == expected


# --------------------------------------------------------------------------- instruction set


def test_the_best_supported_level_is_chosen() -> None:
    usable = [level for level in _kernels.built() if level in _kernels.supported()]
    assert output("print(nc.isa())") == str(usable[0] if usable else None)


@pytest.mark.parametrize("level", _kernels.LEVELS)
def test_a_level_is_forced_or_refused(level: str) -> None:
    if level in _kernels.built() and level in _kernels.supported():
        assert output("print(nc.isa())", NANOCONV_ISA=level) == level
        code = "from nanoconv._kernels import conv_cy; print(conv_cy.__file__)"
        assert Path(output(code, NANOCONV_ISA=level)).parent.name == level
        return
    said = error("nc.isa()", NANOCONV_ISA=level)
    expected = "this machine cannot run it" if level in _kernels.built() else "no kernels were"
    assert said.startswith(f"RuntimeError: NANOCONV_ISA={level}: {expected}")


def test_a_level_that_does_not_exist_is_refused() -> None:
    assert error("nc.isa()", NANOCONV_ISA="sse9") == (
        "ValueError: NANOCONV_ISA='sse9' must be one of avx512, avx2, neon, baseline"
    )


def test_a_refused_level_stops_an_op_too() -> None:
    code = "nc.functional.silu(nc.tensor([-1.0, 1.0]))"
    assert error(code, NANOCONV_ISA="sse9").startswith("ValueError: NANOCONV_ISA='sse9'")


@pytest.mark.skipif(
    "avx2" not in _kernels.supported() or not shutil.which("qemu-x86_64"),
    reason="needs compiled kernels and an emulator of x86-64",
)
@pytest.mark.parametrize("lacking", ["", ",-movbe", ",-f16c", ",-abm"])
def test_avx2_means_all_that_its_compiler_may_use(lacking: str) -> None:
    """-march=x86-64-v3 is more than AVX2, and a virtual machine may hide any part of it."""
    code = (
        "from importlib import util\n"
        f"s = util.spec_from_file_location('cpu_cy', {_kernels.cpu_cy.__file__!r})\n"
        "m = util.module_from_spec(s); s.loader.exec_module(m); print(*m.supported())"
    )
    command = ["qemu-x86_64", "-cpu", "max" + lacking, sys.executable, "-S", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if not lacking and "avx2" not in result.stdout:
        pytest.skip(f"the emulator cannot do it: {result.stdout}{result.stderr}")
    assert result.stdout.split() == (["baseline"] if lacking else ["avx2", "baseline"])


def test_choose_prefers_the_best_and_explains_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernels, "built", lambda: ("avx512", "avx2", "baseline"))
    monkeypatch.setattr(_kernels, "supported", lambda: ("avx2", "baseline"))
    monkeypatch.setattr(_kernels, "missing", lambda: {"neon": "the compiler said no"})
    assert _kernels.choose("") == "avx2"
    assert _kernels.choose("baseline") == "baseline"
    with pytest.raises(RuntimeError, match="cannot run it, only avx2, baseline"):
        _kernels.choose("avx512")
    with pytest.raises(RuntimeError, match="no kernels were built for it: the compiler said no"):
        _kernels.choose("neon")
    monkeypatch.setattr(_kernels, "supported", lambda: ())
    assert _kernels.choose("") is None


# --------------------------------------------------------------------------- random numbers


def test_the_same_seed_gives_the_same_numbers() -> None:
    nc.manual_seed(3)
    first = config.generator().random(5)
    nc.manual_seed(3)
    assert np.array_equal(config.generator().random(5), first)
    assert not np.array_equal(config.generator().random(5), first)
    assert config.generator() is config.generator()


def test_manual_seed_refuses_what_is_no_seed() -> None:
    with pytest.raises(ValueError, match="manual_seed: seed=-1 must not be negative"):
        nc.manual_seed(-1)
    with pytest.raises(TypeError, match=r"manual_seed: seed=1\.5 must be an int, not float"):
        nc.manual_seed(1.5)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- report and import


def test_show_config_tells_what_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    with nc.use("cython"):
        nc.show_config()
    said = capsys.readouterr().out
    for expected in (np.__version__, "cython", str(nc.isa() or "none compiled"), "OpenMP"):
        assert expected in said


def test_show_config_names_what_is_missing_and_how_to_get_it() -> None:
    code = (
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'typer' else find(name, *more)\n"
        "nc.show_config()"
    )
    assert 'typer: pip install "nanoconv[cli]"' in output(code)


def test_show_config_reports_a_bad_level_instead_of_failing() -> None:
    said = output("nc.show_config()", NANOCONV_ISA="sse9")
    assert "error: NANOCONV_ISA='sse9' must be one of" in said


def test_importing_loads_neither_numba_nor_an_extension_nor_a_layer() -> None:
    heavy = ("numba", "torch", "PIL", "rich", "typer", "matplotlib", "safetensors.numpy")
    heavy += ("nanoconv.functional", "nanoconv.ops.conv2d")
    code = (
        f"import sys\nheavy = [m for m in {heavy} if m in sys.modules]\n"
        "print(heavy + [m for m in sys.modules if m.startswith('nanoconv._kernels')])"
    )
    assert output(code) == "[]"
    assert output("from nanoconv import config\n" + code) == "[]"


def test_every_rung_has_a_name_before_its_ladder_is_imported() -> None:
    assert output("nc.use('cython.im2col'); print(nc.get_backend())") == "cython.im2col"


@pytest.fixture
def start(tmp_path: Path):
    """The benchmark of the import, which is not part of the package."""
    path = Path(__file__).parents[1] / "benchmarks/start.py"
    if not path.exists():
        pytest.skip("needs the source tree")
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.mark.parametrize(
    ("nanoconv", "status"), [([1.3, 9.0], 0), ([1.2, 1.4], 0), ([1.4, 1.4], 1)]
)
def test_an_import_that_takes_too_long_is_an_error(
    start, nanoconv: list[float], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    start.main.__globals__["measure"] = lambda rounds: {"numpy": [1.0, 2.0], "nanoconv": nanoconv}
    assert start.main([]) == status
    assert ("takes 1.40 times as long" in capsys.readouterr().err) == bool(status)


def test_an_import_is_measured_from_byte_code(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert 0 < start.seconds("nanoconv", str(tmp_path)) < 60
    assert any("nanoconv" in path.parts for path in tmp_path.rglob("config.*.pyc"))
