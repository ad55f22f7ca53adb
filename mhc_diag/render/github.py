"""GitHub: workflow commands, which GitHub Actions shows as annotations of a run and of its changed files.

    ::error file=out/model.safetensors,title=MHC101 composite gain above what the streams allow::model: ...

One error for each finding that makes the gate fail and for each target that it could not tell about, one
warning for each other finding, then notices with the verdict and the worst gains of each report. A step only
has to print them. GitHub shows ten of a kind for each step, so the worst come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mhc_diag.pages import file_of
from mhc_diag.records import Report
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Verdict

SUFFIX = ".annotations"

SHOWN = 10
"""More notices than these are shown to nobody."""
LONGEST = 4000
COMMANDS = {"error": "error", "warn": "warning", "off": "notice"}


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """A workflow command on each line.

    Example:
        >>> print(render([], Verdict("passed", enforced=True)), end="")
        ::notice title=mhc-diag::passed
    """
    files = {report.name: file_of(report.provenance) for report in reversed(reports)}
    lines = [] if verdict is None else list(_judged(verdict, files))
    enforced = verdict is not None and verdict.enforced
    lines.append(_command("notice", "mhc-diag", verdict.outcome if verdict and enforced else "measured"))
    for report in reports[:SHOWN]:
        lines.append(_command("notice", "mhc-diag gains", report.summary, file=files[report.name]))
    return "".join(f"{line}\n" for line in lines)


def _judged(verdict: Verdict, files: Mapping[str, str]) -> Iterator[str]:
    for found in verdict.findings:
        title = f"{found.rule} {found.title}" + (" (accepted)" if found.accepted else "")
        name, seen = COMMANDS[found.level], f"{found.target}: {found.text}"
        yield _command(
            "notice" if found.accepted else name, title, seen, found.fix, file=files.get(found.target, "")
        )
    for doubt in verdict.doubts:
        name, title = (
            ("notice", "nothing to check") if doubt.outcome == "passed" else ("error", doubt.outcome)
        )
        file = files.get(doubt.target, "")
        yield _command(name, f"mhc-diag: {title}", doubt.line, doubt.hint, file=file)
    for note in verdict.notes:
        yield _command("notice", "mhc-diag", note)


def _command(name: str, title: str, *lines: str, file: str = "") -> str:
    r"""One command, with nothing in it that ends a line, a property or the command early.

    Example:
        >>> _command("error", "a, b: 50%", "one\n::error::", "two", file="a,b.pt")
        '::error file=a%2Cb.pt,title=a%2C b%3A 50%25::one\\n::error::%0Atwo'
    """
    properties = [("file", file)] if file else []
    properties.append(("title", title))
    told = ",".join(
        f"{key}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for key, value in properties
    )
    return f"::{name} {told}::" + "%0A".join(_escaped(line) for line in lines if line)


def _escaped(text: str) -> str:
    return printable(text, LONGEST).replace("%", "%25")
