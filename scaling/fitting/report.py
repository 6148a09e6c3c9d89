"""One law, or every method, on any runs table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd

from scaling.errors import FitError
from scaling.fitting.audit import Audit, audit_laws
from scaling.fitting.coordinates import Constraints
from scaling.fitting.criterion import Criterion
from scaling.fitting.envelope import fit_envelope
from scaling.fitting.isoflop import fit_isoflop
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.one_variable import fit_LC, fit_LD, fit_LN
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import Prepared, prepare
from scaling.fitting.profile import Profile, profile_parametric
from scaling.fitting.result import Fit
from scaling.fitting.sensitivity import sensitivity_table
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.tables.observations import Convention
from scaling.tables.oddities import Oddity

ENDS = ("", "_low", "_high")  # of the columns of a number with an interval
PREFERRED = {  # methods, the best first, and why they stand there
    "isoflop_power": "of the methods that held N_opt as often as they claim where another law was "
    "true its intervals are the narrowest",
    "isoflop": "it assumes no law of N and D, and held N_opt as often as it claims where another "
    "law was true",
    "parametric": "no bowl answers, and the runs do not contradict the law",
}


class Recommendation(NamedTuple):
    """The method to quote, None if there is none, and why in a sentence."""

    method: str | None
    reason: str


@dataclass(frozen=True)
class Report:
    """What all methods found.

    Attributes
    ----------
    fits : tuple of Fit
    refusals : tuple of (method, reason)
    convention : Convention
    budgets : tuple of float, FLOPs
    audit : Audit or None
        How well laws predict larger budgets from smaller ones; None if it was refused.
    sensitivity : DataFrame, as `scaling.fitting.sensitivity.sensitivity_table` returns it
    oddities : tuple of Oddity
        What the table holds that is seldom meant.
    runs, curves : DataFrame or None
        The tables that were fitted, for figures of them.

    Examples
    --------
    Of `report` of help(scaling):

    >>> report.recommended.method, [fit.method for fit in report.fits if fit.status == "ok"][:3]
    ('isoflop_power', ['parametric', 'isoflop', 'isoflop_power'])
    >>> report["isoflop"].N_opt(1e19)
    4.257e+08
    """

    fits: tuple[Fit, ...]
    refusals: tuple[tuple[str, str], ...]
    convention: Convention
    budgets: tuple[float, ...]
    audit: Audit | None = None
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    oddities: tuple[Oddity, ...] = ()
    runs: pd.DataFrame | None = field(default=None, compare=False)
    curves: pd.DataFrame | None = field(default=None, compare=False)

    @property
    def recommended(self) -> Recommendation:
        """The method whose answer to quote, and why."""
        known = {fit.method: fit for fit in self.fits if fit.method in PREFERRED}
        against = {
            method: f"{method} is {known[method].status}"
            if method in known
            else f"{method} was refused"
            for method in PREFERRED
            if method not in known or known[method].status != "ok"
        }
        if grave := [oddity.text for oddity in self.oddities if oddity.is_grave]:
            return Recommendation(None, "; ".join(grave))
        chosen = next((method for method in PREFERRED if method not in against), None)
        but = f"; {', '.join(against.values())}" if against else ""
        if chosen is None:
            return Recommendation(None, f"no method is ok{but}")
        lack = known[chosen].lack_of_fit
        passed = f" and its residuals pass ({lack.describe()})" if lack is not None else ""
        return Recommendation(chosen, f"{PREFERRED[chosen]}{passed}{but}")

    def __getitem__(self, method: str) -> Fit:
        """The fit of a method; KeyError with the refusal if there is none."""
        for fit in self.fits:
            if fit.method == method:
                return fit
        raise KeyError(dict(self.refusals).get(method, f"no method {method!r}"))

    def __repr__(self) -> str:
        method, reason = self.recommended
        quoted = [f"quote {method}: {reason}" if method else f"no answer to quote: {reason}"]
        if method:
            fit, C = self[method], max(self.budgets, default=self[method].sampled["C"][1])
            answer = f"N_opt {fit.N_opt(C)!r}, D_opt {fit.D_opt(C)!r}, tokens/param "
            quoted += [f"at {C:.3g} FLOPs: {answer}{fit.tokens_per_param(C)!r}"]
        told = [f"{fit.method} {fit.status}" for fit in self.fits]
        told += [f"{method} refused" for method, _ in self.refusals]
        best = self.audit.recommended if self.audit else None
        told_audit = [f"audit: {best or 'no law'} predicts larger budgets best"] * bool(self.audit)
        lines = [
            *quoted,
            "methods: " + ", ".join(told),
            *told_audit,
            *(o.text for o in self.oddities),
        ]
        return "\n  ".join(
            [f"Report of {len(self.fits)} fits, {self.convention.describe()}", *lines]
        )


# ---------------------------------------------------------------- fits of any table


def fit_law(
    runs,
    law: str = "chinchilla",
    *,
    columns: dict[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    best_of: Sequence[str] = (),
    convention: Convention | None = None,
    residual: str = "log",
    loss: str = "huber",
    huber_delta: float = 1e-3,
    constraints: Constraints | None = None,
    bootstrap: int = 1000,
    kind: str | None = None,
    seed: int = 0,
) -> Fit:
    """Fit one loss law to a runs table: `fit_law("epoch2024").tokens_per_param(5.76e23)`.

    Parameters
    ----------
    runs : path, registry name or DataFrame, as `scaling.load_runs` takes it
    law : str
        Key of `scaling.laws.table.LAWS`, which states formula and source: of N and D chinchilla,
        chinchilla_tied, kaplan, kaplan_general, chinchilla_coupled (B ~ N^-gamma), chinchilla_bent
        (exponent of D linear in ln N), farseer, quadratic (in the logarithms); with more variables
        repeated, trained_in_bits, rounding_cost, kaplan_steps, kaplan_batch, critical_batch; of one
        power_N, power_D, power_C and each with _E. Those of N and D have an optimum at every C.
    columns, where, best_of : as `scaling.load_runs` takes them, optional
    convention : Convention, optional
        What N and C mean; the table's default if omitted.
    residual : {"log", "linear"}
        ln L_predicted - ln L, or L_predicted - L.
    loss : {"huber", "l1", "mse"}
        Of the residual, summed over the runs.
    huber_delta : float, > 0
        Half-width of the quadratic part of the Huber loss.
    constraints : dict, parameter -> value, or -> the parameter that it equals, optional
        {"beta": "alpha"} or {"E": 1.69}
    bootstrap : int
        Refits for the intervals; 0 for the point estimate alone.
    kind : {"seed", "wild", "pairs"}, optional
        Kind of bootstrap, as `scaling.fitting.bootstrap` explains; the method's default if omitted.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Fit; errors as in `scaling.fitting.parametric.fit_parametric`.

    Examples
    --------
    With `runs` of help(scaling), half of the exponents given:

    >>> fit = scaling.fit_law(runs, bootstrap=0, constraints={"beta": 0.3})
    >>> fit.status, round(fit.params["E"], 6), fit.N_opt(1e19)
    ('ok', 1.7, 4.231e+08)
    """
    settings = FitSettings(Criterion(residual, loss, huber_delta), bootstrap, kind, seed)
    prepared = prepare(runs, columns, convention, where=where, best_of=best_of)
    return fit_parametric(prepared, settings, law=law, constraints=constraints)


def profile_law(
    runs,
    name: str,
    law: str = "chinchilla",
    *,
    columns: dict[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    best_of: Sequence[str] = (),
    convention: Convention | None = None,
    residual: str = "log",
    loss: str = "huber",
    huber_delta: float = 1e-3,
    constraints: Constraints | None = None,
) -> Profile:
    """Profile likelihood of one parameter: `profile_law("epoch2024", "beta")`.

    For directions in which the objective is flat or lopsided, where a bootstrap's interval says
    little. Parameters as in `fit_law`, result and errors as in
    `scaling.fitting.profile.profile_parametric`.

    Examples
    --------
    >>> scaling.profile_law(runs, "beta")  # `runs` of help(scaling)
    profile of beta: 0.3, from 3 fits
    """
    criterion = Criterion(residual, loss, huber_delta)
    prepared = prepare(runs, columns, convention, where=where, best_of=best_of)
    return profile_parametric(prepared, name, criterion, law=law, constraints=constraints)


def fit_all(
    runs,
    curves: pd.DataFrame | None = None,
    *,
    columns: dict[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    best_of: Sequence[str] = (),
    convention: Convention | None = None,
    residual: str = "log",
    loss: str = "huber",
    huber_delta: float = 1e-3,
    bootstrap: int = 1000,
    kind: str | None = None,
    seed: int = 0,
    audit: bool = True,
) -> Report:
    """Fit by every method; a method that refuses never stops the others.

    Parameters as in `fit_law`, and

    Parameters
    ----------
    curves : DataFrame, as `scaling.load_curves` returns it, optional
        For the envelope, which is refused without them.
    audit : bool
        Predict larger budgets from smaller ones (`scaling.fitting.audit`), by which the intervals
        of predictions are widened, and fit again without some of the rows.

    Returns
    -------
    Report with parametric, isoflop, isoflop_power, envelope, kaplan_LC, kaplan_LN, kaplan_LD, and
        repeated where tokens were; or their refusals.

    Examples
    --------
    >>> found = scaling.fit_all(runs, bootstrap=0, audit=False)  # `runs` of help(scaling)
    >>> found.recommended.method, found["isoflop"].N_opt(1e19)
    ('isoflop_power', 4.257e+08)
    >>> [method for method, reason in found.refusals]
    ['envelope']
    """
    settings = FitSettings(Criterion(residual, loss, huber_delta), bootstrap, kind, seed)
    return report_on(
        prepare(runs, columns, convention, where=where, best_of=best_of),
        curves,
        settings,
        audit=audit,
    )


def report_on(
    data: Prepared,
    curves: pd.DataFrame | None = None,
    settings: FitSettings = DEFAULTS,
    *,
    audit: bool = True,
) -> Report:
    """Fit by every method, as in `fit_all`."""
    found: dict[str, Any] = {}
    refusals: dict[str, str] = {}

    def attempt(method: str, fit: Callable[[], Any]) -> None:
        try:
            found[method] = fit()
        except FitError as error:
            refusals[method] = str(error)

    def derive(method: str, source: str, read: Callable[[Fit], Fit]) -> None:
        if source in found:
            found[method] = read(found[source])
        else:
            refusals[method] = f"it is read off the {source} fit, which was refused"

    attempt("parametric", lambda: fit_parametric(data, settings))
    attempt("isoflop", lambda: fit_isoflop(data, settings))
    attempt("isoflop_power", lambda: fit_isoflop_power(data, settings))
    attempt("envelope", lambda: fit_envelope(data, settings, curves))
    derive("kaplan_LC", "isoflop", fit_LC)
    derive("kaplan_LN", "parametric", fit_LN)
    derive("kaplan_LD", "parametric", fit_LD)
    if "U" in data.obs and (data.obs.U < data.obs.D).any():
        attempt("repeated", lambda: _fit_repeated(data, settings))
    sensitivity = pd.DataFrame()
    if audit:
        attempt("audit", lambda: audit_laws(data, settings))
    audited = found.pop("audit", None)
    if audit:
        refits = _list_refits(settings)
        sensitivity = sensitivity_table(data, found.values(), refits, settings)
    for method in ("parametric", "kaplan_LN", "kaplan_LD"):
        if audited is not None and method in found:
            found[method] = replace(found[method], inflation=audited.inflation("chinchilla"))
    budgets = tuple(sorted({float(budget) for budget in data.obs.budget.dropna()}))
    fits, refused = tuple(found.values()), tuple(refusals.items())
    given = {"oddities": data.oddities, "runs": data.runs, "curves": curves}
    return Report(fits, refused, data.convention, budgets, audited, sensitivity, **given)


def _fit_repeated(data: Prepared, settings: FitSettings) -> Fit:
    return replace(fit_parametric(data, settings, law="repeated"), method="repeated")


def _list_refits(settings: FitSettings) -> dict[str, Callable[[Prepared, Fit], Fit]]:
    """How each method answers for other rows: the point estimate, from where it was."""
    quiet = replace(settings, bootstrap=0)
    return {
        "parametric": lambda data, fit: fit_parametric(
            data, quiet, law=fit.law, n_starts=pd.DataFrame([dict(fit.params)])
        ),
        "isoflop": lambda data, _: fit_isoflop(data, quiet),
        "isoflop_power": lambda data, _: fit_isoflop_power(data, quiet),
    }
