"""Files from the web: checked, kept in a cache, and whole or not there at all.

    1  a file in the cache whose SHA-256 begins with the digits asked for is used as it is
    2  else its bytes are written to FILE.part; if the connection breaks, the next request begins
       where it broke off (RFC 9110, section 14: Range), now or the next time that somebody asks
    3  FILE.part becomes FILE only if its SHA-256 is right; a wrong one is thrown away

Whoever downloads holds a lock on FILE.lock, so that a second process waits, and then finds the
file. A server cannot do worse than to fail: what it says of lengths is compared with what it sends,
and nothing is used that has not the right checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 18  # bytes; progress is shown so often
MOST = 1 << 30  # bytes; the largest of the published files, vgg16, has half of it
ATTEMPTS = 5  # in a row, that bring nothing
BUSY = (408, 429)  # statuses that mean "later"
TIMEOUT = 30.0  # seconds of silence
PAUSE = 0.5  # seconds before the second attempt, and then twice as long each time

Progress = Callable[[int, int | None], Any]  # bytes so far, and of how many if that is known


class LostConnectionError(OSError):
    """The connection ended too soon, or never came about: another attempt may help."""


def cache_folder() -> Path:
    """Where downloads are kept: NANOCONV_CACHE, or the platform's folder for caches."""
    if chosen := os.environ.get("NANOCONV_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "nanoconv" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nanoconv"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanoconv"


def fetch(url: str, checksum: str, progress: bool | Progress = True) -> Path:
    """The file at `url`, whose SHA-256 begins with `checksum`, from the cache or the web.

    `progress` shows a bar on a terminal; a function is called with the bytes so far and the total.
    OSError where it cannot be had, which says what file to put where; ValueError where the server's
    file is another one.
    """
    if not re.fullmatch("[0-9a-f]{8,64}", checksum):
        raise ValueError(f"fetch: checksum={checksum!r}, expected 8 to 64 hexadecimal digits")
    name = url.rpartition("/")[2]
    if not re.fullmatch(r"\w[\w.+-]*", name, re.ASCII) or not url.startswith(("http:", "https:")):
        raise ValueError(f"fetch: url={url!r}, expected http(s)://…/FILE")
    path = cache_folder() / name
    if right(path, checksum):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(name + ".lock")):
        if right(path, checksum):  # somebody else was quicker
            return path
        part = path.with_name(name + ".part")
        try:
            with bar(name, progress) as show:
                download(url, part, show)
                if not right(part, checksum) and show.resumed:  # of two versions, perhaps
                    part.unlink()
                    download(url, part, show)
        except OSError as error:
            raise OSError(
                f"{url} cannot be downloaded: {error}. Without a network, put {name}, from "
                f"elsewhere, into {path.parent}"
            ) from error
        if not right(part, checksum):
            found = sha256(part)[: len(checksum)]
            part.unlink()
            raise ValueError(
                f"{url} is not the file that was published: its SHA-256 begins with {found}, "
                f"expected {checksum}; nothing was kept"
            )
        part.replace(path)
    return path


# --------------------------------------------------------------------------- one download


def download(url: str, part: Path, show: Shown) -> None:
    """Bring `part` to its end, in as many attempts as it takes while some bring new bytes."""
    failures = 0
    while True:
        before = size_of(part)
        show.resumed |= before > 0
        try:
            return receive(url, part, show)
        except LostConnectionError:
            failures = 0 if size_of(part) > before else failures + 1
            if failures == ATTEMPTS:
                raise
            time.sleep(PAUSE * 2 ** max(failures - 1, 0))


def receive(url: str, part: Path, show: Shown) -> None:
    """One request for the bytes that are missing; an error if fewer come than were announced."""
    have = size_of(part)
    request = urllib.request.Request(url, headers={"User-Agent": "nanoconv"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # more bytes than the file has: begin anew
            part.unlink()
            raise LostConnectionError("the part that was there did not fit") from error
        kind = LostConnectionError if error.code >= 500 or error.code in BUSY else OSError
        raise kind(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        # Where names are not found there is no network, and waiting brings none.
        kind = OSError if isinstance(reason, socket.gaierror) else LostConnectionError
        raise kind(str(reason) or type(error).__name__) from error
    with response:
        begins, total = place(response)
        if begins not in (0, have):
            raise OSError(f"the server sends bytes from {begins:,} on, not from {have:,}")
        have = begins  # 0: the whole file, because the server knows no ranges
        if total is not None and total > MOST:
            raise OSError(f"the server announces {total:,} bytes, expected at most {MOST:,}")
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            copy(response, file, have, total, show)


def place(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where in the file the answer begins, and how many bytes the whole file has."""
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "")
        )
        if not found:
            raise OSError("the server sends a part of the file and does not say which")
        return int(found[1]), int(found[2]) + 1 if found[3] == "*" else int(found[3])
    return 0, response.length


def copy(response: Any, file: BinaryIO, have: int, total: int | None, show: Shown) -> None:
    """Write what arrives, as it arrives."""
    most = MOST if total is None else total
    while True:
        show(have, total)
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise LostConnectionError(
                f"the connection broke after {have:,} bytes ({error})"
            ) from error
        if not chunk:
            break
        have += len(chunk)
        if have > most:
            file.truncate(0)  # it would only fill the disk
            raise OSError(f"the server sends more than {most:,} bytes")
        file.write(chunk)
    file.flush()
    os.fsync(file.fileno())
    if total is not None and have < total:
        raise LostConnectionError(f"the connection broke after {have:,} of {total:,} bytes")


# --------------------------------------------------------------------------- files


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def right(path: Path, checksum: str) -> bool:
    return path.is_file() and sha256(path).startswith(checksum)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process, or thread, at a time; the system lets go of the lock if its holder dies."""
    try:
        import fcntl
    except ImportError:  # no such locks here: at worst, two download the same bytes
        yield
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --------------------------------------------------------------------------- what is shown


class Shown:
    """Passes progress on; `resumed` if a part of the file was there before."""

    def __init__(self, report: Progress | None) -> None:
        self.report, self.resumed = report, False

    def __call__(self, done: int, total: int | None) -> None:
        if self.report is not None:
            self.report(done, total)


@contextlib.contextmanager
def bar(name: str, progress: bool | Progress) -> Iterator[Shown]:
    """A bar on standard error, if that is a terminal and rich is there; else one line."""
    if not isinstance(progress, bool) or not progress:
        yield Shown(progress or None)
        return
    if (console := terminal()) is None:
        print(f"downloading {name}", file=sys.stderr, flush=True)
        yield Shown(None)
        return
    from rich import progress as parts

    columns = (
        parts.TextColumn(name),
        parts.BarColumn(),
        parts.DownloadColumn(),
        parts.TransferSpeedColumn(),
    )
    with parts.Progress(*columns, console=console) as bars:
        task = bars.add_task(name, total=None)
        yield Shown(lambda done, total: bars.update(task, completed=done, total=total))


def terminal() -> Any:
    """A console on standard error, if that is a terminal and rich is installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    return console if console.is_terminal else None
