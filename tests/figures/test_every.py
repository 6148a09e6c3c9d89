"""What the figures say, read back from their artists."""

import re
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from legible import drawn
from matplotlib.colors import to_rgba

from scaling.figures import (
    all_figures,
    compute_figure,
    contour_figure,
    isoflop_figure,
    ratio_figure,
    triptych_figure,
)
from scaling.figures.paper import LABELS
from scaling.fitting.report import fit_all, fit_law
from scaling.tables.observations import Convention, RunsWarning
from scaling.tables.runs import load_runs

NAMES = ["compute", "isoflop", "contour", "triptych", "ratio"]
ENDS = "value", "low", "high"


@pytest.fixture(scope="module")
def runs(grid):
    return grid(noise=0.01, sizes=6)


@pytest.fixture(scope="module")
def curves(runs, curves_of):
    return curves_of(runs)


@pytest.fixture(scope="module")
def report(runs, curves):
    return fit_all(runs, curves, bootstrap=20, audit=False)


@pytest.fixture(scope="module")
def everything(runs, curves, report):
    """All figures, and what was skipped; matplotlib's settings are left alone."""
    before = dict(matplotlib.rcParams)
    found = all_figures(runs, curves, report)
    assert dict(matplotlib.rcParams) == before
    return found


@pytest.fixture(scope="module")
def figures(everything):
    return everything[0]


@pytest.fixture(scope="module")
def troubled(grid):
    """One run diverged, one failed, a bowl upside down, a minimum above all sizes."""
    table = grid(noise=0.01, sizes=6).assign(reason="")
    low, high = sorted({*table.flops_budget})[1:3]
    loss = table.loss.where(table.flops_budget != low, 9.6 - table.loss)
    slope = 0.35 * np.log(table.total_params / 8e4)
    loss = loss.where(table.flops_budget != high, loss - slope)
    status = pd.Series("ok", index=table.index)
    status[5], status[20] = "diverged", "failed"
    return load_runs(table.assign(status=status, loss=loss.where(status == "ok")))


@pytest.fixture(scope="module")
def foreign():
    """N, D and loss alone, at no common budget."""
    rng = np.random.default_rng(0)
    N = np.exp(rng.uniform(np.log(4e7), np.log(2e10), 40)).round()
    D = (N * np.exp(rng.uniform(np.log(2), np.log(200), 40))).round()
    loss = 1.69 + 406 * N**-0.34 + 411 * D**-0.28 + 0.005 * rng.standard_normal(40)
    return load_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}))


def legend_labels(fig):
    legends = [*fig.legends, *(ax.get_legend() for ax in fig.axes)]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def line(ax, label):
    [found] = [artist for artist in ax.get_lines() if artist.get_label() == label]
    return found


def lines_named(ax, prefix):
    return [artist for artist in ax.get_lines() if str(artist.get_gid()).startswith(prefix)]


def test_a_sound_grid_gives_every_figure(everything):
    figures, skipped = everything
    assert [*figures] == NAMES
    assert skipped == {}


@pytest.mark.parametrize("name", NAMES)
def test_convention_and_units_are_on_the_figure(figures, report, name):
    fig = figures[name]
    footer = " ".join(fig.get_supxlabel().split())
    assert report.convention.describe() in footer
    assert re.search(
        r"90% intervals, (seed|pairs)(/(seed|pairs))? bootstrap|no interval: the noise", footer
    )
    labels = {label for ax in fig.axes for label in (ax.get_xlabel(), ax.get_ylabel())} - {""}
    known = [*LABELS.values(), "Loss (nats/token)", "Loss less", "Compute C (FLOPs)"]
    assert all(label.startswith(tuple(known)) for label in labels)
    assert any(label == LABELS["C"] for label in labels)


def test_another_convention_shows(runs, curves):
    convention = Convention("non_embedding", "6ND")
    other = runs.assign(non_embedding_params=runs.total_params * 4 // 5)
    figures, _ = all_figures(
        other, curves, fit_all(other, bootstrap=0, convention=convention, audit=False)
    )
    for fig in figures.values():
        footer = " ".join(fig.get_supxlabel().split())
        assert convention.describe() in footer
        assert "bootstrap" not in footer


def test_conventions_do_not_mix(runs, report):
    foreign = replace(report["isoflop"], convention=Convention("total", "6ND"))
    with pytest.raises(ValueError, match=r"two conventions: .*6\*N\*D"):
        ratio_figure([report["parametric"], foreign])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_covers_anything(figures, name):
    fig = drawn(figures[name])
    for ax in fig.axes:
        legends = [*fig.legends, *filter(None, [ax.get_legend()])]
        assert all(legend.get_window_extent().y0 >= ax.bbox.y1 - 1 for legend in legends)
        for axis in (ax.xaxis, ax.yaxis):
            if axis.get_scale() == "log" and axis.get_label_text():
                assert len(axis.get_majorticklocs()) >= 2


def test_compute_has_one_line_per_run_and_all_final_losses(runs, curves, report):
    ax = compute_figure(runs, curves, report["envelope"]).axes[0]
    assert {artist.get_gid() for artist in lines_named(ax, "curve:")} == {
        f"curve:{run_id}" for run_id in runs.run_id
    }
    assert ax.get_xscale() == ax.get_yscale() == "log"
    np.testing.assert_allclose(ax.collections[0].get_offsets(), runs[["flops", "loss"]])
    log_C, log_L = np.log(line(ax, "lowest losses, from below").get_data())
    minima = report["envelope"].minima
    assert np.all(np.interp(np.log(minima.C), log_C, log_L) <= np.log(minima.L) + 1e-9)
    assert np.all(np.diff(np.diff(log_L) / np.diff(log_C)) >= 0)  # no teeth


def test_compute_shows_sizes_and_tokens_along_the_envelope(figures, report):
    fit = report["envelope"]
    for ax, symbol in zip(figures["compute"].axes[1:3], "ND", strict=True):
        dots, law = ax.get_lines()[:2]
        np.testing.assert_allclose(dots.get_ydata(), fit.minima[symbol])
        np.testing.assert_allclose(
            law.get_ydata(), getattr(fit, f"{symbol}_opt")(law.get_xdata()).value
        )


def test_compute_curves_end_at_the_compute_of_their_run(runs, curves):
    convention = Convention("total", "6ND")
    ax = compute_figure(runs, curves, convention=convention).axes[0]
    ends = [artist.get_xdata()[-1] for artist in lines_named(ax, "curve:")]
    np.testing.assert_allclose(ends, 6.0 * runs.total_params * runs.tokens)


def test_isoflop_minima_are_where_the_fit_has_them(figures, report):
    bowls, N_panel, D_panel = figures["isoflop"].axes
    minima = report["isoflop"].minima
    stars = [artist.get_xydata()[0] for artist in lines_named(bowls, "minimum:")]
    np.testing.assert_allclose(stars, minima[["N_opt", "L_opt"]])
    for ax, symbol in ((N_panel, "N"), (D_panel, "D")):
        exponent = report["isoflop"].exponents()[f"{symbol}_exponent"]
        interval = f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"
        assert interval in ax.get_legend().get_texts()[0].get_text()
        law = next(artist for artist in ax.get_lines() if "propto" in artist.get_label())
        C, found = law.get_data()
        slope = np.polyfit(np.log(C), np.log(found), 1)[0]
        assert slope == pytest.approx(exponent.value)


def test_isoflop_parabolas_pass_near_their_runs(figures, runs):
    curves = [
        artist for artist in figures["isoflop"].axes[0].get_lines() if len(artist.get_xdata()) == 60
    ]
    solid = [artist for artist in curves if artist.get_linestyle() == "-"]
    for artist, (_, rows) in zip(solid, runs.groupby("flops_budget"), strict=True):
        N, L = artist.get_data()
        rows = rows.sort_values("total_params")
        np.testing.assert_allclose(np.interp(rows.total_params, N, L), rows.loss, atol=0.04)


@pytest.fixture(scope="module")
def troubled_report(troubled, curves):
    return fit_all(troubled, curves, bootstrap=0, audit=False)


def test_refused_minima_are_hollow_and_say_why(troubled, troubled_report):
    fig = isoflop_figure(troubled, troubled_report["isoflop"])
    labels = legend_labels(fig)
    assert sum("no_minimum" in label for label in labels) == 1
    assert sum("extrapolated" in label for label in labels) == 1
    assert "opens downward" in fig.get_supxlabel()
    fills = {a.get_gid(): a.get_markerfacecolor() for a in lines_named(fig.axes[0], "minimum:")}
    hollow = {gid for gid, fill in fills.items() if to_rgba(fill)[3] == 0}
    assert hollow == {"minimum:8e+11"}
    assert fills.keys() == {"minimum:2e+11", "minimum:8e+11", "minimum:1.6e+12"}


def test_stopped_runs_stay_visible(troubled, curves, troubled_report):
    figures, _ = all_figures(troubled, curves, troubled_report)
    x = {"isoflop": "total_params"}
    for name in ("compute", "isoflop", "contour", "triptych"):
        assert {"diverged (1)", "failed (1)"} <= {*legend_labels(figures[name])}
        ax = figures[name].axes[0]
        mark = line(ax, "diverged (1)")
        assert mark.get_xdata() == pytest.approx(troubled[x.get(name, "flops")][[5]])
        assert (mark.get_transform() == ax.get_xaxis_transform()) == (name != "contour")


def test_runs_left_out_of_a_fit_are_told_apart(runs, report):
    fit = replace(report["parametric"], excluded=((runs.run_id[3], "too short"),))
    left = contour_figure(runs, fit).axes[0]
    ring = line(left, "excluded from the fit (1)")
    assert ring.get_xydata()[0] == pytest.approx(runs.loc[3, ["flops", "total_params"]])
    assert ring.get_markerfacecolor() == "none"


def test_contour_shows_the_frontier_of_the_fit(figures, report):
    frontier = line(figures["contour"].axes[0], "efficient frontier")
    C, N = frontier.get_data()
    np.testing.assert_allclose(N, report["parametric"].N_opt(C).value)
    assert C.max() <= 1.6e12 * 1.02


def test_contour_needs_both_variables(runs, report):
    with pytest.raises(ValueError, match="law of N and D, got 'power_frontier'"):
        contour_figure(runs, report["isoflop"])


def test_contour_of_a_law_without_a_closed_frontier(runs):
    fit = replace(
        fit_law(runs, bootstrap=0),
        law="kaplan",
        params={"N_c": 1e9, "D_c": 1e10, "alpha_N": 0.1, "alpha_D": 0.1},
    )
    assert "efficient frontier" in legend_labels(drawn(contour_figure(runs, fit)))  # searched


def test_triptych_has_runs_on_the_lines(figures, report):
    fig = figures["triptych"]
    assert [ax.get_xlabel() for ax in fig.axes] == [LABELS[symbol] for symbol in "CDN"]
    assert "limit of the joint law for D -> infinity" in " ".join(fig.get_supxlabel().split())
    joined = " ".join(legend_labels(fig))
    assert "D → ∞" in joined
    assert "N → ∞" in joined
    for ax, symbol in zip(fig.axes[1:], "DN", strict=True):
        x, L = line(ax, "runs").get_data()
        law = report[f"kaplan_L{symbol}"].loss(**{symbol: x}).value
        assert np.abs(L - law).max() < 0.05 < np.ptp(L)  # noise of 0.01
        curve = ax.get_lines()[1]
        expected = report[f"kaplan_L{symbol}"].loss(**{symbol: curve.get_xdata()}).value
        np.testing.assert_allclose(curve.get_ydata(), expected)
    found = line(fig.axes[0], "minimum of a budget's bowl").get_data()
    np.testing.assert_allclose(found, report["isoflop"].minima[["budget", "L_opt"]].T)


def test_triptych_shows_a_status(runs, report):
    poor = replace(report["kaplan_LN"], status="at_bound")
    fig = drawn(triptych_figure(runs, poor))
    assert any("at_bound" in label for label in legend_labels(fig))


def test_ratio_shows_methods_minima_and_twenty(figures, report):
    ax = figures["ratio"].axes[0]
    assert {"parametric", "isoflop", "envelope"} <= {*legend_labels(figures["ratio"])}
    assert line(ax, "20 tokens per parameter").get_ydata() == [20, 20]
    C, inside = line(ax, "parametric").get_data()
    kept = np.isfinite(inside)
    assert C[kept].max() <= report["parametric"].sampled["C"][1] * 1.02
    assert C.max() == pytest.approx(report["parametric"].sampled["C"][1] * 10)
    np.testing.assert_allclose(inside[kept], report["parametric"].tokens_per_param(C[kept]).value)
    bars = [container for container in ax.containers if container.has_yerr]
    bowls = [bar.lines[0].get_xydata()[0] for bar in bars if len(bar.lines[0].get_xdata()) == 1]
    minima = report["isoflop"].minima
    np.testing.assert_allclose([y for _, y in bowls], minima.tokens_per_param)
    at = np.append(minima.budget, 10 * report["parametric"].sampled["C"][1])
    of_methods = [bar for bar in bars if len(bar.lines[0].get_xdata()) == len(at)]
    places = [bar.lines[0].get_xdata() / at for bar in of_methods]
    assert len({round(float(place[0]), 4) for place in places}) == len(of_methods) > 1
    value, low, high = (getattr(report["parametric"].tokens_per_param(at), n) for n in ENDS)
    ends = np.array(of_methods[0].lines[2][0].get_segments())[:, :, 1]
    np.testing.assert_allclose(of_methods[0].lines[0].get_ydata(), value)
    np.testing.assert_allclose(ends, np.transpose([low, high]))


def test_ratio_needs_a_frontier(report):
    with pytest.raises(ValueError, match="need a parametric, isoflop or envelope fit"):
        ratio_figure([report["kaplan_LC"]])


def test_a_foreign_table_is_drawn(foreign):
    figures, skipped = all_figures(foreign, None, fit_all(foreign, bootstrap=5, audit=False))
    assert {"compute", "contour", "triptych", "ratio"} <= {*figures}
    assert figures.keys() | skipped.keys() == {*NAMES}
    for fig in figures.values():
        assert "parameters as the table gives them; C: 6*N*D" in fig.get_supxlabel()
    drawn(figures["compute"])  # which has no curves
    assert figures["compute"].axes[0].get_ylabel() == LABELS["L"]


def test_a_single_budget_is_drawn(grid, curves_of):
    runs = grid(noise=0.01, budgets=(8e11,))
    with pytest.warns(RunsWarning, match="one budget says nothing about growth"):
        report = fit_all(runs, curves_of(runs), bootstrap=10, audit=False)
    figures, skipped = all_figures(runs, curves_of(runs), report)
    assert skipped == {}
    assert "no fit: isoflop needs 2 budgets" in figures["isoflop"].get_supxlabel()
    assert len(figures["isoflop"].axes) == 1
    for name in ("compute", "isoflop", "ratio"):  # which show budgets
        drawn(figures[name])


def test_refused_methods_are_skipped_with_their_reason():
    sizes = 1e6 * 2.0 ** np.arange(4)
    few = load_runs(pd.DataFrame({"N": sizes, "D": 100 * sizes, "loss": 4.0 - sizes / 1e7}))
    with pytest.warns(RunsWarning, match="D follows N in all 4 runs"):
        report = fit_all(few, audit=False)
    figures, skipped = all_figures(few, None, report)
    assert [*figures] == ["compute"]
    assert "need more than 4 runs" in skipped["contour"]
    assert "no envelope: the envelope has" in figures["compute"].get_supxlabel()


def test_without_a_finished_run_there_is_no_figure(troubled, report):
    none = troubled[troubled.status != "ok"]
    figures, skipped = all_figures(none, None, report)
    assert figures == {}
    assert {*skipped.values()} == {"no run has finished"}
    with pytest.raises(ValueError, match="no run has finished"):
        compute_figure(none)
