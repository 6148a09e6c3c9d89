import pytest

from scaling.hardware.devices import get_device
from scaling.pages.text import markdown
from scaling.pages.upkeep import upkeep_section
from scaling.planning.upkeep import (
    HOUR,
    break_even,
    check_energy,
    interval_between,
    keep_up,
    read_grids,
    read_terms,
    share_lost,
)

H100, NONE = get_device("H100"), float("nan")


def test_published_energy_and_emissions_follow_from_their_own_inputs():
    table = check_energy().set_index("run")
    known = table.dropna()
    ours = known.ours_megawatt_hours.to_numpy()
    assert ours == pytest.approx(known.megawatt_hours.to_numpy(), rel=0.002)
    assert table.ours_tonnes.to_numpy() == pytest.approx(table.tonnes.to_numpy(), rel=0.025)
    by_default = table.default_megawatt_hours["GPT-3 175B"]  # rated 300 W where 330 were drawn
    assert by_default == pytest.approx(1287 * 300 / 330, rel=0.002)


def test_llama_3_lost_less_than_a_tenth():
    """Over 90 % effective time, 419 unexpected interruptions: arXiv:2407.21783, section 3.3.4."""
    hours = 54 * 24 * 16_384
    found = keep_up(405e9, H100, 16_384, hours)
    assert 0.05 < found.lost < 0.1
    assert found.interruptions * (1 - found.lost) == pytest.approx(419)
    assert found.checkpoint_bytes == 14 * 405e9
    assert found.days == pytest.approx(54 / (1 - found.lost))


def test_the_best_interval_is_youngs():
    best = interval_between(20.0, 10_000.0)
    assert best == pytest.approx((2 * 20 * 10_000) ** 0.5)

    def lost(interval):
        return 20 / interval + interval / 2 / 10_000

    assert share_lost(20.0, 10_000.0, 0.0) == pytest.approx(lost(best))
    assert lost(best) < min(lost(0.8 * best), lost(1.25 * best))
    assert share_lost(20.0, 10.0, 600.0) == 1.0


def test_energy_and_regions():
    found = keep_up(70e9, H100, 512, 1e5, terms=read_terms(region="france", pue=1.2))
    paid = 1e5 / (1 - found.lost)
    assert found.energy == pytest.approx(paid * HOUR * 700 * 1.2)
    assert found.energy_high == pytest.approx(paid * HOUR * 1275 * 1.2)
    assert [*found.emissions.region] == ["France"]
    assert found.emissions.tonnes.iloc[0] == pytest.approx(paid * 0.7 * 1.2 * 56 / 1e6)
    grids = read_grids()
    assert grids.region.is_unique and grids.year.between(2020, 2030).all() and all(grids.source)


def test_buying_pays_after_so_many_hours():
    terms = read_terms(purchase_price=30_000, electricity_price=0.1, pue=1.0)
    assert break_even(H100, terms, 2.0) == pytest.approx(30_000 / (2 - 0.1275))
    assert break_even(H100, terms, 0.1) == float("inf")
    with pytest.raises(ValueError, match="purchase_price must be given"):
        break_even(H100, read_terms(), 2.0)


def test_the_page_says_what_is_assumed():
    page = markdown([upkeep_section(keep_up(70e9, H100, 512, 1e5), NONE)])
    assert "Llama 3 405B on 16,384 H100, 2024" in page and "1,275 W" in page.replace(
        "1275", "1,275"
    )
    assert "say price_per_hour and purchase_price" in page and "| France | 56 | 2023 |" in page
    bought = keep_up(70e9, H100, 512, 1e5, terms=read_terms(purchase_price=30_000))
    assert "is cheaper than one rented at 2" in markdown([upkeep_section(bought, 2.0)])
    unknown = keep_up(70e9, get_device("TPUv5e"), 512, 1e5)
    assert "the power of one TPUv5e is not known" in markdown([upkeep_section(unknown, NONE)])
    endless = markdown([upkeep_section(keep_up(70e9, H100, 10**9, 1e5), NONE)])
    assert "fail faster than they restart" in endless


@pytest.mark.parametrize(
    "given, message",
    [
        ({"region": "Atlantis"}, "region 'Atlantis' is unknown"),
        ({"pue": 0.9}, "pue=0.9 must be at least 1"),
        ({"failures": -1.0}, "failures must be a positive number"),
        ({"purchase_price": 0.0}, "purchase_price must be a positive number"),
    ],
)
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        read_terms(**given)
