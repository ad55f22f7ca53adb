"""Files in whatever fsspec knows: the Hugging Face hub (hf://), object stores (s3://, gs://), memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.addresses import shown, without_secrets
from mhc_diag.sources.files.remote import (
    Arrived,
    Denied,
    Missing,
    Patience,
    RemoteFolder,
    Transient,
    silent,
)
from mhc_diag.sources.files.web import BUSY
from mhc_diag.sources.printable import printable

PIECE = 8 << 20
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class StoredObject:
    """One file of a file system that fsspec made.

    Args:
        system: the file system.
        path: as the system spells it.
        name: what to call it in messages.
    """

    def __init__(self, system: Any, path: str, name: str) -> None:
        self._system, self._path, self.name = system, path, name
        self._open: Any = None

    def look(self, length: int) -> tuple[bytes, int]:
        """The first bytes, and the size."""
        try:
            size = int(self._system.info(self._path)["size"])
        except Exception as e:  # each system raises what it likes
            raise told(e, self.name) from e
        return b"".join(self.fetch(0, min(length, size))), size

    def fetch(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of a range, each piece one request."""
        while start < stop:
            try:
                if self._open is None:
                    self._open = self._system.open(self._path, "rb", cache_type="none")
                self._open.seek(start)
                piece = self._open.read(min(PIECE, stop - start))
            except Exception as e:
                raise told(e, self.name) from e
            if not piece:
                return
            start += len(piece)
            yield piece


def find(url: str) -> tuple[Any, str, bool]:
    """The file system that an address is in, the path there, and whether that is a folder.

    Raises:
        MhcDiagError: a package is missing, or there is nothing.
    """
    protocol = url.partition("://")[0]
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
    except ImportError as e:
        package = PACKAGES.get(protocol, "'mhc-diag[remote]'")
        raise MhcDiagError(
            f"{shown(url)} cannot be read: a package for {protocol}:// is missing",
            hint=f"pip install {package}",
        ) from e
    except ValueError as e:
        raise MhcDiagError(
            f"{shown(url)} cannot be read: {without_secrets(e)}", hint="check the address"
        ) from e
    try:
        return system, path, system.info(path)["type"] == "directory"
    except Exception as e:
        problem = told(e, shown(url))
        raise problem if isinstance(problem, MhcDiagError) else _unread(shown(url), e) from e


def stored_folder(
    system: Any, path: str, name: str, arrived: Arrived = silent, patience: Patience | None = None
) -> RemoteFolder:
    """A folder of a file system that fsspec made.

    Args:
        system: the file system.
        path: of the folder, as the system spells it.
        name: what to call it in messages.
        arrived: told what will travel and what has.
        patience: how transient failures are waited out.
    """

    def names() -> list[str]:
        try:
            inside = system.ls(path, detail=True)
        except Exception as e:
            problem = told(e, name)
            raise problem if isinstance(problem, MhcDiagError) else _unread(name, e) from e
        return [entry["name"].rpartition("/")[2] for entry in inside if entry["type"] == "file"]

    def place(file: str) -> StoredObject:
        return StoredObject(system, f"{path.rstrip('/')}/{file}", f"{name.rstrip('/')}/{printable(file)}")

    return RemoteFolder(name, place, names, arrived, patience)


def told(error: Exception, name: str) -> Exception:
    """What another library raised, as what can be done about it.

    Example:
        >>> str(told(FileNotFoundError("x"), "s3://bucket/x"))
        's3://bucket/x does not exist'
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        hint = "check the address"
        if name.startswith("hf://"):
            hint += "; a private or gated model needs a login: `hf auth login`"
        return Missing(f"{name} does not exist", hint=hint)
    if isinstance(error, PermissionError) or status in {401, 403}:
        return Denied(
            f"{name} is not for everybody", hint="log in first: `hf auth login`, or your store's credentials"
        )
    if isinstance(error, (TimeoutError, ConnectionError)) or status in BUSY:
        return Transient(without_secrets(error) or type(error).__name__)
    return _unread(name, error)


def _unread(name: str, error: Exception) -> MhcDiagError:
    return MhcDiagError(
        f"{name} cannot be read: {type(error).__name__}: {without_secrets(error)}",
        hint="check the address and the network, or download the file and scan it here",
    )
