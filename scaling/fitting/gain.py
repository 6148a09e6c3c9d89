"""Compute-equivalent gain: how many times the compute one recipe needs to do what another does.

g(C) = C_a / C with L_a(C_a) = L_b(C): above 1, b is better. Along lines of ln(L_opt - E) over ln C
with slopes -gamma_a and -gamma_b, ln g is linear in ln C with slope (gamma_b - gamma_a) / gamma_a:
a better constant is the same gain at every budget, a better exponent is one that grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from scaling.errors import FitError
from scaling.fitting.diagnosis import EXACT, REJECTED
from scaling.fitting.estimate import Estimate, interval
from scaling.fitting.gain_laws import compare_laws
from scaling.fitting.gain_lines import Crossing, Lines, find_crossing
from scaling.fitting.paired import Sweep, correlate, count_pairs, draw_shocks, match_budgets
from scaling.fitting.prepared import Prepared, prepare
from scaling.fitting.result import SLACK
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.quantities import LEVEL
from scaling.tables import comparable
from scaling.tables.observations import Convention
from scaling.tables.runs import load_runs

TOLD = 1 - LEVEL  # p-value below which exponents differ: the interval of the slope leaves out 0
MIN_BUDGETS = 2  # of common ones: one line each
SOUND = 0.5  # share of the resampled sweeps that must have minima
RANK = 1e-9  # of the covariance of residuals, whose line is gone


@dataclass(frozen=True, eq=False)
class Comparison:
    """What sweep b gains over sweep a.

    Attributes
    ----------
    a, b : Sweep
    points : DataFrame
        One row per common budget: budget (FLOPs), loss_a, loss_b (nats/token), gain, each with
        _low and _high, status, reason.
    gain : Estimate
        One for all budgets, as if the exponents were equal.
    gain_std, unpaired_std : float
        Standard deviation of its logarithm, and what it were if no cell had a partner.
    predicted : tuple of Estimate
        What the smaller budgets say of the largest: as one gain, and along the lines; NaN where
        fewer than two are smaller.
    slope : Estimate
        d ln g / d ln C.
    p_equal : float
        Of equal exponents, two-sided; NaN of a single common budget.
    p_line : float
        Of a straight line through the gains of the budgets; NaN of fewer than three.
    crossing : Crossing
    lines, drawn : Lines
        Of the runs, and of resampled ones.
    laws : DataFrame
        One row per budget and wanted C: C (FLOPs), gain by each sweep's own parametric law, _low,
        _high, status, reason.
    pairs : int
    correlation : float
        Of what pairs miss their bowls by.
    differences, unsaid : tuple of str
        Columns in which pairs differ; what of the held-out text a table does not say.
    status, reason : as in a Fit

    Examples
    --------
    A loss that is 1 % lower at every size and budget, with `runs` of help(scaling):

    >>> found = scaling.compare_runs(runs, runs.assign(loss=0.99 * runs.loss), bootstrap=100)
    >>> found.gain, found.exponents_differ, found.pairs
    (1.147, False, 15)
    """

    a: Sweep
    b: Sweep
    points: pd.DataFrame
    gain: Estimate
    gain_std: float
    unpaired_std: float
    predicted: tuple[Estimate, Estimate]
    slope: Estimate
    p_equal: float
    p_line: float
    crossing: Crossing
    lines: Lines
    drawn: Lines
    pairs: int
    correlation: float
    status: str = "ok"
    reason: str = ""
    laws: pd.DataFrame = field(default_factory=pd.DataFrame)
    differences: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    @property
    def budgets(self) -> np.ndarray:
        """Common budgets with a minimum in both sweeps, FLOPs."""
        return self.points.budget[self.points.status == "ok"].to_numpy(float)

    @property
    def exponents_differ(self) -> bool:
        """Whether equal exponents are excluded."""
        return bool(self.p_equal < TOLD)

    def gain_at(self, C) -> Estimate:
        """Gain along the lines at C FLOPs; "extrapolated" outside of the common budgets.

        Arrays of C give arrays. Its interval holds that the exponents may differ, told or not.

        Examples
        --------
        >>> found.gain_at(1e18), found.gain_at(1e21)
        (1.147, 1.147 (extrapolated))
        """
        log_C = np.log(np.atleast_1d(np.asarray(C, float)))
        values = np.exp(self.lines.log_gain(log_C)[0])
        drawn = np.exp(self.drawn.log_gain(log_C))
        low, high = self.budgets.min() / SLACK, self.budgets.max() * SLACK
        inside = (np.exp(log_C) >= low) & (np.exp(log_C) <= high)
        status = np.where(inside | (self.status != "ok"), self.status, "extrapolated")
        if np.ndim(C):
            return Estimate.of(values, drawn, status)
        return Estimate.of(float(values[0]), drawn[:, 0], str(status[0]))


def compare_runs(
    a,
    b,
    *,
    columns: dict[str, str] | None = None,
    where: dict | None = None,
    convention: Convention | None = None,
    C: Sequence[float] = (),
    bootstrap: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Say what sweep b gains over sweep a: `compare_runs("a/runs.csv", "b/runs.csv").gain`.

    Parameters
    ----------
    a, b : path, registry name or DataFrame, as `scaling.load_runs` takes it
        Two sweeps with common IsoFLOP budgets, on one held-out text.
    columns, where : of both tables, as `scaling.load_runs` takes them, optional
    convention : Convention, optional
        What N and C mean; the tables' default if omitted.
    C : sequence of float, FLOPs
        Where else the parametric laws are to be compared.
    bootstrap : int, at least 100
    seed : int, of the bootstrap

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        Losses that do not compare, conventions that differ, no common budget.
    FitError
        A sweep has no bowls, or no common budget has a minimum in both.

    Examples
    --------
    >>> better = runs.assign(loss=0.99 * runs.loss)  # `runs` of help(scaling)
    >>> scaling.compare_runs(runs, better, bootstrap=100).gain
    1.147
    """
    one, other = (load_runs(runs, columns, where=where) for runs in (a, b))
    return compare_tables(one, other, convention, FitSettings(bootstrap=bootstrap, seed=seed), C)


def compare_tables(
    a: pd.DataFrame,
    b: pd.DataFrame,
    convention: Convention | None = None,
    settings: FitSettings = DEFAULTS,
    C: Sequence[float] = (),
) -> Comparison:
    """Compare two runs tables, as `compare_runs` does."""
    if settings.bootstrap < 100:
        raise ValueError(f"bootstrap={settings.bootstrap}: intervals of a gain need 100 or more")
    unsaid = comparable.refuse_incomparable(a, b)
    one, other = (prepare(runs, convention=convention) for runs in (a, b))
    comparable.refuse_conventions(one.convention, other.convention)
    pairs = comparable.match_cells(a, b)
    sweeps = _named_sweep("a", one), _named_sweep("b", other)
    found = compare_sweeps(*sweeps, pairs, settings)
    laws = compare_laws(one, other, [*found.points.budget, *C], settings)
    told = tuple(comparable.list_differences(a, b, pairs))
    return replace(found, laws=laws, differences=told, unsaid=unsaid)


def _named_sweep(label: str, data: Prepared) -> Sweep:
    try:
        return Sweep.of(data)
    except FitError as error:
        raise FitError(f"{label}: {error}") from None


def compare_sweeps(
    a: Sweep, b: Sweep, pairs: pd.DataFrame, settings: FitSettings = DEFAULTS
) -> Comparison:
    """Compare two sweeps of which these cells are pairs; errors as in `compare_runs`."""
    common = match_budgets(a.budgets, b.budgets)
    usable = a.usable[common[0]] & b.usable[common[1]]
    _refuse_too_few(a, b, common, usable)
    log_C = [s.log_budgets[k[usable]] for s, k in zip((a, b), common, strict=True)]
    pick = [k[usable] for k in common]
    log_L = [s.minima()[:, k] for s, k in zip((a, b), pick, strict=True)]
    lines = Lines.through(log_C, log_L)
    if not min(lines.slope_a[0], lines.slope_b[0]) > 0:
        raise FitError("the lowest loss of a or b does not fall with compute; there is no gain")
    correlation, rng = correlate(a, b, pairs), np.random.default_rng(settings.seed)

    shocks = draw_shocks(a, b, pairs, correlation, settings.bootstrap, rng)
    drawn_L = [side.minima(e)[:, k] for side, e, k in zip((a, b), shocks, pick, strict=True)]
    drawn_L, drawn = _keep_sound(log_C, drawn_L)
    strangers = [drawn_L[0], np.roll(drawn_L[1], 1, axis=0)]  # sets that share no noise
    alone = _keep_sound(log_C, strangers)[1] if correlation else drawn
    points = _tabulate(a, b, common, usable, (log_C, log_L, lines), (drawn_L, drawn))
    scattered = max(a.noise, b.noise) > EXACT
    p_line = _test_line(log_C, points, drawn, drawn_L) if scattered else float("nan")
    status, reason = _judge(a, b, p_line, len(drawn.floor) / settings.bootstrap)
    gain = np.exp(lines.constant[0])
    of_slope = lines.excess[0] / lines.slope_a[0], drawn.excess / drawn.slope_a
    spread = np.abs(drawn.excess - drawn.excess.mean())
    p_equal = float((1 + (spread >= abs(lines.excess[0])).sum()) / (1 + len(spread)))
    return Comparison(
        a=a,
        b=b,
        points=points,
        gain=Estimate.of(float(gain), np.exp(drawn.constant), status),
        gain_std=float(np.std(drawn.constant)),
        unpaired_std=float(np.std(alone.constant)),
        predicted=_predict_largest(log_C, log_L, drawn_L),
        slope=Estimate.of(float(of_slope[0]), of_slope[1], status),
        p_equal=p_equal,
        p_line=p_line,
        crossing=find_crossing(lines, drawn, np.exp(log_C[0]), p_equal < TOLD, status),
        lines=lines,
        drawn=drawn,
        pairs=count_pairs(a, b, pairs),
        correlation=correlation,
        status=status,
        reason=reason,
    )


def _keep_sound(log_C, drawn_L: list[np.ndarray]) -> tuple[list[np.ndarray], Lines]:
    """Lines of those sets that have all minima and a loss that falls."""
    sound = np.isfinite(np.hstack(drawn_L)).all(axis=1)
    drawn_L = [y[sound] for y in drawn_L]
    found = Lines.through(log_C, drawn_L)
    falls = (found.slope_a > 0) & (found.slope_b > 0)
    return [y[falls] for y in drawn_L], found.keep(falls)


def _refuse_too_few(a: Sweep, b: Sweep, common, usable: np.ndarray) -> None:
    if usable.sum() >= MIN_BUDGETS:
        return
    told = []
    for label, sweep, places in zip("ab", (a, b), common, strict=True):
        minima = sweep.fit.minima.iloc[places]
        refused = minima[minima.status != "ok"]
        told += [
            f"{label} at {C:.3g} FLOPs: {why}"
            for C, why in zip(refused.budget, refused.reason, strict=True)
        ]
    raise FitError(
        f"a comparison needs {MIN_BUDGETS} common budgets with an interior minimum in both sweeps, "
        f"{usable.sum()} of {len(usable)} common ones have it"
        + (f": {'; '.join(told)}" if told else "; train more")
    )


def _judge(a: Sweep, b: Sweep, p_line: float, sound: float) -> tuple[str, str]:
    """Status of all gains, and why it is not ok."""
    told = [
        f"{label}: {sweep.fit.reason}"
        for label, sweep in (("a", a), ("b", b))
        if sweep.fit.status == "rejected"
    ]
    if p_line < REJECTED:
        told.append(f"the gains of the budgets lie on no line in ln C (p = {p_line:.2g})")
    if told:
        return "rejected", "; ".join(told)
    if sound < SOUND:
        return "not_converged", f"{1 - sound:.0%} of the resampled sweeps have no minima or slopes"
    return "ok", ""


def _tabulate(a: Sweep, b: Sweep, common, usable, found, drawn) -> pd.DataFrame:
    """Rows of `Comparison.points`."""
    (log_C, log_L, lines), (drawn_L, drawn_lines) = found, drawn
    points, sets = lines.log_points(log_C, log_L), drawn_lines.log_points(log_C, drawn_L)
    rows, place = [], iter(range(int(usable.sum())))
    for i, j, use in zip(*common, usable, strict=True):
        row: dict = {"budget": a.budgets[i]}
        minima = [s.fit.minima.iloc[k] for s, k in ((a, i), (b, j))]
        if not use:
            told = [
                f"{label}: {m.reason}" for label, m in zip("ab", minima, strict=True) if m.reason
            ]
            rows.append(row | {"status": "no_minimum", "reason": "; ".join(told)})
            continue
        k = next(place)
        values = {"loss_a": (log_L[0], drawn_L[0]), "loss_b": (log_L[1], drawn_L[1])}
        for name, (value, sample) in (values | {"gain": (points, sets)}).items():
            at = float(np.exp(value[0, k]))
            low, high = interval(np.exp(sample[:, k]), at)
            row |= {name: at, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"status": "ok", "reason": ""})
    return pd.DataFrame(rows)


def _predict_largest(log_C, log_L, drawn_L) -> tuple[Estimate, Estimate]:
    """Gain at the largest budget from lines through the others: `Comparison.predicted`."""
    if len(log_C[0]) <= MIN_BUDGETS:
        nothing = Estimate(float("nan"), float("nan"), float("nan"), "not_identified")
        return nothing, nothing
    smaller = [x[:-1] for x in log_C]
    lines, drawn = (Lines.through(smaller, [y[:, :-1] for y in ys]) for ys in (log_L, drawn_L))
    both = (
        (lines.constant, drawn.constant),
        (lines.log_gain(log_C[0][-1:])[:, 0], drawn.log_gain(log_C[0][-1:])[:, 0]),
    )
    one, line = (
        Estimate.of(float(np.exp(value[0])), np.exp(sample), "extrapolated")
        for value, sample in both
    )
    return one, line


def _test_line(log_C, points: pd.DataFrame, drawn: Lines, drawn_L) -> float:
    """p-value of gains on a straight line, from the covariance of the drawn ones."""
    from scipy.special import chdtrc  # here, so that `import scaling` stays fast

    n = len(log_C[0])
    if n < MIN_BUDGETS + 1:
        return float("nan")
    design = np.stack([np.ones(n), log_C[0] - log_C[0].mean()], axis=1)
    left = np.eye(n) - design @ np.linalg.pinv(design)
    y = np.log(points.gain[points.status == "ok"].to_numpy(float)) @ left
    spread = np.cov(drawn.log_points(log_C, drawn_L) @ left, rowvar=False)
    return float(chdtrc(n - MIN_BUDGETS, float(y @ np.linalg.pinv(spread, rcond=RANK) @ y)))
