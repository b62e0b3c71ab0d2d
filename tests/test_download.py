"""Downloads from a server that cuts connections, lies about lengths and sends wrong bytes."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from nanoconv.io import download
from nanoconv.io.download import cache_folder, fetch

CONTENT = np.random.default_rng(0).bytes(1_000_003)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()[:8]
NAME = "net-12345678.pth"


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """A client that has heard enough hangs up."""


class Server:
    """Answers GET by the functions in `answers`, one after the other; the last one stays."""

    def __init__(self) -> None:
        self.answers = [whole]
        self.ranges: list[str | None] = []  # what each request asked for
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                k = min(len(outer.ranges), len(outer.answers)) - 1
                self.close_connection = True
                outer.answers[k](self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/models/{NAME}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0)
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


# --------------------------------------------------------------------------- answers


def send(handler, status: int, headers: dict[str, object], body: bytes) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": len(body), "Connection": "close", **headers}.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def start_of(handler) -> int:
    wanted = handler.headers.get("Range")
    return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0


def whole(handler, content: bytes = CONTENT) -> None:
    """A good server: knows ranges."""
    start = start_of(handler)
    if start and start >= len(content):
        send(handler, 416, {}, b"")
    elif start:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        send(handler, 206, {"Content-Range": span}, content[start:])
    else:
        send(handler, 200, {}, content)


def without_ranges(handler) -> None:
    send(handler, 200, {}, CONTENT)


def cut(size: int):
    """Breaks the connection after so many bytes of what it announced."""

    def answer(handler) -> None:
        start = start_of(handler)
        rest, headers = CONTENT[start:], {"Content-Length": len(CONTENT) - start}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        send(handler, 206 if start else 200, headers, rest[:size])

    return answer


def chunked(handler, parts=(CONTENT[:500_000], CONTENT[500_000:]), end: bytes = b"0\r\n\r\n"):
    send(handler, 200, {"Content-Length": None, "Transfer-Encoding": "chunked"}, b"")
    for part in parts:
        handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    handler.wfile.write(end)


def cut_chunk(handler) -> None:
    send(handler, 200, {"Content-Length": None, "Transfer-Encoding": "chunked"}, b"")
    handler.wfile.write(b"fffff\r\n" + CONTENT[:1000])


def status(code: int):
    return lambda handler: send(handler, code, {}, b"no")


def hang_up(handler) -> None:
    """Says nothing at all."""


# --------------------------------------------------------------------------- what goes well


def in_cache() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize(
    "answers",
    [
        [whole],
        [without_ranges],
        [chunked],
        [cut(300_000), whole],
        [cut(300_000), cut(1), cut(0), whole],
        [cut(300_000), without_ranges],
        [cut_chunk, whole],
        [hang_up, status(503), status(429), whole],
        [cut(100)] * 50 + [whole],  # as long as it goes on, it goes on
    ],
    ids=lambda answers: "-".join(answer.__name__ for answer in answers[:4]),
)
def test_the_file_arrives_whole(server, answers) -> None:
    server.answers = answers
    path = fetch(server.url, CHECKSUM, progress=False)
    assert path == cache_folder() / NAME
    assert path.read_bytes() == CONTENT
    assert in_cache() == [NAME]
    assert len(server.ranges) == len(answers)


def test_what_is_there_is_not_asked_for_again(server) -> None:
    server.answers = [cut(300_000), whole]
    fetch(server.url, CHECKSUM, progress=False)
    assert server.ranges == [None, "bytes=300000-"]


def test_the_cache_is_used_and_checked(server) -> None:
    path = fetch(server.url, CHECKSUM, progress=False)
    assert fetch(server.url, CHECKSUM, progress=False) == path
    assert len(server.ranges) == 1
    path.write_bytes(CONTENT[:-1] + b"x")  # damaged since
    assert fetch(server.url, CHECKSUM, progress=False).read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_an_earlier_run_that_was_interrupted_is_continued(server) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / f"{NAME}.part").write_bytes(CONTENT[:123_456])
    assert fetch(server.url, CHECKSUM, progress=False).read_bytes() == CONTENT
    assert server.ranges == ["bytes=123456-"]


@pytest.mark.parametrize("part", [b"x" * 1000, CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_a_part_of_another_file_is_thrown_away(server, part) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / f"{NAME}.part").write_bytes(part)
    assert fetch(server.url, CHECKSUM, progress=False).read_bytes() == CONTENT
    assert in_cache() == [NAME]


def test_progress_goes_up_to_the_whole(server) -> None:
    server.answers = [cut(300_000), whole]
    seen: list[tuple[int, int | None]] = []
    fetch(server.url, CHECKSUM, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_redirects_are_followed(server) -> None:
    def moved(handler) -> None:
        send(handler, 302, {"Location": "/elsewhere/" + NAME}, b"")

    server.answers = [moved, whole]
    assert fetch(server.url, CHECKSUM, progress=False).read_bytes() == CONTENT


def test_threads_share_one_download(server) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.url, CHECKSUM, progress=False)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache_folder() / NAME] * 4
    assert len(server.ranges) == 1


def test_processes_share_one_download(server) -> None:
    code = "import sys; from nanoconv.io.download import fetch; print(fetch(*sys.argv[1:], False))"
    command = [sys.executable, "-c", code, server.url, CHECKSUM]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [run.communicate(timeout=60)[0].strip() for run in runs] == [
        str(cache_folder() / NAME)
    ] * 3
    assert len(server.ranges) == 1


# --------------------------------------------------------------------------- what does not


def short(handler) -> None:
    """Announces fewer bytes than it has."""
    send(handler, 200, {"Content-Length": 1000}, CONTENT)


def other_part(handler) -> None:
    span = f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"
    send(handler, 206, {"Content-Range": span}, CONTENT[7:])


def unnamed_part(handler) -> None:
    send(handler, 206, {}, CONTENT)


def huge(handler) -> None:
    send(handler, 200, {"Content-Length": 1 << 40}, CONTENT)


def endless(handler) -> None:
    send(handler, 200, {"Content-Length": None}, CONTENT)


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ([status(404)], OSError, "the server answers 404"),
        ([status(500)], OSError, "the server answers 500"),
        ([hang_up], OSError, f"put {NAME}"),
        ([cut(0)], OSError, "the connection broke after 0 of 1,000,003 bytes"),
        ([lambda h: whole(h, CONTENT[:-1] + b"x")], ValueError, "is not the file"),
        ([lambda h: whole(h, CONTENT[:-1])], ValueError, "is not the file"),
        ([lambda h: whole(h, b"")], ValueError, "is not the file"),
        ([short], ValueError, "is not the file"),
        ([other_part], OSError, "the server sends bytes from 7 on, not from 0"),
        ([unnamed_part], OSError, "does not say which"),
        ([huge], OSError, "announces 1,099,511,627,776 bytes"),
        ([endless], OSError, "sends more than 1,000 bytes"),
    ],
)
def test_a_clear_error_and_no_file(server, monkeypatch, answers, kind, message) -> None:
    if endless in answers:
        monkeypatch.setattr(download, "MOST", 1000)
    server.answers = answers
    with pytest.raises(kind, match=message) as caught:
        fetch(server.url, CHECKSUM, progress=False)
    assert server.url in str(caught.value)
    assert not (cache_folder() / NAME).exists()
    if kind is OSError:
        assert f"put {NAME}, from elsewhere, into {cache_folder()}" in str(caught.value)
    else:
        assert in_cache() == []


def test_nobody_listens(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NANOCONV_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "PAUSE", 0)
    with pytest.raises(OSError, match=f"put {NAME}, from elsewhere, into {tmp_path}"):
        fetch(f"http://127.0.0.1:9/{NAME}", CHECKSUM, progress=False)


def test_without_a_network_nothing_is_waited_for(monkeypatch, tmp_path) -> None:
    def no_name(*args, **kwargs):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setenv("NANOCONV_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setattr(download, "PAUSE", 3600)
    with pytest.raises(OSError, match=f"name resolution.*put {NAME}, from"):
        fetch(f"http://nowhere.invalid/{NAME}", CHECKSUM, progress=False)


@pytest.mark.parametrize(
    ("url", "checksum", "message"),
    [
        ("http://host/net.pth", "123", "checksum='123', expected 8 to 64"),
        ("http://host/net.pth", "../../xx", "checksum="),
        ("file:///etc/passwd", "12345678", "url='file:///etc/passwd', expected http"),
        ("http://host/..", "12345678", "expected http"),
        ("http://host/", "12345678", "expected http"),
    ],
)
def test_bad_arguments(url, checksum, message) -> None:
    with pytest.raises(ValueError, match=message):
        fetch(url, checksum)


def test_where_the_cache_is(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("NANOCONV_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "nanoconv"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "nanoconv"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "nanoconv"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache_folder() == tmp_path / "nanoconv" / "cache"


# --------------------------------------------------------------------------- the command


def command(server, *arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("typer", reason="needs the extra [cli]")
    code = f"""
import dataclasses, sys
from nanoconv.cli import main
from nanoconv.io import download
from nanoconv.models import weights
weights.TORCHVISION = {server.url.removesuffix(NAME)!r}
download.PAUSE = 0
weights.WEIGHTS[0] = dataclasses.replace(weights.WEIGHTS[0], file="net-{CHECKSUM}.pth")
main()
"""
    return subprocess.run(
        [sys.executable, "-c", code, "download", *arguments],
        capture_output=True, text=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip


def test_the_command_lists_and_fetches(server) -> None:
    listed = command(server)
    assert listed.returncode == 0, listed.stderr
    assert f"net-{CHECKSUM}.pth" in listed.stdout
    assert "in the cache" not in listed.stdout
    fetched = command(server, "mobilenet_v2:imagenet1k_v1")
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.strip() == str(cache_folder() / f"net-{CHECKSUM}.pth")
    assert fetched.stderr == f"downloading net-{CHECKSUM}.pth\n"
    assert "in the cache" in command(server).stdout


def test_the_command_refuses_before_it_fetches(server) -> None:
    for name, message in (
        ("mobilenet_v9", "'mobilenet_v9' has no published weights"),
        ("mobilenet_v2:imagenet1k_v7", "weights='imagenet1k_v7'"),
        ("mobilenet_v2:mobilenet_v2_1.0_tfpad", "is not on the web"),
    ):
        result = command(server, "resnet18", name)
        assert result.returncode == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert server.ranges == []
    server.answers = [status(404)]
    result = command(server, "mobilenet_v2:imagenet1k_v1")
    assert result.returncode == 1
    assert "the server answers 404" in result.stderr
    assert result.stderr.count("\n") == 2  # and the line that says what is downloaded
