"""Where a reader of a report is sent: the web page of a finding, and the file that a target is."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from mhc_diag.findings import Rule
from mhc_diag.records import Provenance

DOCS = ""
"""Address at which the folder `docs` is published, without a slash at its end; empty while it is nowhere."""

_ADDRESS = re.compile(r"https?://[^\s)>\]]+")
_ARXIV = re.compile(r"arXiv:? ?(\d{4}\.\d{4,5})")
_FACTORY = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_][\w.]*")


def address(rule: Rule) -> str:
    """Where on the web a finding is explained: its page, or the first reference that has an address, if any.

    Example:
        >>> from mhc_diag.findings import rules
        >>> address(rules()["MHC101"])
        'https://arxiv.org/abs/2512.24880'
    """
    if DOCS:
        return f"{DOCS}/rules/{rule.ID}.md"
    for reference in rule.REFERENCES:
        if found := _ADDRESS.search(reference):
            return found.group()
        if found := _ARXIV.search(reference):
            return f"https://arxiv.org/abs/{found.group(1)}"
    return ""


def file_of(provenance: Provenance) -> str:
    """The file or folder that a report is about, as the user named it; empty where it is none.

    Of a live model that is the module with its factory, in the place that its name says. Nothing is looked
    up: the file need not exist.

    Example:
        >>> where = Provenance("./out/model.safetensors", "static", "read", "direct", "none")
        >>> file_of(where)
        'out/model.safetensors'
        >>> file_of(Provenance("package.models:build", "observed", "run", "observed", "token"))
        'package/models.py'
    """
    target = provenance.target
    if provenance.method == "simulated" or "://" in target or not target.strip() or not target.isprintable():
        return ""
    if factory := _FACTORY.fullmatch(target):
        return factory.group(1).replace(".", "/") + ".py"
    path = PurePosixPath(target)
    return "" if ".." in path.parts or path == PurePosixPath() else str(path)
