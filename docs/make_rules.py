"""Write docs/rules from the files of mhc_diag/findings: `make docs`."""

from pathlib import Path

from mhc_diag import rulebook
from mhc_diag.findings import rules

FOLDER = Path(__file__).parent / "rules"


def written() -> dict[str, str]:
    """What belongs into the folder, by name of a file."""
    known = rules()
    every = {f"{name}.md": rulebook.page(rule) for name, rule in known.items()}
    return {"index.md": rulebook.index(known.values()), **every}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.md"):
        old.unlink()
    for name, text in written().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
