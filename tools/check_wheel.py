"""Check what a wheel holds: `python tools/check_wheel.py dist/*.whl`.

Expected are every Python module and stub of the source tree, and every compiled module at every
level that this machine's compiler can build. Sources, tests and strays are refused.
"""

import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEVELS = ("baseline", "avx2", "avx512") if "x86_64" in sysconfig.get_platform() else ("neon",)
MAX_BYTES = 4_000_000
SHIPPED = ("*.py", "*.pyi", "*.npz", "*.txt", "py.typed")


def expected() -> set[str]:
    """The paths that the wheel must have, from the source tree."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    paths = {
        path.relative_to(ROOT).as_posix()
        for pattern in SHIPPED
        for path in (ROOT / "nanoconv").rglob(pattern)
    }
    for pyx in (ROOT / "nanoconv/_kernels").glob("*_cy.pyx"):
        folders = [""] if pyx.stem == "cpu_cy" else [f"{level}/" for level in LEVELS]
        paths |= {f"nanoconv/_kernels/{folder}{pyx.stem}{suffix}" for folder in folders}
        paths.add(f"nanoconv/_kernels/{pyx.stem}.pyi")
    paths.add(f"nanoconv/_kernels/shared_cy{suffix}")  # has no source here: Cython writes it
    return paths | {"nanoconv/_kernels/build.json"}


def problems(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = {name.rpartition("/")[2] for name in archive.namelist()} - names
    found = [f"missing: {name}" for name in sorted(expected() - names)]
    found += [f"not wanted: {name}" for name in sorted(names - expected())]
    found += [f"missing: {name}" for name in {"LICENSE", "entry_points.txt"} - metadata]
    if (size := wheel.stat().st_size) > MAX_BYTES:
        found.append(f"{size:,} bytes; at most {MAX_BYTES:,} are expected")
    return found


def main(paths: list[str]) -> int:
    if not paths:
        print(__doc__)
        return 2
    failed = False
    for wheel in map(Path, paths):
        found = problems(wheel)
        failed |= bool(found)
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, {len(expected())} files as expected")
        print("\n".join(f"  {line}" for line in found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
