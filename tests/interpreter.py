"""Fresh interpreters, for what a process can do only once: import, fork, read its environment."""

import os
import subprocess
import sys
from pathlib import Path

import nanoconv


def run_python(code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with the nanoconv that is under test and no other NANOCONV_ variable than given.

    A program that hangs ends in subprocess.TimeoutExpired.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NANOCONV_")}
    inherited["PYTHONPATH"] = str(Path(nanoconv.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-P", *flags, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
