"""Files on a web server, by HTTP's ranges and nothing beyond the standard library.

A server that ignores ranges would send gigabytes for a few kilobytes: it is refused as soon as it answers,
unless the whole file is small. No byte beyond those asked for is read, whatever a server says or sends.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from mhc_diag import __version__
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.addresses import shown, split_login, without_secrets
from mhc_diag.sources.files.remote import (
    Arrived,
    Denied,
    Missing,
    Patience,
    RemoteFolder,
    Transient,
    silent,
)
from mhc_diag.sources.printable import printable

TIMEOUT = 30.0
"""Seconds of silence after which a connection counts as lost."""
PIECE = 1 << 20
SMALL = 900_000
"""Bytes of a file that is read whole where a server does not send ranges."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
USUAL = (
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "model.safetensors",
    "pytorch_model.bin",
    ".metadata",
)
"""Names that are asked for where a folder is meant: a web server lists none."""
RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted connection to an open one."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise MhcDiagError(
                f"{shown(req.full_url)} leads to an address without encryption",
                hint="download the file in a way that you trust, and scan it here",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class WebFile:
    """A file behind an http or https address.

    Args:
        url: where it is, perhaps with a user's name and password.
        timeout: seconds of silence that are waited.

    Raises:
        MhcDiagError: the address cannot be meant.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self.name, self._timeout = shown(url), timeout
        self._url, self._login = split_login(url)
        self._size, self._tag = -1, ""
        self._opener = urllib.request.OpenerDirector()
        for handler in (  # no file:// and no ftp://, wherever a redirect may lead
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
            urllib.request.UnknownHandler,
            _Redirects,
        ):
            self._opener.add_handler(handler())

    def look(self, length: int) -> tuple[bytes, int]:
        """The first bytes, and the size."""
        with self._asked(0, length) as answer:
            if answer.status == 416:  # there is no first byte
                return b"", 0
            if answer.status == 200:
                return self._whole(answer)
            stop, self._size = self._range(answer, 0)
            self._tag = answer.headers.get("ETag", "")
            start = _some(answer, min(length, stop))
            if len(start) < min(length, self._size):
                raise Transient("the connection was closed early")
            return start, self._size

    def fetch(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of a range, in pieces."""
        with self._asked(start, stop) as answer:
            if answer.status != 206:
                raise self._no_ranges()
            end, size = self._range(answer, start)
            tag = answer.headers.get("ETag", "")
            if size != self._size or (tag and self._tag and tag != self._tag):
                raise MhcDiagError(f"{self.name} changed while it was read", hint="scan it again")
            left = min(stop, end) - start
            while left > 0 and (piece := _some(answer, min(left, PIECE))):
                left -= len(piece)
                yield piece

    def _asked(self, start: int, stop: int) -> http.client.HTTPResponse:
        """The answer to a request for a range, whose body is not read yet."""
        request = urllib.request.Request(self._url)
        request.add_header("Range", f"bytes={start}-{stop - 1}")
        request.add_header("Accept-Encoding", "identity")
        request.add_header("User-Agent", f"mhc-diag/{__version__}")
        if self._login:
            request.add_unredirected_header("Authorization", self._login)
        try:
            answer: Any = self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as e:
            if e.code == 416 and start == 0:
                return e  # type: ignore[return-value]
            e.close()
            raise self._refused(e) from e
        except urllib.error.URLError as e:
            raise self._unreachable(e.reason) from e
        except (OSError, http.client.HTTPException) as e:
            raise Transient(_words(e)) from e
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            answer.close()
            raise self._no_ranges()
        return answer

    def _range(self, answer: http.client.HTTPResponse, start: int) -> tuple[int, int]:
        """Where the bytes of an answer end, and the size of the file."""
        said = RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if said is None or int(said[1]) != start or not start <= int(said[2]) < int(said[3]):
            raise MhcDiagError(
                f"{self.name}: the server answers a request for bytes from {start} on with "
                f"{printable(answer.headers.get('Content-Range', 'other bytes'))!r}",
                hint="download the file and scan it here",
            )
        return int(said[2]) + 1, int(said[3])

    def _whole(self, answer: http.client.HTTPResponse) -> tuple[bytes, int]:
        """All of a small file, from a server that does not send ranges."""
        length = answer.length
        if length is not None and length > SMALL:
            raise self._no_ranges()
        content = b""
        while len(content) <= SMALL and (piece := _some(answer, SMALL + 1 - len(content))):
            content += piece
        if len(content) > SMALL:
            raise self._no_ranges()
        if length is not None and len(content) < length:
            raise Transient("the connection was closed early")
        return content, len(content)

    def _no_ranges(self) -> MhcDiagError:
        return MhcDiagError(
            f"{self.name}: the server sends whole files only, not the ranges that are needed",
            hint="download the file and scan it here",
        )

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        if error.code in BUSY:
            asked = error.headers.get("Retry-After", "") if error.headers else ""
            wait = float(asked) if asked.isdecimal() and len(asked) < 9 else 0.0
            return Transient(f"the server answers {error.code}", wait)
        if error.code in {404, 410}:
            return Missing(
                f"{self.name} does not exist: the server answers {error.code}", hint="check the address"
            )
        if error.code in {401, 403}:
            return Denied(
                f"{self.name} is not for everybody: the server answers {error.code}",
                hint="for a gated model log in with `hf auth login` and name it hf://org/name; "
                "else download it with your browser",
            )
        return MhcDiagError(
            f"{self.name} cannot be read: the server answers {error.code}",
            hint="check the address, or download the file and scan it here",
        )

    def _unreachable(self, reason: object) -> Exception:
        if isinstance(reason, socket.gaierror):
            host = urllib.parse.urlsplit(self.name).hostname
            return MhcDiagError(
                f"{self.name} cannot be read: no address of {host} is known",
                hint="check the spelling and the network",
            )
        if isinstance(reason, (ssl.SSLCertVerificationError, ConnectionRefusedError, str)):
            return MhcDiagError(
                f"{self.name} cannot be read: {_words(reason)}",
                hint="check the address, or download the file and scan it here",
            )
        return Transient(_words(reason))


def web_folder(
    url: str, arrived: Arrived = silent, patience: Patience | None = None, timeout: float = TIMEOUT
) -> RemoteFolder:
    """The files beside each other under an address.

    Args:
        url: of the folder, or of a file in it if it does not end with a slash; what follows a question mark
            is sent along for each file.
        arrived: told what will travel and what has.
        patience: how transient failures are waited out.
        timeout: seconds of silence that are waited.

    Example:
        >>> web_folder("https://host/org/model/model.safetensors?sig=1").name
        'https://host/org/model/'
    """
    parts = urllib.parse.urlsplit(url)
    folder = parts.path[: parts.path.rfind("/") + 1] or "/"

    def place(name: str) -> WebFile:
        path = folder + urllib.parse.quote(name)
        return WebFile(urllib.parse.urlunsplit(parts._replace(path=path, fragment="")), timeout)

    def names() -> Iterator[str]:
        return (name for name in USUAL if found.find(name) is not None)

    name = shown(urllib.parse.urlunsplit(parts._replace(path=folder)))
    found = RemoteFolder(name, place, names, arrived, patience)
    return found


def _some(answer: http.client.HTTPResponse, length: int) -> bytes:
    """That many bytes, or fewer where the connection ends."""
    try:
        return answer.read(length)
    except http.client.IncompleteRead as e:
        return bytes(e.partial)
    except (OSError, http.client.HTTPException) as e:
        raise Transient(_words(e)) from e


def _words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return without_secrets(error) or type(error).__name__
