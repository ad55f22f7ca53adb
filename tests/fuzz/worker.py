"""Scan damaged files, one after another, in a process of limited memory; print what went wrong as JSON lines.

    python tests/fuzz/worker.py SEEDS FORMAT FIRST LAST

A case is its number: the same number of the same format is the same damage.
"""

from __future__ import annotations

import collections
import json
import random
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "hostile")]

import guard  # noqa: E402
from mutate import Files, mutated  # noqa: E402

INDEX = "model.safetensors.index.json"
COMMANDS = (
    "scan {} --format json --metrics paper",
    "scan {} --format json --metrics paper",
    "scan {} --format csv",
    "scan {} --all-sites",
    "scan {} --samples 3 --format json --metrics paper",
    "scan {} --key model --format json --metrics paper",
    r"scan {} --select .*\d+.*mix\w* --logits sinkhorn:3 --format json --metrics paper",
    "inspect {}",
    "inspect {} --format json",
)


def main(seeds: Path, format: str, first: int, last: int) -> None:
    """Run the cases first, ..., last - 1; the last line counts the outcomes."""
    bases = [_files(folder) for folder in sorted((seeds / format).iterdir())]
    others = [data for folder in sorted(seeds.glob("*/*")) for data in _files(folder).values()]
    work, kept = seeds / f"{format}-{first}", seeds / "failed"
    guard.warm()
    guard.limit()
    for files in bases:  # undamaged, each can be scanned
        done = guard.run(["scan", _written(files, work), "--static", "--format", "csv"], str(work))
        assert done["code"] == 0 and not done["wrong"] and not done["torch"], done
    outcomes: collections.Counter[str] = collections.Counter()
    for case in range(first, last):
        r = random.Random(f"{format} {case}")
        files = mutated(r, r.choice(bases), others)
        target = _written(files, work)
        (seeds / f"{format}-{first}.now").write_text(str(case))
        done = guard.run([word.format(target) for word in r.choice(COMMANDS).split()], str(work))
        outcomes[f"exit {done['code']}"] += 1
        wrong = done["wrong"] + ["wrote a file"] * (_files(work) != files)
        if done["torch"]:
            wrong.append("imported torch")
        if wrong:
            shutil.copytree(work, kept / f"{format}-{case}", dirs_exist_ok=True)
            told = {"case": f"{format} {case}", "wrong": wrong, "err": done["err"][:500]}
            print(json.dumps(told), flush=True)
    shutil.rmtree(work)
    print(json.dumps({"format": format, "outcomes": outcomes}), flush=True)


def _files(folder: Path) -> Files:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _written(files: Files, folder: Path) -> str:
    """Write the files, and say which of them, or which folder, is to be scanned."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return "target" if any(name.startswith("target") for name in files) else INDEX


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
