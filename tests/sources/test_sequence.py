"""In which order sites run, by their names alone."""

import itertools

import pytest

from mhc_diag.sources.sequence import holders, in_order, owners


def order(names: str) -> list[str]:
    places, skipped = in_order(f"{name}." for name in names.split())
    assert not skipped
    return [place.prefix.rstrip(".") for place in places]


@pytest.mark.parametrize(
    "expected",
    [
        "layers.0.0 layers.0.1 layers.1.0 layers.1.1 layers.10.0",
        "h.0.hc_attn h.0.hc_mlp h.1.hc_attn h.1.hc_mlp h.11.hc_attn",
        "stages.0.blocks.0.attn stages.0.blocks.1.attn stages.1.blocks.0.attn",
        "hc_attn.0 hc_ffn.0 hc_attn.1 hc_ffn.1",
        "hyper_connections.2 hyper_connections.5 hyper_connections.11",
        "0.self_attn.hc 0.cross_attn.hc 0.ff.hc 1.self_attn.hc",
        "0.attention 0.feedforward 1.attention 1.feed_forward",
        "0.attn 0.moe 1.attn 1.moe",
        "hc_1 hc_2 hc_10",
    ],
)
def test_whatever_the_order_of_the_file(expected: str) -> None:
    names = expected.split()
    for shuffled in itertools.islice(itertools.permutations(names), 0, 120, 7):
        assert order(" ".join(shuffled)) == names


def test_what_a_place_is_called() -> None:
    places, _ = in_order(["transformer.h.3.hc_attn.", "layers.0.1.", "hc_attn.4.", "hc."])
    told = {place.prefix: (place.path, place.kind, place.run) for place in places}
    assert told == {
        "transformer.h.3.hc_attn.": ("transformer.h.3", "hc_attn", "transformer.h."),
        "layers.0.1.": ("layers.0.1", "", "layers."),
        "hc_attn.4.": ("hc_attn.4", "", "hc_*."),
        "hc.": ("hc", "", ""),
    }


def test_runs_that_do_not_follow_each_other() -> None:
    names = [
        "encoder.layers.0.",
        "decoder.layers.0.",
        "layers.0.",
        "layers.0.branch.layers.0.",
        "attn.0.",
        "mlp.0.",
    ]
    places, _ = in_order(names)
    runs = {place.prefix: place.run for place in places}
    assert len(set(runs.values())) == 5 and runs["attn.0."] == runs["mlp.0."]


def test_what_no_name_tells_is_not_guessed() -> None:
    places, skipped = in_order(["h.0.left.", "h.0.right.", "h.1.left."])
    assert [place.prefix for place in places] == ["h.1.left."]
    assert {s.what for s in skipped} == {"h.0.left", "h.0.right"}
    assert "which of several sites of one layer is first" in skipped[0].reason
    places, skipped = in_order(["h.0.attn.a.", "h.0.attn.b."])
    assert not places and len(skipped) == 2
    places, skipped = in_order(["one.", "two."])
    assert not places and len(skipped) == 2


def test_a_number_that_is_no_layer() -> None:
    places, skipped = in_order([f"h.{'9' * 5000}.attn."])
    assert not places and "too long" in skipped[0].reason


def test_owners_are_whole_modules() -> None:
    names = ["a.static_alpha", "b.not_static_alpha", "c.static_alpha.weight", "static_alpha", "d.static_beta"]
    assert owners(names, "static_alpha") == ["a.", ""]


def test_holders_of_a_submodule_in_names_of_any_length() -> None:
    deep = "gate." * 20_000
    names = ["h.0.gate.weight", "h.1.gate", "h.2.delegate.weight", f"{deep}x", "h.3.a.gate.b.gate.weight"]
    prefixes = ["", "gate.", "h.0.", "h.1.", "h.2.", "h.3.a.", "h.3.a.gate.b."]
    assert holders(prefixes, names, "gate") == {"", "gate.", "h.0.", "h.3.a.", "h.3.a.gate.b."}
