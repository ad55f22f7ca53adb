"""Addresses that fsspec knows: the hub, as its own client asks a server for it, and stores."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.located import locate
from mhc_diag.sources.files.object_store import StoredObject, told
from mhc_diag.sources.files.remote import Denied, Missing, Patience, RemoteBytes, Transient

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as the model org/name needs; org/gated is listed and not sent."""

    asked: list[str] = []

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        path, wanted = urlsplit(self.path).path, self.headers.get("range", "")
        Hub.asked.append(f"{path} {wanted}".strip())
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/org/nobody"):
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if "/tree/" in path:
            listed = [{"type": "file", "path": k, "size": len(v), "oid": "0"} for k, v in FILES.items()]
            return self._send(200, json.dumps(listed).encode())
        if path.startswith("/api/models/"):
            return self._send(200, json.dumps({"id": "org/name", "sha": "a" * 40}).encode())
        if path.startswith("/org/gated/"):
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        start, stop = (int(place) for place in wanted.removeprefix("bytes=").split("-"))
        return self._send(206, FILES[name][start : stop + 1])

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the hub was asked."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Hub, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": address, "skip_instance_cache": True})
        yield Hub.asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_model_on_the_hub(revision: str, hub: list[str]) -> None:
    found = locate(f"hf://org/name{revision}")
    assert (found.target, found.name, found.file) == (f"hf://org/name{revision}", f"name{revision}", None)
    assert found.folder.names() == tuple(FILES)
    assert found.folder.find("nothing.json") is None
    file = found.folder.open("model.safetensors")
    assert file.name == f"hf://org/name{revision}/model.safetensors"
    assert list(file.read([(600, 700), (705, 5000)])) == [FILES["model.safetensors"][600:700],
                                                          FILES["model.safetensors"][705:5000]]  # fmt: skip
    travelled = [line for line in hub if "/resolve/main/model" in line]
    assert [line.rpartition(" ")[2] for line in travelled] == ["bytes=0-511", "bytes=600-4999"]


def test_a_file_on_the_hub_and_its_config(hub: list[str]) -> None:
    found = locate("hf://org/name/model.safetensors")
    assert found.file is not None and found.file.size == len(FILES["model.safetensors"])
    config = found.folder.find("config.json")
    assert config is not None and next(config.read([(0, 9)])) == b"{}"


def test_what_the_hub_refuses(hub: list[str]) -> None:
    with pytest.raises(Missing, match="hf://org/nobody does not exist") as error:
        locate("hf://org/nobody")
    assert "hf auth login" in error.value.hint
    with pytest.raises(Denied, match="hf://org/gated/model.safetensors is not for everybody"):
        locate("hf://org/gated/model.safetensors")


@pytest.mark.parametrize(
    ("url", "hint"),
    [("s3://bucket/x.pt", "pip install s3fs"), ("gs://bucket/x.pt", "pip install gcsfs")],
)
def test_a_package_that_is_missing_is_named(url: str, hint: str) -> None:
    with pytest.raises(MhcDiagError, match=r"a package for (s3|gs):// is missing") as error:
        locate(url)
    assert error.value.hint == hint


def test_without_fsspec_the_extra_is_named_and_files_here_need_none() -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from mhc_diag.sources.files.located import locate\n"
        "locate('/'); assert 'urllib.request' not in sys.modules\n"
        "try: locate('hf://org/name')\n"
        "except Exception as e: print(e, e.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'mhc-diag[remote]'" in done.stdout, done.stderr


def test_an_unknown_protocol_and_a_missing_object() -> None:
    with pytest.raises(MhcDiagError, match="nonsense://x cannot be read: Protocol not known"):
        locate("nonsense://x")
    with pytest.raises(Missing, match="memory://nowhere/x.pt does not exist"):
        locate("memory://nowhere/x.pt")


def test_what_a_store_raises_is_told_without_secrets() -> None:
    class Answered(Exception):
        def __init__(self, status: int) -> None:
            super().__init__(f"{status} for https://me:pw@host/x?sig=secret")
            self.response = type("Response", (), {"status_code": status})

    kinds = {404: Missing, 401: Denied, 403: Denied, 503: Transient, 418: MhcDiagError}
    for status, kind in kinds.items():
        error = told(Answered(status), "s3://bucket/x")
        assert type(error) is kind
        assert "secret" not in str(error) and "pw" not in str(error)
    assert type(told(TimeoutError(), "x")) is Transient and type(told(PermissionError(), "x")) is Denied


def test_a_store_that_breaks_off_is_asked_again() -> None:
    class Shaky:
        """Fails before every other read."""

        def __init__(self) -> None:
            self.at = self.reads = 0

        def info(self, path: str) -> dict[str, Any]:
            return {"size": 500_000}

        def open(self, path: str, mode: str, cache_type: str) -> "Shaky":
            assert (mode, cache_type) == ("rb", "none")
            return self

        def seek(self, at: int) -> None:
            self.at = at

        def read(self, length: int) -> bytes:
            self.reads += 1
            if self.reads % 2:
                raise ConnectionResetError
            return bytes([self.at // 100_000]) * min(length, 100_000)

    slept: list[float] = []
    file = RemoteBytes(StoredObject(Shaky(), "x", "s3://x"), patience=Patience(slept.append))
    (content,) = file.read([(0, 500_000)])
    assert len(content) == 500_000 and content[-1] == 4 and len(slept) >= 5
