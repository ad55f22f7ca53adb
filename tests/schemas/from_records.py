"""The JSON schema of saved reports, made of the records that are saved: annotations, and what they say."""

import ast
import collections.abc
import dataclasses
import inspect
import json
import types
import typing

import numpy as np

from mhc_diag import records, verdict

NUMBER = {"$ref": "#/$defs/number"}
NUMBERS = {"type": "array", "items": NUMBER}
PLAIN = {float: NUMBER, int: {"type": "integer"}, bool: {"type": "boolean"}, str: {"type": "string"}}
STORED = {
    "Report": {"sample": {"$ref": "#/$defs/Matrices"}, "sample_logits": {"$ref": "#/$defs/Matrices"}},
    "Curve": {
        "value": NUMBERS,
        "log10": NUMBERS,
        "token": {"type": ["array", "null"], "items": {"type": "integer"}},
    },
    "Triangle": {
        "log10": {
            "description": "Row l holds the composites of sites l to k, for k from l up.",
            "type": "array",
            "items": NUMBERS,
        }
    },
}
"""Fields whose stored form is not that of their type."""
MATRICES = {
    "description": "Matrices of a few tokens, or null where none were kept.",
    "type": ["object", "null"],
    "required": ["dtype", "shape", "base64"],
    "properties": {
        "dtype": {"enum": ["float32", "float64"]},
        "shape": {
            "description": "Sites, tokens, n, n.",
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 4,
            "maxItems": 4,
        },
        "base64": {
            "description": "The numbers, little-endian, the last axis fastest.",
            "type": "string",
            "contentEncoding": "base64",
        },
    },
}


def schema() -> str:
    """The whole schema as text."""
    definitions: dict[str, typing.Any] = {}
    for record in (records.Report, verdict.Verdict):
        _define(record, definitions)
    report, judged = definitions["Report"], definitions["Verdict"]
    report["properties"]["metrics"] = report["properties"].pop("cards")
    report["required"] = ["metrics" if name == "cards" else name for name in report["required"]]
    judged["properties"]["exit_code"] = {"enum": sorted(verdict.EXIT_CODES.values())}
    judged["required"] += ["checks", "findings", "doubts", "profiles", "sources", "enforced", "exit_code"]
    definitions["number"] = {
        "description": "A number, or the word for one that JSON lacks.",
        "anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}],
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mhc-diag:report:1",
        "title": "Saved reports of mhc-diag, version 1",
        "description": "What --report json=FILE writes. Later versions of mhc-diag may add properties; "
        "those that are described keep their meaning.",
        "type": "object",
        "required": ["schema", "version", "reports"],
        "properties": {
            "schema": {"const": "mhc-diag/report"},
            "version": {"const": 1},
            "verdict": {"$ref": "#/$defs/Verdict"},
            "reports": {"type": "array", "items": {"$ref": "#/$defs/Report"}},
        },
        "$defs": {**definitions, "Matrices": MATRICES},
    }
    return json.dumps(document, indent=2) + "\n"


def _define(record, definitions):
    """The definition of a record, and of all that it holds."""
    if record.__name__ in definitions:
        return
    said = _said(record)
    definition = definitions[record.__name__] = {
        "description": " ".join(inspect.getdoc(record).partition("\n\n")[0].split()),
        "type": "object",
        "required": [
            f.name
            for f in dataclasses.fields(record)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ],
        "properties": {},
    }
    hints = typing.get_type_hints(record, {**vars(records), **vars(verdict), "np": np})
    for field in dataclasses.fields(record):
        stored = STORED.get(record.__name__, {}).get(field.name)
        form = dict(stored or _form(hints[field.name], definitions))
        about = {"description": said[field.name]} if field.name in said else {}
        definition["properties"][field.name] = {**about, **form}


def _said(record):
    """What stands below each field."""
    body = ast.parse(inspect.getsource(record)).body[0].body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _form(hint, definitions):
    """The schema of a type."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        _define(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if kind is typing.Literal:
        return {"enum": list(inner)}
    if kind is tuple:
        return {"type": "array", "items": _form(inner[0], definitions)}
    if kind is collections.abc.Mapping:
        return {"type": "object", "additionalProperties": _form(inner[1], definitions)}
    assert kind in (typing.Union, types.UnionType), hint
    forms = [{"type": "null"} if part is type(None) else _form(part, definitions) for part in inner]
    return {"anyOf": forms}
