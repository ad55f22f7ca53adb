"""What is promised of a live model by the names of its parameters."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mhc_diag.records import Promise
from mhc_diag.sources.checkpoint.promised import of_module

N, C = 4, 8


class Named(nn.Module):
    """Parameters of the given names and shapes, and nothing that runs."""

    def __init__(self, shapes, config=None):
        super().__init__()
        if config is not None:
            self.config = config
        for name, shape in shapes.items():
            at: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(at, part):
                    at.add_module(part, nn.Module())
                at = getattr(at, part)
            at.register_parameter(last, nn.Parameter(torch.zeros(shape)))


def deepseek(prefix="model.layers", extra=()):
    rows = N * (N + 2)
    shapes = {"fn": (rows, N * C), "base": (rows,), "scale": (3,)}
    named = {
        f"{prefix}.{i}.hc_{k}_{p}": s for i in range(2) for k in ("attn", "ffn") for p, s in shapes.items()
    }
    return named | {"hc_head_fn": (N, N * C)} | dict(extra)


@dataclass
class Config:
    hc_sinkhorn_iters: int = 10
    hc_eps: float = 1e-5


@pytest.mark.parametrize(
    "config",
    [{"hc_sinkhorn_iters": 10, "hc_eps": 1e-5}, Config(), SimpleNamespace(to_dict=Config().__dict__.copy)],
)
def test_numbers_come_from_the_configuration(config):
    made = of_module(Named(deepseek(), config), N)
    assert made == Promise("doubly stochastic", "rows", 10, 1e-5, "layout deepseek", "transposed")


def test_what_no_configuration_tells_is_not_promised():
    made = of_module(Named(deepseek()), N)
    assert made == Promise("doubly stochastic", "rows", 0, 0.0, "layout deepseek", "transposed")


def test_names_within_wrappers_count():
    module = nn.Sequential()
    module.add_module("_orig_mod", Named(deepseek()))
    made = of_module(module, N)
    assert made is not None and made.exact == "rows"


def test_codes_that_disagree_promise_what_they_agree_on():
    rows = N * (N + 2)
    primus = {"fn.weight": (rows, N * C), "base": (rows,), "scale": (3,)}
    shapes = {
        f"layers.{i}.{k}_hc.{p}": s for i in range(2) for k in ("attn", "ffn") for p, s in primus.items()
    }
    made = of_module(Named(shapes, {"hc_sinkhorn_iters": 20, "hc_eps": 1e-6}), N)
    assert made == Promise("doubly stochastic", "", 20, 1e-6, "layout primus", "")


@pytest.mark.parametrize(
    ("module", "streams"),
    [
        (Named(deepseek()), 2),
        (Named({f"layers.{i}.mixing": (4, 4) for i in range(3)}), 4),
        (Named(deepseek(), {"hc_sinkhorn_iters": "many"}), N),
        (nn.Linear(4, 4), 4),
    ],
    ids=["other streams", "names that prove nothing", "damaged configuration", "no mixing"],
)
def test_nothing_is_promised(module, streams):
    assert of_module(module, streams) is None
