"""Builds the compiled kernels; everything else about the package stands in pyproject.toml.

Each `nanoconv/_kernels/*_cy.pyx` is translated to C once, and that one C file is compiled once per
instruction-set level into `nanoconv/_kernels/<level>/`. The import picks one level; see `isa()`.
What these modules have in common, memoryviews above all, is a module of its own, `shared_cy`,
without which none of them loads: it would be most of each module, and of the time to build it.
A level that the compiler refuses is left out, and without a compiler the package is pure Python.

    NANOCONV_NO_EXTENSIONS=1        build no extension at all
    NANOCONV_BUILD_LEVELS=avx2      build these levels only (comma separated)
    CFLAGS="-O1 -g"                 come first, but a -O of theirs replaces the -O3 here
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
from setuptools.errors import CCompilerError

KERNELS = Path("nanoconv/_kernels")
SHARED = "nanoconv._kernels.shared_cy"
X86 = {
    "baseline": ["-march=x86-64-v2"],  # Nehalem, 2008
    "avx2": ["-march=x86-64-v3"],  # Haswell, 2013: AVX2 and FMA
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],  # Skylake-X, 2017
}
ARM = {"neon": []}
LEVELS = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}.get(
    platform.machine().lower(), {"baseline": []}
)

# NaN must propagate as in PyTorch: no -ffast-math and nothing that assumes finite numbers.
CFLAGS = [] if "-O" in os.environ.get("CFLAGS", "") else ["-O3", "-g0"]
CFLAGS += ["-fvisibility=hidden"]
CFLAGS += ["-Wno-unused-function"]  # no module uses every static function of a header
CFLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
CFLAGS += ["-fno-thread-jumps"]  # it takes the two selects of a clamp apart
# What has no hot loop, small: memoryviews, the choice of a level, and calls of steps_cy's kernels.
SMALL_MODULES = ("cpu_cy", "plan_cy")
SIZE = [] if "-O" in os.environ.get("CFLAGS", "") else ["-Os"]
DEBUGGED = "-g" in os.environ.get("CFLAGS", "").split()
LDFLAGS = [] if DEBUGGED else ["-Wl,-s"]
OPENMP = ["-fopenmp"]
# For smaller files, where they are known: no table of how to unwind each stack frame, which only
# debuggers, profilers and sanitizers read, and less padding between code, constants and variables.
SMALL_CFLAGS = [] if DEBUGGED else ["-fno-asynchronous-unwind-tables"]
SMALL_LDFLAGS = [] if DEBUGGED else ["-Wl,-z,noseparate-code"]
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "binding": False,  # plain built-in functions: nobody asks a kernel for its code object
}
# What Cython puts around each `def` to read its arguments runs once a call: small, not fast. The
# body of the `def` must not become part of it, or its loops would be small, too.
WRAPPER = re.compile(rb"^static (?=(?:PyObject \*|int )__pyx_p([wf])_)", re.MULTILINE)
ATTRIBUTE = {b"w": rb"static __attribute__((cold)) ", b"f": rb"static __attribute__((noinline)) "}

PROBE = "#include <Python.h>\ntypedef float f8 __attribute__((vector_size(32)));\n"
PROBE_OPENMP = PROBE + "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"


def headers(source: Path) -> list[str]:
    """The .h and .pxd files of `_kernels/` that `source` includes, directly or through another."""
    found: list[str] = []
    todo = [source]
    while todo:
        text = todo.pop().read_text(encoding="utf-8")
        names = re.findall(r'(?:#\s*include|extern\s+from)\s+"([^"<]+\.h)"', text)
        names += [f"{name}.pxd" for name in re.findall(r"from \.(\w+) cimport", text)]
        for name in names:
            header = KERNELS / name
            if header.exists() and str(header) not in found:
                found.append(str(header))
                todo.append(header)
    return found


def wanted_levels() -> list[str]:
    wanted = os.environ.get("NANOCONV_BUILD_LEVELS") or ",".join(LEVELS)
    if unknown := set(wanted.split(",")) - set(LEVELS):
        sys.exit(f"NANOCONV_BUILD_LEVELS: {sorted(unknown)} must be among {list(LEVELS)}")
    return wanted.split(",")


def stem(extension: Extension) -> str:
    return extension.name.rpartition(".")[2]


def extensions() -> list[Extension]:
    """One extension per module and level; `cpu_cy`, which chooses it, and SHARED belong to none."""
    found = [Extension(SHARED, [], depends=["setup.py"], extra_link_args=LDFLAGS)]
    found[0].extra_compile_args = [*CFLAGS, *SIZE]  # it is first as it takes longest
    found[0].level = ""
    for pyx in sorted(KERNELS.glob("*_cy.pyx")):
        for level in [""] if pyx.stem == "cpu_cy" else wanted_levels():
            size = SIZE if pyx.stem in SMALL_MODULES else []
            extension = Extension(
                ".".join(filter(None, ["nanoconv._kernels", level, pyx.stem])),
                [str(pyx)],
                depends=["setup.py", *headers(pyx)],
                include_dirs=[str(KERNELS)],
                extra_compile_args=[*CFLAGS, *size, *LEVELS.get(level, [])],
                extra_link_args=LDFLAGS,
            )
            extension.level = level
            found.append(extension)
    return found


class BuildKernels(build_ext):
    """Translates once, compiles per level, and records what the compiler refused and why."""

    def run(self) -> None:
        self.developing = bool(self.inplace)  # setuptools hides `inplace` while it builds
        super().run()

    def build_extensions(self) -> None:
        self.missing: dict[str, str] = {}
        if os.environ.get("NANOCONV_NO_EXTENSIONS", "0") != "0":
            self.missing["extensions"] = "installed with NANOCONV_NO_EXTENSIONS=1"
        elif reason := self.refusal(CFLAGS, LDFLAGS):
            self.missing["extensions"] = reason
        self.parallel = self.parallel or os.cpu_count()
        if self.missing:
            self.extensions = []
        else:
            self.leave_out_refused_levels()
            self.add_openmp()
            self.add_small_flags()
            self.translate()
        self.remove_strays()
        super().build_extensions()
        if SHARED in self.missing:
            self.missing = {"extensions": self.missing[SHARED]}
            self.extensions = []
            self.remove_strays()
        self.write_record()

    def build_extension(self, ext: Extension) -> None:
        # All levels share one C file, so each needs its own place for the object.
        worker = copy.copy(self)
        worker.build_temp = str(Path(self.build_temp) / (ext.level or "any"))
        try:
            build_ext.build_extension(worker, ext)
        except CCompilerError as error:
            if self.developing:
                raise
            self.missing[ext.name] = str(error)  # a user's build may lose a module

    def leave_out_refused_levels(self) -> None:
        for level, flags in LEVELS.items():
            if level not in wanted_levels():
                self.missing[level] = "not among the NANOCONV_BUILD_LEVELS of this build"
            elif reason := self.refusal([*CFLAGS, *flags], LDFLAGS):
                self.missing[level] = reason
                self.extensions = [e for e in self.extensions if e.level != level]

    def add_openmp(self) -> None:
        if reason := self.refusal([*CFLAGS, *OPENMP], [*LDFLAGS, *OPENMP], PROBE_OPENMP):
            self.missing["openmp"] = reason
        else:
            self.add_flags(OPENMP, OPENMP)

    def add_small_flags(self) -> None:
        for cflags, ldflags in ((SMALL_CFLAGS, []), ([], SMALL_LDFLAGS)):
            if not self.refusal([*CFLAGS, *cflags], [*LDFLAGS, *ldflags]):
                self.add_flags(cflags, ldflags)

    def add_flags(self, cflags: list[str], ldflags: list[str]) -> None:
        for extension in self.extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, *cflags]
            extension.extra_link_args = [*extension.extra_link_args, *ldflags]

    def translate(self) -> None:
        """pyx → C, once per module, in the build directory, only where something changed."""
        from Cython.Build import cythonize

        folder = Path(self.build_temp).parent / "cython"
        for c in folder.rglob("*.c"):
            if c.stat().st_mtime < Path("setup.py").stat().st_mtime:
                c.unlink()  # the directives stand here
        before = {c: (c.read_bytes(), c.stat().st_mtime_ns) for c in folder.rglob("*.c")}
        sources = {stem(extension): extension.sources for extension in self.extensions}
        modules = [Extension(f"nanoconv._kernels.{name}", pyx) for name, pyx in sources.items()]
        translated = []
        for shared in (None, SHARED):  # cpu_cy stands alone: it runs before anything else may
            translated += cythonize(
                [module for module in modules if (stem(module) == "cpu_cy") == (shared is None)],
                build_dir=str(folder),
                compiler_directives=DIRECTIVES,
                shared_utility_qualified_name=shared,
                force=self.force,
                nthreads=self.parallel,
                quiet=True,
            )
        for c in folder.rglob("*.c"):
            c.write_bytes(WRAPPER.sub(lambda found: ATTRIBUTE[found[1]], c.read_bytes()))
        for c, (text, time) in before.items():  # pip's Cython is newer each time, and all is new
            if c.read_bytes() == text:
                os.utime(c, ns=(time, time))  # or it would be compiled again
        for header in folder.rglob("*.h"):
            header.unlink()  # Cython's copies, which would hide later changes of the originals
        c = {stem(module): module.sources for module in translated}
        for extension in self.extensions:
            extension.sources = c[stem(extension)]

    def refusal(self, cflags: list[str], ldflags: list[str], source: str = PROBE) -> str:
        """Why the compiler cannot make an extension with these flags; empty if it can."""
        if not getattr(self.compiler, "compiler_so", None):
            return f"needs GCC or Clang, not {self.compiler.compiler_type}"
        include = sysconfig.get_path("include")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "probe.c").write_text(source)
            for command in (
                [*self.compiler.compiler_so, f"-I{include}", *cflags, "-c", "probe.c"],
                [*self.compiler.linker_so, "probe.o", *ldflags, "-o", "probe.so"],
            ):
                try:
                    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
                except OSError as error:
                    return f"no C compiler: {command[0]}: {error.strerror}"
                if result.returncode:
                    errors = [line for line in result.stderr.splitlines() if "error" in line]
                    return f"{command[0]}: {errors[0] if errors else 'failed'}"
        return ""

    def remove_strays(self) -> None:
        """Modules that an earlier build left here must not slip into one that leaves them out."""
        if self.developing and self.extensions:
            return  # the levels that a developer did not ask for today stay
        wanted = {self.get_ext_filename(extension.name) for extension in self.extensions}
        for root in map(Path, [self.build_lib, "."] if self.developing else [self.build_lib]):
            for path in (root / KERNELS).glob(f"**/*{sysconfig.get_config_var('EXT_SUFFIX')}"):
                if str(path.relative_to(root)) not in wanted:
                    path.unlink()

    def write_record(self) -> None:
        """Keep what was left out, and why, for `show_config()`."""
        for what, reason in self.missing.items():
            print(f"nanoconv: built without {what}: {reason}", file=sys.stderr)
        for root in [self.build_lib, "."] if self.developing else [self.build_lib]:
            folder = Path(root) / KERNELS
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "build.json").write_text(json.dumps({"missing": self.missing}) + "\n")

    def copy_extensions_to_source(self) -> None:
        for extension in self.extensions:
            (KERNELS / extension.level).mkdir(exist_ok=True)
        super().copy_extensions_to_source()


if __name__ == "__main__":  # not in the processes that translate
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
