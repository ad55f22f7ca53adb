"""Files on a web server: what travels, what is asked again, and what is refused before it costs anything."""

import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.located import locate
from mhc_diag.sources.files.remote import START, Denied, Missing, Patience, RemoteBytes
from mhc_diag.sources.files.tensors import open_tensors
from mhc_diag.sources.files.web import WebFile, web_folder

CONTENT = bytes(range(256)) * 4000  # a million bytes and a bit


@pytest.fixture
def slept() -> list[float]:
    """Seconds that a retry wanted to wait."""
    return []


@pytest.fixture
def opened(served: Any, slept: list[float]) -> Any:
    """Opens a file of the server with CONTENT."""
    (served.folder / "x").write_bytes(CONTENT)

    def open_it(name: str = "x", **more: Any) -> RemoteBytes:
        return RemoteBytes(WebFile(served.url + name), patience=Patience(slept.append), **more)

    return open_it


def whole(file: RemoteBytes) -> bytes:
    return next(file.read([(0, file.size)]))


def test_ranges_and_nothing_else_travel(served: Any, opened: Any) -> None:
    file = opened()
    assert (file.name, file.size) == (served.url + "x", len(CONTENT))
    ranges = [(600, 700), (700, 1700), (1705, 2000), (900_000, 900_010), (3, 5), (0, 600), (500, 600)]
    assert list(file.read(ranges)) == [CONTENT[a:b] for a, b in ranges]
    assert [asked for _, asked, _ in served.asked[1:]] == [
        "bytes=600-1999",
        "bytes=900000-900009",
        "bytes=512-599",
        "bytes=512-599",
    ]
    assert served.sent == START + 1400 + 10 + 88 + 88


def test_what_ends_beyond_the_file_is_cut(opened: Any) -> None:
    file = opened()
    end = len(CONTENT)
    assert list(file.read([(end - 3, end + 9), (end, end + 1), (end + 5, end + 9)])) == [
        CONTENT[-3:],
        b"",
        b"",
    ]


def test_an_empty_and_a_tiny_file(served: Any, opened: Any) -> None:
    (served.folder / "empty").write_bytes(b"")
    (served.folder / "tiny").write_bytes(b"abc")
    assert (opened("empty").size, whole(opened("tiny"))) == (0, b"abc")


def test_a_dropped_connection_is_taken_up_where_it_ended(
    served: Any, opened: Any, slept: list[float]
) -> None:
    told: list[tuple[int, int]] = []
    file = opened(arrived=lambda more, done: told.append((more, done)))
    served.drops = [100_000, 0, 1]
    assert whole(file) == CONTENT
    assert served.sent == len(CONTENT)
    assert [asked for _, asked, _ in served.asked[1:]] == [
        f"bytes={start}-{len(CONTENT) - 1}" for start in (512, 100_512, 100_512, 100_513)
    ]
    assert len(slept) == 3
    assert sum(more for more, _ in told) == sum(done for _, done in told) == len(CONTENT) - 512


def test_many_drops_do_not_matter_as_long_as_it_gets_on(served: Any, opened: Any, slept: list[float]) -> None:
    file = opened()
    served.drops = [100_000] * 10
    assert whole(file) == CONTENT
    assert len(slept) == 10 and max(slept) < 1


def test_a_server_that_is_busy_is_asked_again_ever_later(
    served: Any, opened: Any, slept: list[float]
) -> None:
    served.failures = [500, 500]
    file = opened()
    served.failures = [503, 429, 502]
    assert whole(file) == CONTENT
    assert slept[0] < slept[1] and slept[2:5] == sorted(slept[2:5]) and max(slept) <= 20


def test_patience_ends(served: Any, opened: Any, slept: list[float]) -> None:
    served.failures = [503] * 99
    with pytest.raises(MhcDiagError, match="after 5 attempts: the server answers 503"):
        opened()
    served.failures = []
    file = opened()
    served.drops = [1] * 99
    with pytest.raises(MhcDiagError, match="after 5 attempts: the connection was closed early"):
        whole(file)


@pytest.mark.parametrize("said", [10**9, 2000, 1, 0])
def test_a_wrong_content_length_yields_right_bytes_or_an_error(said: int, served: Any, opened: Any) -> None:
    file = opened()
    served.change = lambda headers: headers.update({"Content-Length": str(said)})
    try:
        assert next(file.read([(5000, 6000)])) == CONTENT[5000:6000]
    except MhcDiagError as e:
        assert "cannot be read after" in e.message


def test_more_than_was_asked_for_is_not_read(served: Any, opened: Any) -> None:
    file = opened()
    served.change = lambda headers: headers.update({"Content-Length": str(10**7)})
    served.body = lambda body: body + bytes(10**7 - len(body))
    assert next(file.read([(5000, 6000)])) == CONTENT[5000:6000]
    place = WebFile(served.url + "x")
    start, size = place.look(START)
    assert len(start) == START
    assert sum(map(len, place.fetch(5000, 6000))) == 1000


@pytest.mark.parametrize("said", ["bytes 0-9/1024000", "bytes 5001-6000/1024000", "5000", "bytes */1024000"])
def test_an_answer_with_other_bytes_is_refused(said: str, served: Any, opened: Any) -> None:
    file = opened()
    served.change = lambda headers: headers.update({"Content-Range": said})
    with pytest.raises(MhcDiagError, match="answers a request for bytes from 5000 on with"):
        next(file.read([(5000, 6000)]))


@pytest.mark.parametrize(
    "lie", [{"Content-Range": "bytes 5000-5999/7000"}, {"ETag": '"2"'}], ids=["size", "tag"]
)
def test_a_file_that_changes_is_refused(lie: dict[str, str], served: Any, opened: Any) -> None:
    file = opened()
    served.change = lambda headers: headers.update(lie)
    with pytest.raises(MhcDiagError, match="changed while it was read"):
        next(file.read([(5000, 6000)]))


@pytest.mark.parametrize("length", [True, False])
def test_a_server_without_ranges_is_refused_at_once(length: bool, served: Any, opened: Any) -> None:
    served.ranges = False
    (served.folder / "large").write_bytes(CONTENT * 20)
    if not length:
        served.change = lambda headers: headers.pop("Content-Length")
    read = 0
    original = urllib.request.http.client.HTTPResponse.read  # type: ignore[attr-defined]

    def counted(self: Any, amount: int | None = None) -> bytes:
        nonlocal read
        content = original(self, amount)
        read += len(content)
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("http.client.HTTPResponse.read", counted)
        with pytest.raises(MhcDiagError, match="sends whole files only") as error:
            opened("large")
    assert "download the file" in error.value.hint
    assert read == 0 if length else read < 1_000_000


def test_a_small_file_needs_no_ranges(served: Any, opened: Any) -> None:
    served.ranges = False
    (served.folder / "small").write_bytes(CONTENT[:9000])
    file = opened("small")
    assert list(file.read([(5, 10), (8000, 8001)])) == [CONTENT[5:10], CONTENT[8000:8001]]
    assert len(served.asked) == 1


def test_compressed_answers_are_refused(served: Any, opened: Any) -> None:
    served.change = lambda headers: headers.update({"Content-Encoding": "gzip"})
    with pytest.raises(MhcDiagError, match="whole files only"):
        opened()


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [(404, Missing, "does not exist"), (401, Denied, "not for everybody"), (403, Denied, "not for everybody"),
     (400, MhcDiagError, "the server answers 400")],
)  # fmt: skip
def test_refusals(
    status: int, kind: type, message: str, served: Any, opened: Any, slept: list[float]
) -> None:
    served.deny["x"] = status
    with pytest.raises(kind, match=message) as error:
        opened("x?token=secret")
    assert "secret" not in error.value.message + error.value.hint
    assert error.value.message.startswith(served.url + "x ") and not slept


def test_redirects_are_followed_without_the_password(served: Any, slept: list[float]) -> None:
    (served.folder / "x").write_bytes(CONTENT)
    served.redirect = "elsewhere/"
    file = RemoteBytes(WebFile(served.url.replace("//", "//me:pass%20word@") + "x?sig=1"))
    assert next(file.read([(5000, 5005)])) == CONTENT[5000:5005]
    assert file.name == served.url + "x"
    assert {(name, login) for name, _, login in served.asked} == {
        ("x", "Basic bWU6cGFzcyB3b3Jk"),
        ("elsewhere/x", ""),
    }


@pytest.mark.parametrize("where", [Path(__file__).as_uri(), "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_leads_to_no_other_kind_of_address(where: str, served: Any, opened: Any) -> None:
    answer = served.RequestHandlerClass._answer

    def elsewhere(self: Any, status: int, body: bytes, headers: Any = None) -> None:
        answer(self, 302, b"", {"Location": where})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served.RequestHandlerClass, "_answer", elsewhere)
        with pytest.raises(MhcDiagError, match="cannot be read"):
            opened()


def test_encryption_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from mhc_diag.sources.files.web import _Redirects

    request = urllib.request.Request("https://host/x?sig=1")
    with pytest.raises(MhcDiagError, match="https://host/x leads to an address without encryption"):
        _Redirects().redirect_request(request, None, 302, "", {}, "http://host/x")


def test_no_such_server(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    def nobody(*args: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(
        MhcDiagError, match=r"https://nowhere.invalid/x cannot be read: no address of nowhere"
    ):
        RemoteBytes(WebFile("https://me:pw@nowhere.invalid/x?q=1"), patience=Patience(slept.append))
    assert not slept


def test_a_closed_port_and_silence(served: Any, slept: list[float]) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        with pytest.raises(MhcDiagError, match="cannot be read: .*refused"):
            RemoteBytes(WebFile(url), patience=Patience(slept.append))
        assert not slept
        deaf.listen()
        with pytest.raises(MhcDiagError, match="after 5 attempts: no answer in time"):
            RemoteBytes(WebFile(url, timeout=0.02), patience=Patience(slept.append))
        assert len(slept) == 4


@pytest.mark.parametrize("url", ["https://", "http:///x", "http://host:99999/x", "http://[::1/x"])
def test_no_address(url: str) -> None:
    with pytest.raises(MhcDiagError, match="is no address"):
        WebFile(url)


def test_a_folder_on_a_web_server(served: Any) -> None:
    for name in ("model.safetensors", "config.json", "a b#.bin"):
        (served.folder / name).write_bytes(b"{}")
    folder = web_folder(served.url + "?sig=1")
    assert folder.names() == ("model.safetensors",)
    assert folder.find("absent") is None and folder.open("a b#.bin").size == 2
    assert served.asked[-1][0] == "a%20b%23.bin"
    with pytest.raises(MhcDiagError, match="outside itself"):
        folder.open("../x")


def test_other_places_in_an_address_are_told_apart(served: Any) -> None:
    (served.folder / "x").write_bytes(b"abc")
    file, folder = locate(served.url + "x?sig=1"), locate(served.url)
    assert (file.target, file.name, file.file is None) == (served.url + "x", "x", False)
    assert file.folder.name == served.url
    assert (folder.target, folder.file) == (served.url, None)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>", b"empty"])
def test_what_a_server_sends_in_place_of_a_file(page: bytes, served: Any) -> None:
    (served.folder / "model.safetensors").write_bytes(page if page != b"empty" else b"")
    with pytest.raises(MhcDiagError, match="is a web page|is empty"):
        open_tensors(served.url + "model.safetensors")
