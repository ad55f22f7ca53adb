"""Code, folders and inputs that do not make a measurable model: exit 2, and nothing is written."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SAMPLES = Path(__file__).parents[2] / "sample_models"
HC = "sample_models.architectures:hc"
OUTPUTS = ("--report", "json=out.json", "--report", "csv=out.csv", "--plot", "out.png")

HALF_WAY = """
import torch
class Net(torch.nn.Module):
    def __init__(self, gain=1.0):
        super().__init__()
        self.gain, self.branch = gain, torch.nn.Linear(8, 8)
    def forward(self, x):
        for _ in range(5):
            x = self.gain * x + self.branch(x)
        raise RuntimeError("no more layers")
def calm(): return Net(), torch.ones(1, 3, 8)
def wild(): return Net(9.0), torch.ones(1, 3, 8)
"""


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("no_such_package.models:build", "there is no Python module no_such_package"),
        ("sample_models.nothing:build", "there is no Python module sample_models.nothing"),
        ("sample_models.architectures:nothing", "has no nothing"),
        ("sample_models.architectures:VOCABULARY", "is of type int, expected a factory"),
        ("architectures.py", "architectures.py is not package.module:factory"),
        ("a:b:c", "a:b:c is not package.module:factory"),
    ],
)
def test_a_wrong_path_to_the_model(run: Callable[..., Any], spec: str, told: str) -> None:
    assert told in run("scan", SAMPLES / "hc.pt", "--model", spec, *OUTPUTS).refused()


def test_names_that_exist_are_offered(run: Callable[..., Any]) -> None:
    done = run("scan", "sample_models.architectures:hcc", *OUTPUTS)
    done.refused()
    assert " hc, mhc" in done.err and "Tensor" not in done.err.splitlines()[1]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise OSError('no disk')", "importing {name} raised OSError: no disk"),
        ("import sys; sys.exit(1)", "importing {name} raised SystemExit: 1"),
        ("import no_such_thing", "importing {name} raised ModuleNotFoundError: No module named"),
        ("def build(:", "importing {name} raised SyntaxError"),
        ("def build(): raise ValueError('two\\nlines')", "{name}:build raised ValueError: two lines"),
        ("def build(size): return size", "{name}:build raised TypeError"),
        ("def build(): raise SystemExit(1)", "{name}:build raised SystemExit"),
        ("def build(): return 3", "{name}:build returned int, expected a torch.nn.Module"),
        ("def build(): return None", "{name}:build returned NoneType"),
        ("def build(): return 3, 4", "{name}:build returned tuple"),
        ("import torch\ndef build(): return torch.nn.Linear(2, 2)", "has no embedding"),
    ],
)
def test_a_factory_that_makes_no_model(
    run: Callable[..., Any], code: Callable[[str], str], body: str, told: str
) -> None:
    name = code(body)
    assert told.format(name=name) in run("scan", f"{name}:build", *OUTPUTS).refused()


def test_model_code_cannot_choose_the_exit_code(run: Callable[..., Any], code: Callable[[str], str]) -> None:
    name = code(
        "import sys, torch\n"
        "class Net(torch.nn.Embedding):\n    def forward(self, x): sys.exit(0)\n"
        "def build(): return Net(4, 4)\n"
    )
    assert "ended the program" in run("scan", f"{name}:build", *OUTPUTS).refused()


def test_what_model_code_prints_stays_out_of_the_report(
    run: Callable[..., Any], code: Callable[[str], str]
) -> None:
    name = code(
        f"from {HC.partition(':')[0]} import hc\ndef build():\n    print('loading')\n    return hc()\n"
    )
    done = run("scan", f"{name}:build", "--format", "json")
    assert done.code == 0 and "loading" in done.err
    assert json.loads(done.out)["reports"][0]["streams"] == 4


def test_a_factory_cannot_be_given_twice(run: Callable[..., Any]) -> None:
    assert "--model is given" in run("scan", HC, "--model", HC, *OUTPUTS).refused()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros((2, 3), dtype=np.float32), "raised RuntimeError: Expected tensor"),
        (np.full((2, 3), 64), "raised IndexError"),
        (np.zeros((2, 3, 5), dtype=np.int64), "raised RuntimeError"),
        (np.zeros(3, dtype=np.int64), "raised"),
    ],
    ids=["dtype", "vocabulary", "too many axes", "too few axes"],
)
def test_an_input_that_the_model_rejects(
    run: Callable[..., Any], folder: Path, value: np.ndarray, told: str
) -> None:
    np.save(folder / "x.npy", value)
    done = run("scan", HC, "--input", "x.npy", *OUTPUTS)
    assert f"{HC} {told}" in done.refused()
    assert "shape and dtype" in done.err


def test_an_input_of_the_wrong_width(run: Callable[..., Any], code: Callable[[str], str]) -> None:
    name = code(HALF_WAY)
    torch.save(torch.ones(1, 3, 7), "x.pt")
    assert "raised RuntimeError" in run("scan", f"{name}:calm", "--input", "x.pt", *OUTPUTS).refused()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.npy", None),
        ("missing.pt", None),
        ("empty.npy", b""),
        ("empty.pt", b""),
        ("empty.safetensors", b""),
        ("cut.pt", (SAMPLES / "hc.pt").read_bytes()[:3000]),
        ("cut.safetensors", (SAMPLES / "mhc.safetensors").read_bytes()[:3000]),
        ("page.npy", b"<html><body>Sign in</body></html>"),
        ("ids.txt", b"1 2 3"),
        ("ids", b"1 2 3"),
    ],
)
def test_an_input_file_that_cannot_be_read(
    run: Callable[..., Any], folder: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    assert name in run("scan", HC, "--input", name, *OUTPUTS).refused()


def test_a_model_that_fails_half_way_is_reported_and_cannot_pass(
    run: Callable[..., Any], code: Callable[[str], str], folder: Path
) -> None:
    name = code(HALF_WAY)
    done = run("scan", f"{name}:calm", *OUTPUTS)
    assert done.code == 2 and done.changed == {"out.json", "out.csv", "out.png"}
    assert done.err.splitlines()[-2] == f"error: {name}:calm raised RuntimeError: no more layers"
    saved = json.loads((folder / "out.json").read_text())["reports"][0]
    assert saved["provenance"]["failure"] == "RuntimeError: no more layers"
    assert len(saved["sites"]) == 5
    limited = run("scan", f"{name}:calm", "--max-gain", "4")
    assert limited.code == 2 and "could not tell" in limited.out
    assert run("scan", f"{name}:wild", "--max-gain", "4").code == 1


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "holds no tensors: none of its 0 files"),
        ("", "config.json, the configuration beside the weights, cannot be read"),
        ("not json", "config.json, the configuration beside the weights, cannot be read"),
        ("[]", "holds no tensors"),
        ("{}", "holds no tensors"),
        ('{"architectures": []}', "holds no tensors"),
        ('{"architectures": null}', "holds no tensors"),
        ('{"architectures": ["NoSuchModel"]}', "holds no tensors"),
        ('{"architectures": ["pipeline"]}', "transformers cannot load"),
        ('{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}', "no file named model.safetensors"),
    ],
)
def test_a_folder_that_holds_no_model(
    run: Callable[..., Any], folder: Path, config: str | None, told: str
) -> None:
    (folder / "llm").mkdir()
    if config is not None:
        (folder / "llm/config.json").write_text(config)
    error = run("scan", "llm", *OUTPUTS).refused()
    assert told in error and "llm" in error


def test_a_folder_with_the_code_of_a_model(run: Callable[..., Any], folder: Path) -> None:
    (folder / "llm").mkdir()
    assert "llm holds no tensors" in run("scan", "llm", "--model", HC, *OUTPUTS).refused()


def test_transformers_is_not_installed(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "transformers" else find(name, *rest)
    )
    done = run("scan", SAMPLES / "deepseek-v4-tiny", "--format", "json")
    provenance = json.loads(done.out)["reports"][0]["provenance"]
    assert (done.code, provenance["method"]) == (0, "static")
    assert provenance["notes"][0] == (
        "parameters were read, and no model was run: transformers, which builds a DeepseekV4ForCausalLM, "
        "is not installed (mhc-diag[hf])"
    )


def test_code_beside_the_weights_is_neither_run_nor_asked_about(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "llm").mkdir()
    (folder / "llm/modeling.py").write_text("open('was_run', 'w')\n")
    places = {"AutoConfig": "modeling.Config", "AutoModelForCausalLM": "modeling.Model"}
    config = {"architectures": ["AutoModelForCausalLM"], "model_type": "my-own", "auto_map": places}
    (folder / "llm/config.json").write_text(json.dumps(config))
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "y")
    assert "code of its own, which is never run" in run("scan", "llm", *OUTPUTS).refused()
    assert asked == []


ODD = """
import torch
from torch import nn
X = torch.ones(2, 3, 16)
class Net(nn.Module):
    def __init__(self, run, width=16):
        super().__init__()
        self.run, self.a, self.norm = run, nn.Linear(width, width), nn.LayerNorm(width)
    def forward(self, x, *rest):
        return self.run(self, x)
class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(16, 16)
    def forward(self, x, mask):
        return x + self.a(x) * mask
def fails(m, x):
    raise ValueError("no such thing\\nand more")
def wide(m, x):
    y = x.unsqueeze(2).repeat(1, 1, 4, 1)
    return 0.5 * y + m.a(y.mean(2))[:, :, None]
def plain(m, x):
    return x + m.a(x)
def counts(m, x):
    return x * 2 + x.sum()
def nothing(m, x):
    return None
def mlp(m, x):
    return m.a(torch.relu(m.a(x)))
def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode
    with FakeTensorMode():
        return Net(plain), torch.ones(2, 3, 16)
def meta(example):
    with torch.device("meta"):
        return Net(plain), example
class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.LazyLinear(16)
    def forward(self, x):
        return x + self.a(x)
def build():
    return MADE
"""


@pytest.mark.parametrize(
    ("made", "exit_code", "told", "hint"),
    [
        ("Net(mlp), X", 3, "no residual mixing was measured", "follows additions of a branch"),
        ("Net(nothing), X", 3, "no residual mixing was measured", "follows additions of a branch"),
        ("Net(counts), torch.ones(2, 3).long()", 3, "no residual", "no floating-point input"),
        ("Net(plain), torch.ones(16)", 3, "no residual", "axes of tokens and of channels"),
        ("Net(wide, 6), torch.ones(2, 3, 6)", 3, "no residual", "follows additions"),
        ("Net(fails), X", 2, "raised ValueError: no such thing and more", "shape and dtype"),
        ("Masked(), X", 2, "missing 1 required positional argument: 'mask'", "with (float32[2, 3, 16])"),
        ("Net(plain), torch.ones(2, 0, 16)", 2, "is empty: its shape is (2, 0, 16)", "at least one token"),
        ("Lazy(), X", 2, "a.weight gets its shape from the first call", "call the model once"),
        ("meta(X)", 2, "shapes but no numbers: a.weight is on the meta device", "load its weights"),
        ("Net(plain), X.to('meta')", 2, "has a shape but no numbers", "on the device of the model"),
        ("fake()", 2, "shapes but no numbers: a.weight is a fake tensor", "load its weights"),
    ],
)
def test_a_model_that_cannot_be_measured(
    run: Callable[..., Any], code: Callable[[str], str], made: str, exit_code: int, told: str, hint: str
) -> None:
    name = code(ODD.replace("MADE", made))
    done = run("scan", f"{name}:build", *OUTPUTS)
    assert told in done.refused(exit_code)
    assert hint in done.err.splitlines()[1]


def test_too_few_channels_are_named(run: Callable[..., Any], code: Callable[[str], str]) -> None:
    name = code(ODD.replace("MADE", "Net(wide, 6), torch.ones(2, 3, 6)"))
    done = run("scan", f"{name}:build")
    assert "6 channels are too few to tell 4 streams apart twice" in done.err


def test_a_model_with_norms_on_its_path_says_so(run: Callable[..., Any], code: Callable[[str], str]) -> None:
    loop = (
        "def post(m, x):\n    for _ in range(3):\n        x = m.norm(x + m.a(x))\n    return x\ndef build():"
    )
    name = code(ODD.replace("def build():", loop).replace("MADE", "Net(post), X"))
    done = run("scan", f"{name}:build")
    assert done.code == 0 and "not all of it was measured (2 left out)" in " ".join(done.out.split())
    assert done.out.count("a normalisation on the residual path, which is not linear") == 2
    assert run("scan", f"{name}:build", "--max-gain", "4").code == 2


def test_weights_that_are_nan_are_reported_and_cannot_pass(
    run: Callable[..., Any], code: Callable[[str], str]
) -> None:
    gate = "def gated(m, x):\n    return torch.sigmoid(m.a(x))[..., :1] * x + m.a(x)\ndef build():"
    made = "Net(gated).apply(lambda m: [nn.init.constant_(p, float('nan')) for p in m.parameters()]), X"
    name = code(ODD.replace("def build():", gate).replace("MADE", made))
    done = run("scan", f"{name}:build")
    assert done.code == 0 and "1 of 1 sites have matrices that are not finite" in " ".join(done.out.split())
    assert run("scan", f"{name}:build", "--max-gain", "4").code == 1
