"""The build: one translation, one compilation per level, and what happens when part of it fails."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
KERNEL = """
cdef extern from "twice.h":
    float twice(float) noexcept nogil

def apply(float x):
    return twice(x)

def first(const double[::1] x):
    return x[0]
"""
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="builds with GCC or Clang")


def clean_environment(**variables: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NANOCONV_")}
    return clean | variables


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )


def build(project: Path, **environment: str) -> str:
    """Build in place; what was compiled, in the compiler's and the build's own words."""
    result = run("setup.py", "build_ext", "--inplace", cwd=project, **environment)
    return result.stdout + result.stderr


def compiled(output: str) -> list[str]:
    return sorted(line.split("'")[1] for line in output.splitlines() if line.startswith("building"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small package with the real build: `cpu_cy` and one kernel that includes two headers."""
    kernels = tmp_path / "nanoconv/_kernels"
    kernels.mkdir(parents=True)
    for name in ("setup.py", "nanoconv/_kernels/__init__.py", "nanoconv/_kernels/cpu_cy.pyx"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "nanoconv/__init__.py").touch()
    (kernels / "twice_cy.pyx").write_text(KERNEL)
    (kernels / "twice.h").write_text(
        '#include "factor.h"\nstatic float twice(float x) { return FACTOR * x; }\n'
    )
    (kernels / "factor.h").write_text("#define FACTOR 2\n")
    return tmp_path


def ask(project: Path, expression: str, **environment: str) -> str:
    code = f"from nanoconv import _kernels\nprint({expression})"
    return run("-c", code, cwd=project, **environment).stdout.strip()


def machine_levels(project: Path) -> list[str]:
    """The levels of this machine, as the error message of a wrong one gives them."""
    with pytest.raises(subprocess.CalledProcessError) as failure:
        build(project, NANOCONV_BUILD_LEVELS="sse9")
    said = failure.value.stderr.strip()
    assert said.startswith("NANOCONV_BUILD_LEVELS: ['sse9'] must be among [")
    return re.findall(r"\w+", said.partition("among")[2])


@needs_compiler
def test_each_level_is_built_and_only_what_changed_again(project: Path) -> None:
    every = machine_levels(project)
    no_level = [f"nanoconv._kernels.{name}" for name in ("cpu_cy", "shared_cy")]
    twice = [f"nanoconv._kernels.{level}.twice_cy" for level in sorted(every)]
    first = f"nanoconv._kernels.{every[0]}.twice_cy"
    assert compiled(build(project, NANOCONV_BUILD_LEVELS=every[0])) == sorted([first, *no_level])
    assert compiled(build(project)) == [name for name in twice if name != first]
    assert compiled(build(project)) == []

    (project / "nanoconv/_kernels/twice_cy.pyx").touch()  # translated again, to the same C
    assert compiled(build(project)) == []

    header = project / "nanoconv/_kernels/factor.h"
    header.write_text("#define FACTOR 5\n")
    later = header.stat().st_mtime + 10
    os.utime(header, (later, later))
    assert compiled(build(project)) == twice
    code = "from nanoconv._kernels.twice_cy import apply; print(apply(3))"
    assert run("-c", code, cwd=project).stdout.strip() == "15.0"
    for level in ask(project, "*_kernels.supported()").split():
        code = "import array; from nanoconv._kernels import twice_cy as t"
        code += "; print(t.first(array.array('d', [7])), t.__file__)"
        said = run("-c", code, cwd=project, NANOCONV_ISA=level).stdout
        assert re.match(rf"7\.0 .*/_kernels/{level}/twice_cy", said)
    assert not list(project.glob("nanoconv/**/*.c"))


@needs_compiler
def test_a_compilation_error_stops_the_developer(project: Path) -> None:
    (project / "nanoconv/_kernels/cpu_cy.pyx").unlink()
    (project / "nanoconv/_kernels/factor.h").write_text("#error broken\n")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        build(project)
    assert "#error broken" in failure.value.stderr


@needs_compiler
@pytest.mark.skipif("x86_64" not in sysconfig.get_platform(), reason="one level only")
def test_an_old_compiler_leaves_out_what_it_cannot_do(project: Path) -> None:
    real = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    script = project / "old-cc"
    script.write_text(
        '#!/bin/sh\nfor flag; do case "$flag" in *x86-64-v[34]*|*openmp*|*-unwind-*|*separate*)\n'
        'echo "error: unknown $flag" >&2; exit 1; esac; done\n'
        f'exec {real} "$@"\n'
    )
    script.chmod(0o755)
    output = build(project, CC=str(script))
    assert [p.parent.name for p in project.glob("nanoconv/*/*/twice_cy.*.so")] == ["baseline"]
    for what, flag in [("avx512", "-march=x86-64-v4"), ("openmp", "-fopenmp")]:
        reason = f"{script}: error: unknown {flag}"
        assert f"nanoconv: built without {what}: {reason}" in output
        assert ask(project, f"_kernels.missing()[{what!r}]") == reason
    assert ask(project, "_kernels.level, _kernels.openmp()") == "baseline 0"
    with pytest.raises(subprocess.CalledProcessError) as failure:
        ask(project, "_kernels.level", NANOCONV_ISA="avx512")
    said = "NANOCONV_ISA=avx512: no kernels were built for it: "
    assert f"{said}{script}: error: unknown -march=x86-64-v4" in failure.value.stderr


@needs_compiler
@pytest.mark.parametrize("refused", ["twice_cy", "shared_cy"])
def test_a_user_may_lose_a_module_but_all_need_the_shared_one(refused: str, project: Path) -> None:
    real = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    script = project / "cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *{refused}.c*) echo "error: no" >&2; exit 1; esac\n'
        f'exec {real} "$@"\n'
    )
    script.chmod(0o755)
    level, lib = machine_levels(project)[0], project / "lib"
    chosen = {"CC": str(script), "NANOCONV_BUILD_LEVELS": level}
    run("setup.py", "build", "--build-lib", lib, cwd=project, **chosen)
    shutil.copy(project / "nanoconv/_kernels/__init__.py", lib / "nanoconv/_kernels")
    (lib / "nanoconv/__init__.py").touch()  # or an installed nanoconv comes first
    what = "extensions" if refused == "shared_cy" else f"nanoconv._kernels.{level}.{refused}"
    said = ask(lib, f"_kernels.supported() == (), _kernels.missing()[{what!r}]")
    assert said.startswith(f"{refused == 'shared_cy'} ")
    assert str(script) in said
    left = {path.name.partition(".")[0] for path in lib.rglob(f"*{SUFFIX}")}
    assert left == (set() if refused == "shared_cy" else {"cpu_cy", "shared_cy"})


@needs_compiler
def test_nothing_of_an_earlier_build_is_left(project: Path) -> None:
    (project / "nanoconv/_kernels/twice_cy.pyx").unlink()
    build(project)
    assert ask(project, "bool(_kernels.compiler())") == "True"
    build(project, NANOCONV_NO_EXTENSIONS="1")
    assert not list(project.rglob(f"*{SUFFIX}"))
    assert ask(project, "_kernels.level, _kernels.supported()") == "None ()"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"NANOCONV_NO_EXTENSIONS": "1"}, "installed with NANOCONV_NO_EXTENSIONS=1"),
        ({"CC": "/nowhere/cc"}, "no C compiler: /nowhere/cc: No such file or directory"),
    ],
)
def test_the_package_installs_without_a_compiler(
    environment: dict[str, str], reason: str, tmp_path: Path
) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    unwanted = shutil.ignore_patterns("*.so", "*.pyd", "build.json", "__pycache__")
    shutil.copytree(ROOT / "nanoconv", source / "nanoconv", ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    pip = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", site, "."]
    result = run(*pip, "--verbose", cwd=source, **environment)
    assert f"nanoconv: built without extensions: {reason}" in result.stdout + result.stderr

    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert not list(site.rglob(f"*{SUFFIX}"))
    code = """
import numpy as np, nanoconv as nc
assert nc.isa() is None
x = nc.tensor(np.ones((1, 4, 5, 5), np.float32), requires_grad=True)
w = nc.tensor(np.ones((4, 1, 3, 3), np.float32), requires_grad=True)
y = nc.functional.conv2d(x, w, groups=4, padding=1)
assert y.data[0, 0, 2, 2] == 9 and y.data[0, 0, 0, 0] == 4
y.sum().backward()
assert w.grad.data[0, 0, 1, 1] == 25
nc.show_config()
"""
    said = run("-W", "error", "-c", code, cwd=tmp_path, PYTHONPATH=str(site)).stdout
    assert f"extensions: {reason}" in said
