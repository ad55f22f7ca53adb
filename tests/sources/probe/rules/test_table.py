"""The table of operations: complete, consistent, and in the documentation word for word."""

from pathlib import Path

import pytest
import torch

from mhc_diag.sources.probe.rules.table import RULES, TABLE, as_markdown

DOCS = Path(__file__).parents[4] / "docs" / "probe.md"


@pytest.mark.parametrize("name", RULES)
def test_every_operation_is_one_of_torch(name: str) -> None:
    assert hasattr(torch.ops.aten, name) or hasattr(torch.ops.aten, name + "_")


def test_no_operation_is_in_two_families() -> None:
    assert sum(len(family.operations) for family in TABLE) == len(RULES)


def test_every_family_gives_a_reason() -> None:
    for family in TABLE:
        assert family.name and family.operations
        assert len(family.reason) > 20 and family.reason.endswith("."), family.name
    assert len({family.reason for family in TABLE}) == len(TABLE)


def test_the_documentation_shows_the_table() -> None:
    assert as_markdown() in DOCS.read_text()
