"""Published implementations that cannot be installed here, written small with their layout and direction."""

import pytest
import torch
from published_models import VOCABULARY, Direct, Functional, Fused, Model, SequenceFirst, Static

from mhc_diag.sources.probe import probe

TOKENS = torch.randint(0, VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(0))
MODELS = {
    "functions on the block": Functional,
    "reads of the next branch": lambda: Functional(late=True),
    "direct": Direct,
    "fused, tokens flattened": Fused,
    "sequence first, direct": lambda: SequenceFirst(transposed=False),
    "sequence first, transposed": lambda: SequenceFirst(transposed=True),
    "static": Static,
    "computed and not applied": lambda: Static(mixed=False),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_measures_what_is_applied(name: str, dtype: torch.dtype) -> None:
    model: Model = MODELS[name]().to(dtype).eval()
    model.coefficients.float()  # as all of them keep it
    with torch.no_grad():
        model(TOKENS)
    applied = torch.stack(model.applied)
    stack = probe(model, TOKENS)
    assert stack.provenance.token_shape == ((10,) if name.startswith("fused") else (2, 5))
    assert stack.matrices.shape == applied.shape
    assert torch.allclose(stack.matrices, applied, atol=1e-5)  # in bfloat16 too: no entry is rounded
    if name != "computed and not applied":
        assert (applied - applied.mT).abs().max() > 0.1  # so that a mix-up of the two would show
    assert max(stack.provenance.certificates or [1.0]) < 1e-5
    assert not stack.provenance.skipped
