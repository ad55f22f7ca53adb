"""A web server on this machine that counts what it sends, and misbehaves when told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest


class Served(ThreadingHTTPServer):
    """The files of a folder."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges = True
        self.failures: list[int] = []  # statuses of the next answers
        self.drops: list[int] = []  # bytes after which the next answers break off
        self.deny: dict[str, int] = {}  # statuses by name
        self.redirect = ""  # prefix of where every file really is
        self.change: Callable[[dict[str, str]], None] = lambda headers: None  # what to lie about
        self.body: Callable[[bytes], bytes] = lambda body: body
        self.asked: list[tuple[str, str, str]] = []  # name, range, authorization
        self.sent = 0  # bytes of bodies
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where it is, with a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may leave."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Served

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Send a file or a part of one."""
        server, name = self.server, self.path.lstrip("/").partition("?")[0]
        server.asked.append((name, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        if server.failures:
            return self._answer(server.failures.pop(0), b"no")
        if server.redirect and not name.startswith(server.redirect):
            return self._answer(302, b"", {"Location": f"/{server.redirect}{name}"})
        path = server.folder / unquote(name.removeprefix(server.redirect))
        if path.name in server.deny:
            return self._answer(server.deny[path.name], b"denied")
        if not path.is_file():
            return self._answer(404, b"not found")
        content, wanted = path.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not server.ranges or wanted is None:
            return self._answer(200, content)
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
        if start >= stop:
            return self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        said = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}", "ETag": '"1"'}
        return self._answer(206, content[start:stop], said)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        headers = {"Content-Length": str(len(body))} | (headers or {})
        if status in (200, 206):
            self.server.change(headers)
            body = self.server.body(body)
            if self.server.drops:
                body = body[: self.server.drops.pop(0)]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for at in range(0, len(body), 1 << 16):
            piece = body[at : at + (1 << 16)]
            self.server.sent += len(piece)  # before it goes, as whoever gets it may look at once
            self.wfile.write(piece)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server for `tmp_path / "www"`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "www").mkdir()
    with Served(tmp_path / "www") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
