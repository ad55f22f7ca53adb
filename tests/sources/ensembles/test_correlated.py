"""Sites that share their logits: the law, and the column sums that the paper's Fig. 8 shows."""

import numpy as np
import pytest

from mhc_diag.sources.draws import Draw
from mhc_diag.sources.ensembles import correlated
from mhc_diag.sources.simulate import Simulation, cases


def test_all_sites_of_a_stack_share_a_matrix_and_add_their_own():
    drawn = correlated.logits(Draw(0, range(300), depth=200, streams=4, scale=4.0, noise=0.3))
    shared = drawn.mean(axis=0)
    assert abs(shared.std() / 4 - 1) < 0.05
    assert abs(np.std(drawn - shared) / (0.3 * np.sqrt(199 / 200)) - 1) < 0.005
    assert abs(np.corrcoef(shared[0].ravel(), shared[1].ravel())[0, 1]) < 0.8
    still = correlated.logits(Draw(0, range(3), depth=9, streams=4, scale=4.0, noise=0.0))
    np.testing.assert_array_equal(still, np.broadcast_to(still[:1], still.shape))
    deeper = correlated.logits(Draw(0, range(3), depth=12, streams=4, scale=4.0, noise=0.3))
    np.testing.assert_array_equal(
        deeper[:9], correlated.logits(Draw(0, range(3), depth=9, streams=4, scale=4.0, noise=0.3))
    )


@pytest.mark.parametrize(
    ("settings", "largest", "smallest"),
    [
        ({"ensemble": "correlated"}, (1.60, 0.06), (0.43, 0.03)),
        ({"ensemble": "gaussian", "scale": 4.0}, (1.05, 0.02), (0.94, 0.02)),
    ],
)
def test_column_sums_of_thirty_sites(settings, largest, smallest):
    """4,000 stacks, 20 iterations, rows last; products by plain numpy."""
    (case,) = cases(Simulation(depth=30, seeds=4000, manifolds=("sinkhorn",), **settings))
    sums = []
    for part in case.parts():
        product = np.eye(4)
        for site in part.matrices:
            product = site @ product
        np.testing.assert_allclose(product.sum(axis=-1), 1, rtol=1e-12)
        sums.append(product.sum(axis=-2))
    columns = np.concatenate(sums)
    assert columns.shape == (4000, 4)
    assert abs(np.quantile(columns.max(axis=-1), 0.99) - largest[0]) < largest[1]
    assert abs(np.quantile(columns.min(axis=-1), 0.01) - smallest[0]) < smallest[1]
