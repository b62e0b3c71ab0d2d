"""Builds the compiled kernels; everything else about the package stands in pyproject.toml.

Each `nanoconv/_kernels/*_cy.pyx` is translated to C once, and that one C file is compiled once per
instruction-set level into `nanoconv/_kernels/<level>/`. The import picks one level; see `isa()`.
A level that the compiler refuses is left out, and without a compiler the package is pure Python.

    NANOCONV_NO_EXTENSIONS=1        build no extension at all
    NANOCONV_BUILD_LEVELS=avx2      build these levels only (comma separated)
    NANOCONV_BUILD_CHECKS=1         turn Cython's bounds checks on
    python setup.py build_ext -i    rebuild in place what has changed
"""

import copy
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Path("nanoconv/_kernels")
LEVELS = {
    "x86_64": {
        "baseline": ["-march=x86-64-v2"],
        "avx2": ["-march=x86-64-v3"],
        "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    },
    "aarch64": {"neon": []},
}
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(
    platform.machine().lower(), platform.machine().lower()
)

# NaN must propagate as in PyTorch: no -ffast-math and nothing that assumes finite numbers.
CFLAGS = "-O3 -g0 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fvisibility=hidden".split()
LDFLAGS = ["-Wl,-s"]
OPENMP = ["-fopenmp"]
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
}
if os.environ.get("NANOCONV_BUILD_CHECKS", "0") != "0":
    DIRECTIVES |= {"boundscheck": True, "initializedcheck": True}

PROBE = "#include <Python.h>\ntypedef float f8 __attribute__((vector_size(32)));\n"
PROBE_OPENMP = PROBE + "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"


def headers(source: Path) -> list[str]:
    """The headers of `_kernels/` that `source` includes, directly or through another header."""
    found: list[str] = []
    todo = [source]
    while todo:
        text = todo.pop().read_text(encoding="utf-8")
        for name in re.findall(r'(?:#\s*include|extern\s+from)\s+"([^"<]+\.h)"', text):
            header = KERNELS / name
            if header.exists() and str(header) not in found:
                found.append(str(header))
                todo.append(header)
    return found


def extensions() -> list[Extension]:
    """One extension per module and level; `cpu_cy`, which chooses the level, belongs to none."""
    levels = LEVELS.get(MACHINE, {"baseline": []})
    wanted = os.environ.get("NANOCONV_BUILD_LEVELS", ",".join(levels)).split(",")
    if unknown := set(wanted) - set(levels):
        sys.exit(f"NANOCONV_BUILD_LEVELS: {sorted(unknown)} not among {list(levels)} of {MACHINE}")
    found = []
    for pyx in sorted(KERNELS.glob("*_cy.pyx")):
        depends = ["setup.py", *headers(pyx)]
        for level in [""] if pyx.stem == "cpu_cy" else [level for level in levels if level in wanted]:
            name = ".".join(filter(None, ["nanoconv._kernels", level, pyx.stem]))
            extension = Extension(
                name,
                [str(pyx)],
                depends=depends,
                include_dirs=[str(KERNELS)],
                extra_compile_args=[*CFLAGS, *levels.get(level, [])],
                extra_link_args=LDFLAGS,
            )
            extension.level = level
            found.append(extension)
    return found


class BuildKernels(build_ext):
    """Translates once, compiles per level, leaves out what the compiler refuses, and records why."""

    def run(self) -> None:
        self.developing = bool(self.inplace)  # setuptools hides `inplace` while it builds
        super().run()

    def build_extensions(self) -> None:
        record = {"levels": [], "openmp": False, "missing": {}}
        if os.environ.get("NANOCONV_NO_EXTENSIONS", "0") != "0":
            record["missing"]["extensions"] = "installed with NANOCONV_NO_EXTENSIONS=1"
        elif reason := self.refusal(CFLAGS, LDFLAGS):
            record["missing"]["extensions"] = reason
        if record["missing"]:
            self.extensions = []
        else:
            record["compiler"] = self.compiler.compiler_so[0]
            self.leave_out_refused_levels(record)
            self.add_openmp(record)
            self.translate()
        for extension in self.extensions:
            # A user's build may lose one module; a developer's must show the error.
            extension.optional = not self.developing
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()
        self.write(record)

    def build_extension(self, ext: Extension) -> None:
        # All levels share one C file, so each needs its own place for the object.
        worker = copy.copy(self)
        worker.build_temp = os.path.join(self.build_temp, ext.level or "any")
        build_ext.build_extension(worker, ext)

    def leave_out_refused_levels(self, record: dict) -> None:
        for level, flags in LEVELS.get(MACHINE, {"baseline": []}).items():
            if not any(extension.level == level for extension in self.extensions):
                record["missing"][level] = "not asked for when this was built"
            elif reason := self.refusal([*CFLAGS, *flags], LDFLAGS):
                record["missing"][level] = reason
                self.extensions = [e for e in self.extensions if e.level != level]
            else:
                record["levels"].append(level)

    def add_openmp(self, record: dict) -> None:
        if reason := self.refusal([*CFLAGS, *OPENMP], [*LDFLAGS, *OPENMP], PROBE_OPENMP):
            record["missing"]["openmp"] = reason
            return
        record["openmp"] = True
        for extension in self.extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, *OPENMP]
            extension.extra_link_args = [*extension.extra_link_args, *OPENMP]

    def translate(self) -> None:
        """pyx → C, once per module, in the build directory, only where something changed."""
        from Cython.Build import cythonize

        sources = {pyx: Path(pyx).stem for e in self.extensions for pyx in e.sources}
        modules = [Extension(f"nanoconv._kernels.{stem}", [pyx]) for pyx, stem in sources.items()]
        translated = cythonize(
            modules,
            build_dir=str(Path(self.build_temp).parent / "cython"),
            compiler_directives=DIRECTIVES,
            force=self.force,
            quiet=True,
        )
        c_file = {Path(module.sources[0]).stem: module.sources[0] for module in translated}
        for extension in self.extensions:
            extension.sources = [c_file[Path(extension.sources[0]).stem]]

    def refusal(self, cflags: list[str], ldflags: list[str], source: str = PROBE) -> str:
        """Why the compiler cannot make an extension with these flags; empty if it can."""
        if not getattr(self.compiler, "compiler_so", None):
            return f"the {self.compiler.compiler_type} compiler has no vector extensions (needs GCC or Clang)"
        include = sysconfig.get_path("include")
        with tempfile.TemporaryDirectory() as folder:
            c, o, so = (os.path.join(folder, f"probe.{suffix}") for suffix in ("c", "o", "so"))
            Path(c).write_text(source)
            for command in (
                [*self.compiler.compiler_so, f"-I{include}", *cflags, "-c", c, "-o", o],
                [*self.compiler.linker_so, o, *ldflags, "-o", so],
            ):
                try:
                    result = subprocess.run(command, capture_output=True, text=True)
                except OSError as error:
                    return f"no C compiler: {command[0]}: {error.strerror}"
                if result.returncode:
                    errors = [line for line in result.stderr.splitlines() if "error" in line]
                    return f"{command[0]}: {(errors or ['failed'])[0].replace(folder + os.sep, '')}"
        return ""

    def write(self, record: dict) -> None:
        """Keep what was built and why the rest was not, for `show_config()`."""
        for what, reason in record["missing"].items():
            print(f"nanoconv: built without {what}: {reason}", file=sys.stderr)
        for root in {self.build_lib, "." if self.developing else self.build_lib}:
            folder = Path(root) / KERNELS
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "build.json").write_text(json.dumps(record, indent=1) + "\n")

    def copy_extensions_to_source(self) -> None:
        for extension in self.extensions:
            (KERNELS / extension.level).mkdir(exist_ok=True)
        super().copy_extensions_to_source()


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
