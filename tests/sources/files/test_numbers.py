"""Every pattern of every narrow dtype, against torch's own widening."""

import numpy as np
import pytest
import torch

from mhc_diag.sources.files.numbers import EIGHT_BITS, WIDTHS, widened

NARROW = [*EIGHT_BITS, "bfloat16", "float16"]


@pytest.mark.parametrize("dtype", NARROW)
def test_every_pattern_means_what_torch_says(dtype: str) -> None:
    patterns = np.arange(1 << 8 * WIDTHS[dtype], dtype=np.uint8 if WIDTHS[dtype] == 1 else np.uint16)
    expected = torch.from_numpy(patterns.view(np.uint8).copy()).view(getattr(torch, dtype)).float().numpy()
    found = widened(patterns.tobytes(), dtype)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[number], np.signbit(expected)[number])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_numbers_stay_as_they_are(dtype: str) -> None:
    numbers = np.array([0.1, -0.0, np.nan, np.inf, 5e-324, 1e-45], dtype)
    found = widened(numbers.astype(f"<{numbers.dtype.str[1:]}").tobytes(), dtype)
    assert found.dtype == numbers.dtype and found.tobytes() == numbers.tobytes()
