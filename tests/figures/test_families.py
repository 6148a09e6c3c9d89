"""What the figure of families says, read back from its artists."""

import pytest
from legible import drawn

from scaling.figures.families import families_figure
from scaling.figures.paper import LABELS
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.tables.observations import Convention, observations


@pytest.fixture(scope="module")
def families(grid):
    """Three tables around different optima."""
    tables = {
        "GPT": grid(noise=0.01, sizes=6),
        "BERT": grid(noise=0.01, sizes=6, seed=1, drift=0.8),
        "T5": grid(noise=0.01, sizes=6, seed=2, width=5.0),
    }
    own = Convention("total", "counted")
    fits = {
        name: fit_isoflop(Prepared.of(observations(table, own)[0], own), FitSettings(bootstrap=20))
        for name, table in tables.items()
    }
    return tables, fits


@pytest.fixture(scope="module")
def fig(families):
    return drawn(families_figure(*families))


def test_families_stand_side_by_side_without_a_common_loss(fig):
    above, below = fig.axes[:3], fig.axes[3:]
    assert [ax.get_title(loc="left") for ax in above] == ["GPT", "BERT", "T5"]
    assert len({ax.get_ylim() for ax in above}) == 3
    assert all(ax.get_ylabel() == LABELS["L"] for ax in above)
    assert all(ax.get_ylabel().startswith("Parameters") for ax in below)
    assert "losses of different objectives cannot be compared" in fig.get_supxlabel()
    assert Convention("total", "counted").describe() in " ".join(fig.get_supxlabel().split())


def test_a_family_without_a_fit_shows_its_runs_alone(families):
    tables, fits = families
    fig = families_figure(tables, {name: fits[name] for name in ("GPT", "BERT")})
    above, below = fig.axes[:3], fig.axes[3:]
    assert [ax.axison for ax in below] == [True, True, False]
    assert above[2].collections or above[2].lines
