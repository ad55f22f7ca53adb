"""Run the command line as if the file were out to harm: everything it does is watched, and limited.

Run as a script it answers requests, one JSON line each, with what became of the command. It is a process of
its own so that its limits are its own, and so that nothing is imported that the command does not import.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

MEMORY = 500 << 20
SECONDS, WAITING = 5.0, 60.0
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = str(ROOT / "sample_models" / "mhc.safetensors")
TIMERS = (
    (signal.ITIMER_PROF, signal.SIGPROF, SECONDS),
    (signal.ITIMER_REAL, signal.SIGALRM, WAITING),
)
"""Of work, which a busy machine does not lengthen by much, and of waiting for what never comes."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
DEEDS = re.compile(
    r"os\.(system|exec|fork|forkpty|posix_spawn|spawn|startfile|remove|rename|rmdir|mkdir|link|symlink|truncate"
    r"|chmod|chown|putenv|kill|utime)|subprocess\.Popen|socket\..*|shutil\..*|pickle\.find_class|ctypes\.dlopen"
    r"|pty\.spawn|webbrowser\.open|tempfile\..*|urllib\.Request|marshal\.loads.*|code\.__new__"
)
CONTROLS = re.compile(r"[^\x20-\x7e\n\u00a0-\u1fff\u2010-\u2027\u2030-\uffff]")


class Late(BaseException):
    """The command took too long; not an Exception, so that nothing swallows it."""


class Watch:
    """What the command does beside computing, as Python's own audit events tell it."""

    def __init__(self) -> None:
        self.on = False
        self.folder = ""
        self.seen: list[str] = []
        self.home = tuple({os.path.realpath(p) for p in (*sys.path, sys.prefix, sys.base_prefix)} | {"/proc"})
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and (self._is_foreign(path) or (flags or 0) & WRITES):
                self.seen.append(f"open {path!r} {flags:#x}")
        elif DEEDS.fullmatch(event) and not _is_import(event):
            self.seen.append(f"{event} {arguments!r:.200}")

    def _is_foreign(self, path: str | bytes) -> bool:
        whole = os.path.realpath(os.path.join(self.folder, os.fsdecode(path)))
        return not whole.startswith((self.folder, *self.home))


def _is_import(event: str) -> bool:
    """Compiled modules are read by marshal, and loaded by the machinery of imports alone."""
    if not event.startswith(("marshal", "code", "ctypes")):
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if "importlib" in frame.f_code.co_filename or "/dataclasses.py" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


WATCH = Watch()


def run(arguments: list[str], folder: str) -> dict[str, Any]:
    """Call the program in `folder`; what it printed and did, and what it must not have done."""
    from mhc_diag.cli import main

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["mhc-diag", *arguments]
    os.chdir(folder)
    WATCH.folder, WATCH.seen, WATCH.on = os.path.realpath(folder), [], True
    for timer, alarm, seconds in TIMERS:
        signal.signal(alarm, _late)
        signal.setitimer(timer, seconds)
    code: object = None
    raised = ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as left:
        code = left.code
    except BaseException as error:
        raised = f"{type(error).__name__}: {error}"
    finally:
        for timer, *_ in TIMERS:
            signal.setitimer(timer, 0)
        WATCH.on = False
    done = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "raised": raised, "deeds": WATCH.seen}
    return {**done, "torch": "torch" in sys.modules, "wrong": wrong(done)}


def wrong(done: dict[str, Any]) -> list[str]:
    """What may never be, whatever the file was."""
    code, out, err = done["code"], done["out"], done["err"]
    found = [f"did {deed}" for deed in done["deeds"]]
    if done["raised"]:
        found.append(f"raised {done['raised']}")
    elif code not in (0, 2, 3):
        found.append(f"exit code {code!r}")
    if code in (2, 3):
        heads = [line.partition(": ")[0] for line in err.splitlines()]
        if heads[:2] != ["error", "hint"] or {"error", "hint"} & set(heads[2:]):
            found.append("not one error and one hint")
        if code == 2 and len(heads) != 2:
            found.append("more than an error and a hint")
        if out:
            found.append("refused, and printed a report")
        if any(len(line) > 2000 for line in err.splitlines()):
            found.append("a line without end")
    elif code == 0 and (err or not out.strip()):
        found.append("a report with errors, or none")
    for word in (
        "Traceback",
        "internal error",
        "not enough memory",
        "MemoryError",
        "Warning",
        "RecursionError",
    ):
        if word in err or word in out:
            found.append(word)
    if control := CONTROLS.search(out + err):
        found.append(f"control character {control[0]!r}")
    return found


def limit() -> None:
    """Let this process take `MEMORY` more than it has."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))


def warm() -> None:
    """Import what a scan needs, before anything is limited or watched."""
    for format in ("table", "json"):
        assert run(["scan", SAMPLE, "--format", format], str(ROOT))["code"] == 0


def _late(signal_: int, frame: object) -> None:
    raise Late(f"more than {SECONDS} s of work, or {WAITING} s of waiting")


def _serve() -> None:
    """One forked child for each request, so that the memory it took is its own."""
    warm()
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            limit()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            done = run(**json.loads(line))
            done["peak"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            with os.fdopen(writing, "w") as stream:
                json.dump(done, stream)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            answer = stream.read()
        _, status = os.waitpid(child, 0)
        print(answer or json.dumps({"wrong": [f"died with {status}"]}), flush=True)


if __name__ == "__main__":
    _serve()
