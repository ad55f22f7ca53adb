"""Stacks drawn from a measured model: which site, which token, and what projections act on."""

import json

import numpy as np
import pytest

from mhc_diag import schema
from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Provenance, Report, Site
from mhc_diag.sources.draws import Draw
from mhc_diag.sources.ensembles import from_report
from mhc_diag.sources.measured import Measured, read
from mhc_diag.sources.simulate import Simulation, cases, simulate


def stochastic(*shape):
    """Doubly stochastic 3 x 3 matrices to rounding: mixes of the six permutations, some entries exactly 0."""
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.ones(6), size=shape) * (generator.uniform(size=(*shape, 6)) < 0.6)
    weights[..., 0] += 1 - weights.sum(axis=-1)
    orders = [p for p in np.ndindex(3, 3, 3) if len(set(p)) == 3]
    return np.einsum("...p,pij->...ij", weights, np.stack([np.eye(3)[list(p)] for p in orders]))


def signed(*shape):
    return np.random.default_rng(1).standard_normal((*shape, 3, 3))


@pytest.fixture
def saved(tmp_path):
    """Save reports with these samples, one each, and give the file."""

    def save(*samples):
        reports = []
        for k, (matrices, logits) in enumerate(samples):
            sites = tuple(Site(f"layers.{i}", "", i) for i in range(4))
            where = Provenance("model", "observed", "by hand", "observed", "token")
            reports.append(
                Report(f"model {k}", 3, 9, sites, (), (), where, sample=matrices, sample_logits=logits)
            )
        path = tmp_path / "report.json"
        path.write_text(json.dumps(schema.to_document(reports)))
        return path

    return save


def settings(path, **others):
    return Simulation(
        **{"streams": 3, "depth": 10, "seeds": 50, "ensemble": "from-report", "report": path, **others}
    )


def test_a_site_takes_the_measured_site_at_its_place_and_any_of_its_tokens():
    sample = np.arange(4 * 8.0).reshape(4, 8, 1, 1) * np.ones((3, 3))
    measured = Measured(sample, sample + 100, "")
    for depth, expected in ((10, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]), (4, [0, 1, 2, 3]), (2, [0, 2]), (1, [0])):
        draw = Draw(0, range(2000), depth, 3, measured=measured)
        taken = from_report.matrices(draw)[..., 0, 0]
        np.testing.assert_array_equal(taken // 8, np.broadcast_to(np.array(expected)[:, None], (depth, 2000)))
        counts = np.stack([np.bincount(row.astype(int), minlength=8) for row in taken % 8])
        assert (np.abs(counts - 250) < 5 * np.sqrt(250)).all(), "all tokens are equally likely"
        np.testing.assert_array_equal(from_report.logits(draw)[..., 0, 0], taken + 100)
    pairs = np.corrcoef(from_report.matrices(Draw(0, range(2000), 2, 3, measured=measured))[..., 0, 0])
    assert abs(pairs[0, 1]) < 0.1, "sites are independent"


def test_unconstrained_mixing_applies_what_was_measured(saved):
    sample = signed(4, 5)
    made = {s.name: s for s in simulate(settings(saved((sample, None))))}
    flat = sample.reshape(4, 5, 9)
    for site, stack in np.ndindex(10, 50):
        drawn = made["HC"].matrices[site, stack].ravel()
        assert (flat[site * 4 // 10] == drawn).all(axis=-1).sum() == 1
    assert made["HC"].provenance.how == "unconstrained: M as measured" and not made["HC"].provenance.notes
    assert made["HC"].provenance.settings["measured"].endswith("report.json")
    assert "scale" not in made["HC"].provenance.settings


def test_doubly_stochastic_matrices_are_their_own_projection(saved):
    """Zeros included, which have no logarithm."""
    sample = stochastic(4, 5)
    assert (sample == 0).any()
    made = {s.name: s for s in simulate(settings(saved((sample, None))))}
    np.testing.assert_allclose(made["mHC"].matrices, made["HC"].matrices, atol=1e-14)
    (note,) = made["mHC"].provenance.notes
    assert "ln M" in note


def test_measured_logits_are_what_is_projected(saved):
    matrices, logits = stochastic(4, 5), signed(4, 5)
    *_, mhc = simulate(settings(saved((matrices, logits))))
    assert all((logits.reshape(20, 9) == drawn).all(axis=-1).any() for drawn in mhc.logits.reshape(-1, 9))
    (note,) = mhc.provenance.notes
    assert "measured logits" in note
    expected = np.exp(mhc.logits)
    for _ in range(20):
        expected /= expected.sum(axis=-2, keepdims=True)
        expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(mhc.matrices, expected, rtol=1e-12)


def test_matrices_with_negative_entries_are_projected_as_they_are(saved):
    *_, hc, mhc = simulate(settings(saved((signed(4, 5), None))))
    np.testing.assert_array_equal(mhc.logits, hc.matrices)
    (note,) = mhc.provenance.notes
    assert "M itself" in note


def test_single_precision_samples_and_the_first_report_that_has_one(saved):
    sample = signed(4, 2).astype(np.float32)
    measured = read(saved((None, None), (sample, None), (signed(4, 2), None)))
    assert measured.matrices.dtype == np.float64
    np.testing.assert_array_equal(measured.matrices, sample)


def refusal(path, **others):
    with pytest.raises(MhcDiagError) as caught:
        cases(settings(path, **others))
    assert caught.value.hint
    return caught.value


def test_the_number_of_streams_has_to_be_that_of_the_report(saved):
    error = refusal(saved((signed(4, 5), None)), streams=4)
    assert error.message.startswith("--streams is 4, but ") and error.message.endswith("measured with 3")
    assert error.hint == "add --streams 3"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"{}", "is not a saved mhc-diag report"),
        (b"[1, 2]", "is not a saved mhc-diag report"),
    ],
)
def test_what_is_no_report(tmp_path, content, said):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    assert said in refusal(path).message and "other.json" in refusal(path).message


def test_reports_without_a_usable_sample(saved, tmp_path):
    assert "holds no sampled matrices" in refusal(saved((None, None))).message
    assert "holds no sampled matrices" in refusal(saved()).message
    assert "shape (4, 5, 3)" in refusal(saved((signed(4, 5)[..., 0], None))).message
    assert "shape (4, 5, 3, 2)" in refusal(saved((signed(4, 5)[..., :2], None))).message
    assert "shape (0, 5, 3, 3)" in refusal(saved((signed(0, 5), None))).message
    assert "logits of shape (4, 4, 3, 3)" in refusal(saved((signed(4, 5), signed(4, 4)))).message
    assert "No such file" in refusal(tmp_path / "missing.json").message
    assert "directory" in refusal(tmp_path).message
