import pytest

from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.one_variable import fit_LC, fit_LD, fit_LN
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings


@pytest.fixture(scope="module")
def joint(obs_of):
    return fit_parametric(Prepared.of(obs_of(noise=0.007)), FitSettings(bootstrap=50))


@pytest.fixture(scope="module")
def frontier(obs_of):
    return fit_isoflop(Prepared.of(obs_of(noise=0.007)), FitSettings(bootstrap=50))


def test_LC_follows_the_frontier_of_isoflop(frontier):
    fit = fit_LC(frontier)
    for C in frontier.minima.budget:
        assert fit.loss(C=C).value == pytest.approx(frontier.L_opt(C).value, rel=0.01)
    alpha = fit.param("alpha")
    assert alpha.low < alpha.value < alpha.high
    assert len(fit.draws) == 50
    assert "without an irreducible term" in fit.note


def test_limits_are_those_of_the_joint_law(joint):
    N, D = fit_LN(joint), fit_LD(joint)
    assert N.loss(N=1e5).value == pytest.approx(joint.loss(N=1e5, D=1e60).value)
    assert D.loss(D=1e6).value == pytest.approx(joint.loss(N=1e60, D=1e6).value)
    assert N.loss(N=1e5).low < N.loss(N=1e5).value < N.loss(N=1e5).high
    assert (N.method, D.method) == ("kaplan_LN", "kaplan_LD")
    assert "limit of the joint law" in N.note
    assert "limit of the joint law" in D.note


def test_the_wrong_fit_is_refused(joint, frontier):
    with pytest.raises(ValueError, match="is read off an isoflop fit, got parametric"):
        fit_LC(joint)
    with pytest.raises(ValueError, match="kaplan_LN needs a chinchilla fit; power_frontier lacks"):
        fit_LN(frontier)
    with pytest.raises(ValueError, match="law 'power_N_E' has no compute-optimal frontier"):
        fit_LN(joint).N_opt(1e12)
