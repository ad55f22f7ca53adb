"""Which files of a folder are the model."""

import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.folders import choose, left_out

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
BINS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
CASES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "one file": (("config.json", "model.safetensors"), "files", ("model.safetensors",)),
    "one file of another name": (("net.safetensors", "vocab.json"), "files", ("net.safetensors",)),
    "safetensors before pickles": (
        ("model.safetensors", "pytorch_model.bin"),
        "files",
        ("model.safetensors",),
    ),
    "an index before all": (
        ("consolidated.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json", *SHARDS),
        "index",
        ("model.safetensors.index.json",),
    ),
    "an index of pickles": (
        ("pytorch_model.bin.index.json", *BINS),
        "index",
        ("pytorch_model.bin.index.json",),
    ),
    "shards without an index": (SHARDS, "files", SHARDS),
    "the first shard only": (SHARDS[:1], "files", SHARDS),
    "shards beside the whole once more": (("consolidated.safetensors", *SHARDS), "files", SHARDS),
    "only the consolidated": (
        ("consolidated.safetensors", "params.json"),
        "files",
        ("consolidated.safetensors",),
    ),
    "several unnumbered": (("a.safetensors", "b.safetensors"), "files", ("a.safetensors", "b.safetensors")),
    "a trainer's folder": (
        ("model.safetensors", "optimizer.pt", "rng_state_0.pth", "scheduler.pt", "training_args.bin"),
        "files",
        ("model.safetensors",),
    ),
    "a trainer's folder of pickles": (
        ("optimizer.bin", "pytorch_model.bin", "training_args.bin"),
        "files",
        ("pytorch_model.bin",),
    ),
    "the usual name before the safe format": (
        ("pytorch_model.bin", "vae.safetensors"),
        "files",
        ("pytorch_model.bin",),
    ),
    "the safe format before pickles": (("net.safetensors", "epoch.pt"), "files", ("net.safetensors",)),
    "one pickle": (("last.ckpt", "optimizer.pt"), "files", ("last.ckpt",)),
    "adapters beside": (("adapter_model.safetensors", *SHARDS), "files", SHARDS),
    "distributed": ((".metadata", "__0_0.distcp"), "distributed", (".metadata",)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_taken(case: str) -> None:
    names, kind, expected = CASES[case]
    for order in (names, names[::-1]):
        choice = choose(order, "x")
        assert (choice.kind, choice.names) == (kind, expected)


def test_what_was_passed_over_is_told_unless_it_is_no_model() -> None:
    choice = choose(
        ["consolidated.safetensors", "optimizer.pt", "model.safetensors", "pytorch_model.bin"], "x"
    )
    assert left_out(choice.left, choice.names[0]) == (
        "model.safetensors was read, and not consolidated.safetensors and 1 more beside it",
    )
    assert left_out(["optimizer.pt", "training_args.bin"], "x") == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no tensors: none of its 0 files"),
        (("README.md", "config.json"), "holds no tensors"),
        (
            ("epoch1.pt", "epoch2.pt"),
            "several checkpoints, and which is meant is not clear: epoch1.pt, epoch2.pt",
        ),
        (("a\x1b[31m.pt", "b.pt"), r"not clear: a\\x1b"),
    ],
)
def test_what_cannot_be_chosen(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(MhcDiagError, match=message):
        choose(names, "x")


def test_a_name_cannot_claim_millions_of_shards() -> None:
    assert choose(["model-000001-of-999999.safetensors"], "x").names == (
        "model-000001-of-999999.safetensors",
    )
