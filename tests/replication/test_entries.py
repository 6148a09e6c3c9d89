import pooch
import pytest

from scaling.pages.replication import replication_page
from scaling.replication.entries import ENTRIES, chosen_entries, replicate
from scaling.replication.formulas import FORMULAS
from scaling.tables.observations import RunsWarning
from scaling.tables.published import PUBLISHED


def test_entries_are_named_or_refused():
    assert chosen_entries(None) == ENTRIES
    assert set(ENTRIES) == {*PUBLISHED, *FORMULAS}
    assert chosen_entries(["kaplan2020", "epoch2024"]) == ("epoch2024", "kaplan2020")
    with pytest.raises(ValueError, match=r"\['pile'\]: use some of \['epoch2024'"):
        chosen_entries(["pile"])
    with pytest.raises(ValueError, match=r"only=\[\] must name entries"):
        chosen_entries([])


def test_no_interval_no_comparison():
    with pytest.raises(ValueError, match="bootstrap=0 gives no intervals"):
        replicate("cerebras2023", bootstrap=0)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: refuse)
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)


def test_a_table_that_cannot_be_had_is_a_line(offline):
    found = replicate("kyo2024", bootstrap=10)
    assert found.checks.verdict.tolist() == ["unavailable"] and found.checks.ok.all()
    assert "no route to host" in found.unavailable
    assert found.describe().startswith("kyo2024: unavailable, https://")
    page = replication_page([found], "cmd", 10, 0)
    assert "**kyo2024**: unavailable: https://" in page


def test_the_typed_table_is_checked_by_data_and_by_formula(offline):
    with pytest.warns(RunsWarning, match="D follows N in all 7 runs"):
        found = replicate("cerebras2023", bootstrap=50)
    assert found.rows == 7 and found.checks.ok.all()
    assert {"their law", "parametric, power_C_E", "isoflop"} <= set(found.checks.method)
    assert set(found.audit.law) == {"power_C", "power_C_E"}
    assert (found.audit.entry == "cerebras2023").all()


@pytest.mark.long
def test_the_240_points_are_reproduced(published):
    published(PUBLISHED["epoch2024"].file)
    found = replicate("epoch2024", bootstrap=200)
    stated = found.checks[found.checks.source.str.startswith("reference")]
    is_std = stated.quantity.str.startswith("standard error")  # of few resamples, hence rough
    assert set(stated.verdict[~is_std]) == {"reproduced"}
    ratio = found.checks[(found.checks.method == "parametric") & (found.checks.published == 20)]
    assert ratio.ours.item() == pytest.approx(17.92, abs=0.005)
    assert ratio.low.item() < 20 < ratio.high.item()
