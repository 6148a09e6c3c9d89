import numpy as np
import pytest

from scaling.fitting.conventions import convention_table, fit_conventions
from scaling.fitting.settings import FitSettings
from scaling.tables.runs import load_runs


def table_of(runs, C, settings):
    return convention_table(fit_conventions(runs, C, settings))


def with_parts(runs, head=0):
    """Add a token table of 1,024 tokens and heads as wide as sqrt(N / 12)."""
    table = (1024 * np.sqrt(runs.total_params / 12)).round().clip(upper=0.8 * runs.total_params)
    return load_runs(
        runs.assign(
            non_embedding_params=runs.total_params - table,
            block_params=runs.total_params - table * (1 + head),
            norm_params=0,
        )
    )


def test_every_n_is_fitted_by_every_method(grid):
    table = table_of(with_parts(grid(noise=0.004), head=0.2), "counted", FitSettings(bootstrap=30))
    assert table.N.unique().tolist() == ["total", "non_embedding", "blocks"]
    assert table.method.tolist() == ["isoflop", "isoflop_power", "parametric"] * 3
    assert (table.C == 1.6e12).all()
    total = table[table.N == "total"]
    assert (total.tokens_per_param_low < total.tokens_per_param).all()
    assert (total.tokens_per_param < total.tokens_per_param_high).all()


def test_leaving_out_the_table_raises_ratio_and_exponent(grid):
    table = table_of(with_parts(grid()), "counted", FitSettings(bootstrap=0))
    isoflop = table[table.method == "isoflop"].set_index("N")
    assert [*isoflop.index] == ["total", "non_embedding"]  # blocks are the same here
    assert isoflop.tokens_per_param["non_embedding"] > 1.3 * isoflop.tokens_per_param["total"]
    assert isoflop.N_exponent["non_embedding"] > isoflop.N_exponent["total"] + 0.1


def test_the_total_is_what_the_methods_say_alone(grid, optimum_of):
    table = table_of(grid(), "counted", FitSettings(bootstrap=0))
    exact = table[table.method == "isoflop_power"]
    N, D = optimum_of(1.6e12)
    assert exact.N_opt.item() == pytest.approx(N, rel=0.01)
    assert exact.tokens_per_param.item() == pytest.approx(D / N, rel=0.02)


def test_a_refused_fit_is_a_row_with_its_reason(grid):
    runs = grid()
    one = load_runs(runs[runs.flops_budget == runs.flops_budget.max()])
    refused = table_of(one, "counted", FitSettings(bootstrap=0)).set_index("method").loc["isoflop"]
    assert refused.status == "refused"
    assert "needs 2 budgets" in refused.reason
    assert np.isnan(refused.tokens_per_param)
