"""The JSON schema that the package ships, and what is saved."""

import copy
import json
import runpy
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

import mhc_diag
from mhc_diag.render.json import render
from mhc_diag.schema import to_document
from mhc_diag.verdict import Verdict

NAME = "report.schema.json"
SCHEMA = json.loads((resources.files("mhc_diag.schema") / NAME).read_text())
SETS = ("clean", "failing", "overflowing", "side-by-side")


def closed(schema):
    """The schema with nothing allowed that it does not describe."""
    if isinstance(schema, dict):
        inner = {key: closed(value) for key, value in schema.items()}
        is_record = "properties" in inner and "type" in inner
        return {"additionalProperties": False, **inner} if is_record else inner
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CLOSED = jsonschema.Draft202012Validator(closed(SCHEMA))


def test_is_made_of_the_records_as_they_are(golden):
    made = runpy.run_path(str(Path(__file__).parent / "schemas" / "from_records.py"))["schema"]()
    golden(f"../../mhc_diag/schema/{NAME}", made)


def test_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", SETS)
def test_what_is_saved_is_described_in_full(handmade, name):
    reports = handmade["REPORTS"][name]
    CLOSED.validate(json.loads(render(reports)))
    CLOSED.validate(json.loads(render(reports, handmade["VERDICTS"].get(name))))


def test_hostile_and_empty_ones_too(handmade):
    report, verdict = handmade["hostile"]()
    CLOSED.validate(json.loads(render([report], verdict)))
    CLOSED.validate(json.loads(render([], handmade["VERDICTS"]["unreadable"])))
    CLOSED.validate(json.loads(render([], Verdict("nothing to check"))))


@pytest.mark.parametrize("target", ["hc.pt", "mhc.safetensors", "deepseek-v4-tiny"])
def test_reports_of_real_checkpoints(target):
    from mhc_diag.gate import Policy, judge

    samples = Path(__file__).parents[1] / "sample_models"
    stacks = mhc_diag.scan_checkpoint(str(samples / target))
    stacks = stacks if isinstance(stacks, list | tuple) else [stacks]
    reports = [mhc_diag.analyse(stack, metrics=("paper",), triangle=True) for stack in stacks]
    verdict = judge(reports, Policy(max_gain=4, profile="auto"))
    document = json.loads(render(reports, verdict))
    assert document["reports"][0]["triangles"] and document["verdict"]["checks"]
    CLOSED.validate(document)


def test_reports_of_simulations_and_of_live_models():
    import torch

    from sample_models import architectures

    live = mhc_diag.probe(architectures.ManifoldConstrained(2).eval(), torch.arange(6)[None])
    stacks = [live, *mhc_diag.simulate(mhc_diag.Simulation(depth=6, seeds=5))]
    document = json.loads(render([mhc_diag.analyse(stack) for stack in stacks]))
    assert document["reports"][0]["provenance"]["certificates"]
    CLOSED.validate(document)


WAYS = [
    (("version",), 2),
    (("schema",), "other"),
    (("reports",), None),
    (("reports", 0, "name"), 3),
    (("reports", 0, "curves", 0, "value", 0), "many"),
    (("reports", 0, "curves", 0, "scope"), "stack"),
    (("reports", 0, "sites", 0, "depth"), 0.5),
    (("reports", 0, "provenance", "method"), "guessed"),
    (("reports", 0, "provenance", "settings"), {"seed": [1]}),
    (("verdict", "outcome"), "fine"),
    (("verdict", "checks", 0, "limit", "at_most"), "4"),
    (("verdict", "findings", 0, "level"), "fatal"),
    (("verdict", "exit_code"), 4),
]


@pytest.mark.parametrize(("way", "value"), WAYS, ids=[".".join(map(str, way)) for way, _ in WAYS])
def test_what_is_wrong_is_refused(handmade, way, value):
    document = json.loads(render(handmade["REPORTS"]["failing"], handmade["VERDICTS"]["failing"]))
    VALIDATOR.validate(document)
    place = document = copy.deepcopy(document)
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = value
    assert not VALIDATOR.is_valid(document)


def test_what_a_later_version_adds_is_let_through(handmade):
    document = to_document(handmade["REPORTS"]["clean"])
    document["reports"][0]["provenance"]["more"] = 1
    assert VALIDATOR.is_valid(document) and not CLOSED.is_valid(document)
