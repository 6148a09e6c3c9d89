"""Units that cannot be are named, with the mapping that mends them; the planner refuses them."""

from dataclasses import replace

import numpy as np
import pytest
from made_tables import answer, made, true_optimum

from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import prepare
from scaling.fitting.settings import FitSettings
from scaling.planning.sources import get_source
from scaling.tables.observations import Convention, RunsWarning, observations
from scaling.tables.oddities import find_oddities
from scaling.tables.runs import load_runs
from scaling.tables.units import FACTORS, name_factor

TABLE = made()


def doubts(table, **reading):
    runs = load_runs(table, **reading)
    return find_oddities(observations(runs)[0], runs)


def scaled(**factors):
    return TABLE.assign(**{name: TABLE[name] * factor for name, factor in factors.items()})


@pytest.mark.parametrize("factor", [1.0, 1.03, 0.8, 2.2, 4.0, 0.25])
def test_ways_of_counting_flops_are_no_oddity(factor):
    assert not doubts(scaled(C=factor))


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ({"C": 1e-9}, r"1e-09: C is in GFLOPs\? If so, say columns=\{C\*1e9: C\}"),
        ({"C": 1.1e-12}, r"TFLOPs.*C\*1e12"),
        ({"C": 1 / 8.64e19}, r"petaflop/s-days.*C\*8.64e19"),
        ({"C": 1 / 3}, r"0.333 in every run: the forward pass only, 2ND\?.*C\*3"),
        ({"C": 0.51}, r"multiply-adds.*C\*2"),
        ({"C": 1 / 16}, r"0.0625: is C in FLOPs.*as experts\?"),
        ({"C": 7.0}, r"is 7: is C in FLOPs, N in parameters and D in tokens\?"),
        ({"N": 1e-6, "D": 1e-6}, r"1e\+12: N and D are in millions"),
        ({"N": 1e-6, "D": 1e-9}, r"1e\+15: N is in millions and D in billions"),
        ({"N": 1e-9}, r"1e\+09: N or D is in billions"),
    ],
)
def test_the_likely_unit_is_named(factors, told):
    table = scaled(**factors)
    [odd] = doubts(table)
    assert odd.is_grave
    with pytest.warns(RunsWarning, match=told):
        prepare(table)
    with pytest.raises(ValueError, match=rf"DataFrame cannot be planned from: .*{told}"):
        prepare(table, strict=True)


def test_the_advice_mends_it():
    expected = pytest.approx(true_optimum(6.4e19), rel=1e-3)
    table = scaled(N=1e-6, D=1e-9, C=1 / 8.64e19)
    columns = {"N*1e6": "N", "D*1e9": "D", "C*8.64e19": "C"}
    assert answer(table, columns=columns) == expected


def test_a_factor_is_named_for_every_unit():
    for factor, (meaning, mapping) in FACTORS.items():
        assert name_factor(1.1 * factor).startswith(f"{meaning}? If so, say columns={{{mapping}}}")


@pytest.mark.parametrize(
    ("C", "told"),
    [
        (TABLE.D / TABLE.N / 20, "is no multiple of 6ND; is it multiples of tokens per parameter"),
        (6.0 * TABLE.N, "FLOPs per token"),
        (1.0 * TABLE.D, "is it tokens"),
        (np.geomspace(1, 1e9, len(TABLE)), "what is it"),
    ],
)
def test_a_c_that_is_no_multiple_of_6nd_is_told(C, told):
    [odd] = [odd for odd in doubts(TABLE.assign(C=C)) if "6ND" in odd.text]
    assert told in odd.text and odd.is_grave


def test_one_row_in_another_unit_is_named():
    mixed = TABLE.assign(C=TABLE.C.where(TABLE.index != 3, TABLE.C / 1e9))
    assert any("1e-09 in run_id ['row0004'], unlike" in odd.text for odd in doubts(mixed))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (scaled(N=1e-6, D=1e-6).drop(columns="C"), r"D is at most \S+ tokens.*steps.*D\*1e6: D"),
        (scaled(N=1e-9).drop(columns="C"), "N is at most .* parameters"),
        (scaled(N=9, D=1e-4).drop(columns="C"), "median of D/N is .*is D in steps"),
        (scaled(loss=1.0).assign(loss=np.exp(TABLE.loss + 0.5)), "12.48.*a perplexity"),
        (TABLE.assign(loss=TABLE.loss / np.log(2), vocab_size=40), r"ln\(vocab_size\).*in bits"),
    ],
)
def test_sizes_and_losses_tell_by_themselves(table, told):
    with pytest.raises(ValueError, match=told):
        prepare(table, strict=True)


def test_low_losses_are_told_but_planned_from():
    [odd] = doubts(TABLE.assign(loss=TABLE.loss / 4))
    assert "bits/byte" in odd.text and not odd.is_grave


def test_the_planner_refuses_tables_and_fits_alike(tmp_path):
    table = scaled(C=1e-9)
    table.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(ValueError, match=r"runs.csv cannot be planned from: .*GFLOPs"):
        get_source(tmp_path / "runs.csv")
    with pytest.warns(RunsWarning, match="GFLOPs"):
        fit = fit_parametric(prepare(table), FitSettings(bootstrap=0))
    with pytest.raises(ValueError, match=r"cannot plan: its C / \(6ND\) is 1e-09: C is in GFLOPs"):
        get_source(fit)
    dear = replace(fit, compute=replace(fit.compute, kappa=fit.compute.kappa * 2e10))
    with pytest.raises(ValueError, match=r"C / \(6ND\) is 20: is C in FLOPs"):
        get_source(dear)
    assert get_source(replace(dear, convention=Convention("total", "counted"))).fit.n_runs == 15


def test_sizes_that_the_table_counts_are_in_no_doubt():
    tiny = scaled(N=1e-6, D=1e-6).drop(columns="C")
    assert any("if these are" in odd.text for odd in doubts(tiny))
    ours = tiny.rename(columns={"N": "total_params", "D": "tokens"})
    assert not any("if these are" in odd.text for odd in doubts(ours))


def test_attention_of_tiny_models_is_no_oddity():
    counted = TABLE.drop(columns="N").assign(n_layers=2, width=8, seq_len=512, total_params=2000)
    counted["flops"] = 6.0 * (counted.total_params + 2 * 2 * 8 * 512) * TABLE.D
    told = doubts(counted.drop(columns="C"))
    assert not any("6ND" in odd.text or odd.is_grave for odd in told if "(N, D)" not in odd.text)
    wrong = doubts(counted.drop(columns="C").assign(flops=counted.flops / 1e9))
    assert any("GFLOPs" in odd.text and odd.is_grave for odd in wrong)
