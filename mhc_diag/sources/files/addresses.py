"""Addresses of files elsewhere: told from paths, taken apart, and shown without what they carry in secret."""

from __future__ import annotations

import base64
import re
import urllib.parse
from pathlib import Path

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://.*", re.DOTALL)


def is_address(target: str | Path) -> bool:
    r"""Whether a target is an address and no path.

    Example:
        >>> is_address("hf://org/name"), is_address("C:\\model.pt"), is_address(Path("https://x"))
        (True, False, False)
    """
    return isinstance(target, str) and ADDRESS.fullmatch(target) is not None


def named(target: str | Path) -> str:
    """What to call a target: printable, and without what an address may carry in secret.

    Example:
        >>> named("https://me:pw@host/x.pt?sig=1"), named("a/x.pt")
        ('https://host/x.pt', 'a/x.pt')
    """
    return shown(str(target)) if is_address(target) else printable(Path(target))


def shown(url: str) -> str:
    """An address as messages may show it: without login, query and fragment.

    Example:
        >>> shown("https://me:secret@host:81/x.pt?token=1#top"), shown("hf://name@main/x.pt")
        ('https://host:81/x.pt', 'hf://name@main/x.pt')
    """
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    if scheme != "hf":  # where it is the revision
        host = host.rpartition("@")[2]
    return printable(f"{scheme}://{host}{slash}{path}")


def without_secrets(text: object) -> str:
    """A message of another library without what addresses can carry: passwords, signatures.

    Example:
        >>> without_secrets("GET https://me:pass@host/x?token=abc failed")
        'GET https://host/x failed'
    """
    return printable(re.sub(r"(\w://)[^/\s@]*@", r"\1", re.sub(r"\?\S*", "", " ".join(str(text).split()))))


def split_login(url: str) -> tuple[str, str]:
    """The address as a server is asked for it, and the header that its user and password make.

    Raises:
        MhcDiagError: it names no server.

    Example:
        >>> split_login("https://me:pw@host/a b#top")
        ('https://host/a%20b', 'Basic bWU6cHc=')
    """
    try:
        parts = urllib.parse.urlsplit(url)
        if not parts.hostname or (parts.port is not None and parts.port == 0):
            raise ValueError("it names no server")
    except ValueError as e:
        raise MhcDiagError(f"{shown(url)} is no address: {printable(e)}", hint="check its spelling") from e
    host = parts.netloc.rpartition("@")[2]
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    bare = urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))
    if parts.username is None:
        return bare, ""
    login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return bare, "Basic " + base64.b64encode(login.encode()).decode()
