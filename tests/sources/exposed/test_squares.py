"""Which matrix of a tensor belongs to which token."""

import pytest
import torch

from mhc_diag.sources.exposed.squares import Order, Square, orders, picked, rows_of_tokens, square

B, S, N = 2, 3, 4
BY_TOKEN = torch.arange(B * S * N * N, dtype=torch.float32).view(B, S, N, N)


@pytest.mark.parametrize(
    ("order", "shown", "expected"),
    [
        ("tokens", BY_TOKEN, BY_TOKEN),
        ("tokens", BY_TOKEN[None, :, :, None], BY_TOKEN),
        ("tokens", BY_TOKEN.flatten(2), BY_TOKEN),
        ("reversed", BY_TOKEN.transpose(0, 1), BY_TOKEN),
        ("reversed", BY_TOKEN.transpose(0, 1)[:, None], BY_TOKEN),
        ("first", BY_TOKEN[:, 0], BY_TOKEN[:, :1].expand(B, S, N, N)),
        ("last", BY_TOKEN[0], BY_TOKEN[:1].expand(B, S, N, N)),
        ("static", BY_TOKEN[0, 0], BY_TOKEN[:1, :1].expand(B, S, N, N)),
    ],
)
def test_rows_of_tokens(order: Order, shown: torch.Tensor, expected: torch.Tensor) -> None:
    form = square(shown, N)
    assert form is not None and order in [*orders(form, (B, S))]
    tokens = torch.tensor([0, 1, 3, 4])
    rows = picked(shown, form, rows_of_tokens(form, order, tokens, B * S))
    rows = rows.expand(4, N, N) if order == "static" else rows
    assert torch.equal(rows, expected.flatten(0, 1)[tokens])


def test_what_is_no_matrix() -> None:
    assert square(torch.ones(2, 3, 4, 4), 3) is None
    assert square(torch.ones(2, 17, 17)) is None
    assert square(torch.ones(2, 16)) is None  # a trailing n*n counts where n is known
    assert square(torch.ones(2, 4, 4, dtype=torch.int64)) is None
    assert square(torch.ones(0, 4, 4)) is None
    assert square(torch.tensor(1.0)) is None
    assert [*orders(Square((7,), N, False), (B, S))] == []
