"""Time and weigh the static reading of checkpoints: `make bench`.

    sharded   `mhc-diag scan` of 4 GB in 8 safetensors shards, against a process that imports torch and
              safetensors.torch and reads the same tensors; how many bytes it reads, and how much memory
              that takes
    pt        the mixing tensors of a 2 GB .pt in process, against an eager torch.load: seconds, memory
    remote    the sharded checkpoint over HTTP on this machine: bytes and requests; and how much a server
              that cannot send parts has sent when it is refused
    samples   122 sites of n = 4, C = 7168 at 4,096 samples each: seconds

Files are made in a temporary folder; what is not mixing in them is a hole, which takes no space on disk.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import functools
import http.server
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mhc_diag

STREAMS = 4
ROWS = STREAMS * (STREAMS + 2)
MIXING = re.compile(r"\.hc_(attn|ffn)_(fn|base|scale)$")
COUNTED = r"""
import atexit, re, sys
from mhc_diag.cli import main
def tell():
    read = re.search(r"rchar: (\d+)", open("/proc/self/io").read())[1]
    peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]
    print(read, int(peak) << 10, file=sys.stderr)
atexit.register(tell)
sys.argv[0] = "mhc-diag"
main()
"""
THEIRS = """
import json, sys, pathlib, torch, safetensors.torch
from safetensors import safe_open
for shard in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(shard, framework="pt") as file:
        for name in file.keys():
            if ".hc_" in name:
                file.get_tensor(name)
"""
IN_PROCESS = r"""
import json, re, sys, time
import numpy, torch
from mhc_diag.sources.files.tensors import open_tensors
def peak(): return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
before, start = peak(), time.perf_counter()
if sys.argv[2] == "ours":
    file = open_tensors(sys.argv[1])
    kept = dict(file.read(name for name in file.names if ".hc_" in name))
else:
    kept = torch.load(sys.argv[1], weights_only=True)
    kept = {k: v.numpy() for k, v in kept.items() if ".hc_" in k}
assert len(kept) == int(sys.argv[3])
print(json.dumps([time.perf_counter() - start, peak() - before]))
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the checkpoints are."""

    shards: int
    sites: int
    channels: int
    total: int
    """Bytes of the sharded one."""
    pt: int
    """Bytes of the .pt."""
    wide_sites: int
    wide_channels: int
    samples: int


FULL = Size(8, 40, 2048, 4 << 30, 2 << 30, 122, 7168, 4096)
SMOKE = Size(2, 8, 32, 4 << 20, 8 << 20, 6, 64, 64)


def mixing(sites: int, channels: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """The mixing tensors of a DeepSeek-like model, float32."""
    rng = np.random.default_rng(seed)
    made = {}
    for site in range(sites):
        start = f"layers.{site // 2}.hc_{('attn', 'ffn')[site % 2]}_"
        fn = rng.standard_normal((ROWS, STREAMS * channels), np.float32)
        made[start + "fn"] = 0.02 * fn
        made[start + "base"] = rng.standard_normal(ROWS, np.float32)
        made[start + "scale"] = np.full(3, 0.1, np.float32)
    return made


def write_shard(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], hole: int) -> int:
    """A safetensors file whose other weights are a hole of so many bytes; returns the header's size."""
    header: dict[str, Any] = {}
    offset = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]
        }  # fmt: skip
        offset += array.nbytes
    rows = hole // 2048
    header[f"{path.stem}.weight"] = {
        "dtype": "BF16", "shape": [rows, 1024], "data_offsets": [offset, offset + rows * 2048]
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            stream.write(array.tobytes())
        stream.truncate(8 + len(text) + offset + rows * 2048)
    return 8 + len(text)


def sharded(folder: Path, size: Size, channels: int) -> int:
    """A sharded checkpoint; returns the bytes of headers, index and mixing tensors together."""
    folder.mkdir()
    tensors = list(mixing(size.sites, channels).items())
    each = len(tensors) // size.shards
    where, needed = {}, 0
    for k in range(size.shards):
        name = f"model-{k + 1:05d}-of-{size.shards:05d}.safetensors"
        part = dict(tensors[k * each :] if k == size.shards - 1 else tensors[k * each : (k + 1) * each])
        hole = size.total // size.shards - sum(a.nbytes for a in part.values())
        needed += write_shard(folder / name, part, max(hole, 4096)) + sum(a.nbytes for a in part.values())
        where |= dict.fromkeys([*part, f"{name.removesuffix('.safetensors')}.weight"], name)
    index = json.dumps({"metadata": {}, "weight_map": where})
    (folder / "model.safetensors.index.json").write_text(index)
    return needed + len(index)


def seconds(*command: str) -> float:
    """How long a process takes."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def counted(*arguments: str) -> tuple[int, int]:
    """What the kernel says that a scan has read, everything included, and the most memory that it had."""
    command = [sys.executable, "-c", COUNTED, "scan", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    read, peak = done.stderr.split()[-2:]
    return int(read), int(peak)


def verdict(name: str, value: float, goal: float) -> str:
    """A figure beside its goal."""
    return f"{name:<58}{value:>9.3f}   goal {goal:g}  {'met' if value <= goal else 'MISSED'}"


def run_sharded(folder: Path, size: Size, rounds: int) -> None:
    """Whole processes, taking turns."""
    needed = sharded(folder / "sharded", size, size.channels)
    small = sharded(folder / "small", size, 1)
    index = str(folder / "sharded" / "model.safetensors.index.json")
    ours = [str(Path(sys.executable).with_name("mhc-diag")), "scan", index]
    theirs = [sys.executable, "-c", THEIRS, str(folder / "sharded")]
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        for name, command in (("ours", ours), ("theirs", theirs)):
            elapsed = seconds(*command)
            if number:
                taken[name].append(elapsed)
    mine, other = (statistics.median(x) for x in taken.values())
    print(f"sharded: scan {mine:.3f} s, torch + safetensors.torch + the same reads {other:.3f} s")
    print(verdict("sharded: scan / the other", mine / other, 0.25))
    tiny = str(folder / "small" / "model.safetensors.index.json")
    (read, peak), (read_tiny, peak_tiny) = counted(index), counted(tiny)
    print(f"sharded: needed {needed / 1e6:.1f} MB of {size.total / 1e9:.1f} GB")
    print(verdict("sharded: bytes read / needed", (read - read_tiny + small) / needed, 1.05))
    print(verdict("sharded: memory / mixing of one shard", (peak - peak_tiny) * size.shards / needed, 1))


def run_pt(folder: Path, size: Size, rounds: int) -> None:
    """In process: seconds and how much the peak of memory rises."""
    import torch

    tensors: dict[str, Any] = {k: torch.from_numpy(v) for k, v in mixing(4, 64).items()}
    for k in range(8):
        tensors[f"layers.{k}.mlp.weight"] = torch.zeros(size.pt // 8 // 2048, 1024, dtype=torch.bfloat16)
    torch.save(tensors, folder / "model.pt")
    wanted = sum(1 for name in tensors if ".hc_" in name)
    del tensors
    found: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for who in found:
            command = [sys.executable, "-c", IN_PROCESS, str(folder / "model.pt"), who, str(wanted)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[who].append(json.loads(done.stdout))
    (folder / "model.pt").unlink()
    ours, theirs = ([statistics.median(x) for x in zip(*rows, strict=True)] for rows in found.values())
    print(
        f"pt: {ours[0] * 1e3:.1f} ms, {ours[1]:.1f} MB; torch.load {theirs[0] * 1e3:.0f} ms, "
        f"{theirs[1]:.0f} MB"
    )
    print(verdict("pt: seconds / an eager torch.load", ours[0] / theirs[0], 0.05))
    print(verdict("pt: memory / an eager torch.load", ours[1] / theirs[1], 0.05))


class Ranges(http.server.SimpleHTTPRequestHandler):
    """A file server that understands ranges and counts."""

    sent = 0
    requests = 0
    understood = True

    def do_GET(self) -> None:
        """Serve a range, or the whole."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        wanted = self.headers.get("Range", "") if Ranges.understood else ""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        start = int(asked[1]) if asked else 0
        stop = min(int(asked[2]) + 1, size) if asked and asked[2] else size
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        Ranges.requests += 1
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # sent is what has left
        with path.open("rb") as stream, contextlib.suppress(ConnectionError):  # whoever asked may leave
            stream.seek(start)
            while start < stop and (part := stream.read(min(1 << 16, stop - start))):
                self.wfile.write(part)
                start += len(part)
                Ranges.sent += len(part)

    def do_HEAD(self) -> None:
        """The size, and that ranges are understood."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        Ranges.requests += 1
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


def run_remote(folder: Path, size: Size, rounds: int) -> None:
    """What travels."""
    needed = sharded(folder / "remote", size, size.channels)
    handler = functools.partial(Ranges, directory=str(folder / "remote"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/model.safetensors.index.json"
        elapsed = seconds(sys.executable, "-m", "mhc_diag", "scan", url)
        print(f"remote: {Ranges.sent / 1e6:.1f} MB in {Ranges.requests} requests, {elapsed:.2f} s")
        print(verdict("remote: bytes sent / needed", Ranges.sent / needed, 1.05))
        Ranges.sent, Ranges.understood = 0, False
        shard = url.replace(".safetensors.index.json", f"-00001-of-{size.shards:05d}.safetensors")
        refused = subprocess.run([sys.executable, "-m", "mhc_diag", "scan", shard], capture_output=True)
        assert refused.returncode == 2 or size is SMOKE, refused
        server.shutdown()
    print(verdict("remote: MB sent by a server without ranges", Ranges.sent / 1e6, 1))


def run_samples(folder: Path, size: Size, rounds: int) -> None:
    """The shape of DeepSeek-V4-Pro, with all metrics and with the paper's."""
    write_shard(folder / "wide.safetensors", mixing(size.wide_sites, size.wide_channels), 4096)
    command = [sys.executable, "-m", "mhc_diag", "scan", str(folder / "wide.safetensors")]
    for metrics in ("paper", "all"):
        took = seconds(*command, "--samples", str(size.samples), "--metrics", metrics)
        print(verdict(f"samples: {size.wide_sites} sites, metrics {metrics}, seconds", took, 20))


PARTS: dict[str, Callable[[Path, Size, int], None]] = {
    "sharded": run_sharded,
    "pt": run_pt,
    "remote": run_remote,
    "samples": run_samples,
}


def main() -> None:
    """Run the parts asked for, all by default."""
    parser = argparse.ArgumentParser(description="Time and weigh the static reading of checkpoints.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    asked = parser.parse_args()
    compileall.compile_dir(Path(mhc_diag.__file__).parent, quiet=1)  # as pip does when it installs
    size, rounds = (SMOKE, 1) if asked.smoke else (FULL, asked.rounds)
    for name in asked.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder), size, rounds)


if __name__ == "__main__":
    main()
