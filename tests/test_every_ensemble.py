"""The contract of an ensemble, on every file of mhc_diag/sources/ensembles."""

import math

import numpy as np
import pytest

from mhc_diag import plugins
from mhc_diag.sources.draws import Draw
from mhc_diag.sources.measured import Measured

ENSEMBLES = plugins.load_all("mhc_diag.sources.ensembles")
SCALED = [n for n, m in ENSEMBLES.items() if m.SCALE is not None or hasattr(m, "default_scale")]
WITH_THEORY = [n for n, m in ENSEMBLES.items() if hasattr(m, "exponent")]
every_ensemble = pytest.mark.parametrize("name", ENSEMBLES)


def draw(name, stacks, *, depth=5, streams=4, seed=0, **settings):
    """Stacks to draw, with a measured model of three sites where one is needed."""
    if getattr(ENSEMBLES[name], "MEASURED", False):
        sample = np.random.default_rng(1).standard_normal((3, 8, streams, streams))
        settings["measured"] = Measured(sample, sample + 1, "by hand")
    return Draw(seed, stacks, depth, streams, **settings)


def test_the_folder_was_found():
    assert set(ENSEMBLES) >= {"near_identity", "gaussian", "paper", "correlated", "from_report"}


@every_ensemble
def test_describes_itself(name):
    module = ENSEMBLES[name]
    assert module.TITLE and "\nFormula: " in module.__doc__
    for size in (module.SCALE, module.NOISE):
        assert size is None or 0 <= size < math.inf
    assert not (module.SCALE is not None and hasattr(module, "default_scale"))


@every_ensemble
@pytest.mark.parametrize(("depth", "streams"), [(1, 2), (7, 3), (2, 16)])
def test_gives_a_matrix_for_every_site_and_stack(name, depth, streams):
    for function in ("logits", "matrices"):
        if hasattr(ENSEMBLES[name], function):
            drawn = getattr(ENSEMBLES[name], function)(draw(name, range(4), depth=depth, streams=streams))
            assert drawn.shape == (depth, 4, streams, streams) and drawn.dtype == np.float64
            assert np.isfinite(drawn).all()


@every_ensemble
def test_a_stack_depends_on_its_number_and_the_seed_alone(name):
    ensemble = ENSEMBLES[name]
    together = ensemble.logits(draw(name, range(70), noise=0.3))
    apart = [ensemble.logits(draw(name, range(a, b), noise=0.3)) for a, b in ((0, 1), (1, 40), (40, 70))]
    np.testing.assert_array_equal(np.concatenate(apart, axis=1), together)
    assert not (together[:, 0] == together[:, 1]).all()
    assert not (together == ensemble.logits(draw(name, range(70), noise=0.3, seed=1))).all()


@pytest.mark.parametrize("name", SCALED)
def test_the_scale_multiplies_what_is_drawn(name):
    """Nothing is random at scale 0, and what is beyond that is proportional to the scale."""
    still, one, many = (ENSEMBLES[name].logits(draw(name, range(6), scale=s)) for s in (0.0, 1.0, 1e3))
    np.testing.assert_array_equal(still, np.broadcast_to(still[:, :1], still.shape))
    np.testing.assert_allclose(many - still, 1e3 * (one - still), rtol=1e-9, atol=1e-9)
    assert (one != still).any()


@pytest.mark.parametrize("name", WITH_THEORY)
def test_growth_is_that_of_theory(name):
    """Of vectors through plain products, so that no code of the analysis is needed."""
    module = ENSEMBLES[name]
    scale = module.SCALE if module.SCALE is not None else module.default_scale(4)
    matrices = module.logits(draw(name, range(200), depth=200, scale=scale))
    vectors, steps = np.ones((200, 4)), []
    for site in matrices:
        vectors = np.einsum("kij,kj->ki", site, vectors)
        norms = np.linalg.norm(vectors, axis=-1)
        vectors /= norms[:, None]
        steps.append(np.log(norms))
    slopes = np.mean(steps[50:], axis=0)
    error = slopes.std(ddof=1) / math.sqrt(len(slopes))
    assert abs(slopes.mean() - module.exponent(4, scale)) < 4.5 * error
    assert module.exponent(4, 0.0) in (0, None)
