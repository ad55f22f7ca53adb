"""Forms of mixing and injecting: the probe finds what the model says that it applies, or says why not."""

import injections  # noqa: F401  (each of the files of cases fills CASES)
import layouts  # noqa: F401
import mixings  # noqa: F401
import pytest
import refusals  # noqa: F401
import torch
import wholes  # noqa: F401
from case import CASES, Case, Model

from mhc_diag.errors import NothingToCheck
from mhc_diag.sources.probe import probe

MEASURED = [c for c in CASES if not c.refused]
REFUSED = [c for c in CASES if c.refused]


def given(case: Case) -> tuple[Model, torch.Tensor]:
    return Model(case), torch.randn(case.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", MEASURED, ids=lambda c: c.name)
def test_measures_what_is_applied(case: Case) -> None:
    model, x = given(case)
    with torch.no_grad():
        model(x)
    truth = torch.stack(model.truth)

    stack = probe(model, x)

    assert stack.matrices.shape == truth.shape
    assert torch.allclose(stack.matrices.float(), truth, atol=1e-5, rtol=1e-5)
    assert max(stack.provenance.certificates or [1.0]) <= 1e-6 * float(truth.abs().max().clamp(min=1))
    reasons = [s.reason for s in stack.provenance.skipped]
    assert len(reasons) == len(case.skipped), reasons
    assert all(r.startswith(e) for r, e in zip(reasons, case.skipped, strict=True)), reasons


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
def test_says_why_nothing_was_measured(case: Case) -> None:
    with pytest.raises(NothingToCheck) as caught:
        probe(*given(case))
    assert any(case.refused in line for line in caught.value.looked_at), caught.value.looked_at
