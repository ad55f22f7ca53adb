"""The page of a finding, in Markdown: on the terminal and in the docs alike."""

from __future__ import annotations

from collections.abc import Iterable

from mhc_diag.findings import Rule, explains
from mhc_diag.profiles import NAMES

USERS = "whatever the user set"


def page(rule: Rule) -> str:
    """One finding in full.

    Example:
        >>> from mhc_diag.findings import rule
        >>> page(rule("MHC101")).splitlines()[0]
        '# MHC101: composite gain above what the streams allow'
    """
    parts = [
        f"# {rule.ID}: {rule.TITLE}",
        f"Level: {_levels(rule)}.",
        f"## What is seen\n\n{rule.WHAT.strip()}",
        f"## Why it matters\n\n{rule.WHY.strip()}",
        f"## What to do\n\n{rule.FIX.strip()}",
    ]
    if others := explains(rule):
        parts.append(
            f"Where it is found, these are not told beside it, whose cause it is: {', '.join(others)}."
        )
    if rule.REFERENCES:
        parts.append("## References\n\n" + "\n".join(f"- {line}" for line in rule.REFERENCES))
    return "\n\n".join(parts) + "\n"


def listed(rules: Iterable[Rule]) -> str:
    """All findings, one line each, under their ids.

    Example:
        >>> from mhc_diag.findings import rules
        >>> listed(rules().values()).splitlines()[1]
        'MHC101  composite gain above what the streams allow'
    """
    return "\n".join(f"{rule.ID}  {rule.TITLE}" for rule in rules) + "\n"


def index(rules: Iterable[Rule]) -> str:
    """All findings as a table, with links to their pages beside it.

    Example:
        >>> from mhc_diag.findings import rules
        >>> index(rules().values()).splitlines()[0]
        '# Findings'
    """
    columns = " | ".join(NAMES)
    lines = [
        f"| [{rule.ID}]({rule.ID}.md) | {rule.TITLE} | "
        + " | ".join(rule.LEVELS.get(name, "off" if rule.LEVELS else USERS) for name in NAMES)
        + " |"
        for rule in rules
    ]
    return "\n".join(
        [
            "# Findings",
            "",
            "What `mhc-diag gate` and `mhc-diag scan` can find, with its level under each profile.",
            "`mhc-diag rule ID` prints the same pages.",
            "",
            f"| id | finding | {columns} |",
            "|---|---|" + "---|" * len(NAMES),
            *lines,
            "",
        ]
    )


def _levels(rule: Rule) -> str:
    if not rule.LEVELS:
        return USERS
    return ", ".join(f"{rule.LEVELS.get(name, 'off')} under the profile {name}" for name in NAMES)
