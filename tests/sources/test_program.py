"""Programs that torch.export saved, from the file to what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import program
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.sniff import sniff
from mhc_diag.sources.target import Request, scan

EXAMPLE = torch.zeros(2, 3, dtype=torch.int64)


class Site(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing, self.branch = nn.Parameter(torch.randn(4, 4)), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ij,bsjc->bsic", self.mixing, x) + self.branch(x.mean(2))[:, :, None]


class Net(nn.Module):
    """Two sites with a matrix each, which no input changes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.sites = nn.Embedding(5, 8), nn.ModuleList([Site(), Site()])

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)[:, :, None].repeat(1, 1, 4, 1)
        for site in self.sites:
            x = site(x)
        return x


def saved(path: Path, *, example: bool = True, decomposed: bool = False) -> Net:
    model = Net()
    ids = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    exported = torch.export.export(model, (EXAMPLE,), dynamic_shapes={"ids": ids})
    exported = exported.run_decompositions() if decomposed else exported
    if not example:
        exported._example_inputs = None
    torch.export.save(exported, path)
    return model


def matrices(model: Net, tokens: int) -> Tensor:
    return torch.stack([site.mixing.detach().expand(tokens, 4, 4) for site in model.sites])


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("decomposed", [False, True])
def test_is_measured_on_its_own_example(tmp_path: Path, decomposed: bool) -> None:
    path = tmp_path / "net.pt2"
    model = saved(path, decomposed=decomposed)
    (stack,) = scan(Request(str(path), allow_code=True))
    assert torch.equal(stack.matrices, matrices(model, tokens=6))
    assert [site.label for site in stack.sites] == ["sites.0.branch", "sites.1.branch"]
    assert stack.provenance.settings["input"] == "the program's own example"
    assert stack.provenance.method == "observed" and stack.name == "net.pt2"


def test_a_file_goes_before_its_own_example(tmp_path: Path) -> None:
    path, ids = tmp_path / "net.pt2", tmp_path / "ids.npy"
    model = saved(path)
    np.save(ids, np.zeros((3, 7), dtype=np.int64))
    (stack,) = scan(Request(str(path), input=ids, allow_code=True))
    assert torch.equal(stack.matrices, matrices(model, tokens=21))
    assert stack.provenance.settings["input"] == str(ids)


def test_is_known_by_its_content(tmp_path: Path) -> None:
    saved(tmp_path / "net.pt2")
    (tmp_path / "net.pt2").rename(tmp_path / "net.pt")
    assert sniff(LocalBytes(tmp_path / "net.pt")) == "program"
    module, example = program.load(tmp_path / "net.pt")
    assert isinstance(module, nn.Module) and example is not None
    assert torch.equal(example[0][0], EXAMPLE)


def test_is_read_and_not_run_unless_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(tmp_path / "net.pt2")
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))
    for pickle in (False, True):
        (stack,) = scan(Request(str(tmp_path / "net.pt2"), checkpoint=Options(unsafe_pickle=pickle)))
        assert torch.equal(torch.from_numpy(stack.matrices).float(), matrices(model, tokens=1))
        assert "--allow-code" in stack.provenance.notes[0]


def test_without_an_example(tmp_path: Path) -> None:
    path, ids = tmp_path / "net.pt2", tmp_path / "ids.npy"
    model = saved(path, example=False)
    with pytest.raises(MhcDiagError, match="carries no example input") as error:
        scan(Request(str(path), allow_code=True))
    assert "--input" in error.value.hint
    np.save(ids, EXAMPLE.numpy())
    (stack,) = scan(Request(str(path), input=ids, allow_code=True))
    assert torch.equal(stack.matrices, matrices(model, tokens=6))


def test_a_damaged_program(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    saved(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"graph_module"', b'"graph_moduIe"'))
    with pytest.raises(MhcDiagError, match="cannot load the program"):
        scan(Request(str(path), allow_code=True))


def test_its_weights_in_a_model_that_does_not_fit(tmp_path: Path) -> None:
    saved(tmp_path / "net.pt2")
    with pytest.raises(MhcDiagError, match=r"does not fit torch.nn:Identity: 7 unknown to the model"):
        scan(Request(str(tmp_path / "net.pt2"), model="torch.nn:Identity"))
