"""The laws a plan can follow, by name or by path, all asked in one way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import FitError
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import prepare
from scaling.fitting.result import Estimate, Fit, load_fit
from scaling.laws import papers
from scaling.laws.compute import ComputeModel
from scaling.laws.frontier import optimum
from scaling.laws.papers import PF_DAY, PUBLISHED_ALLOCATIONS, PUBLISHED_LAWS, hoffmann_optima
from scaling.laws.table import LAWS
from scaling.tables.observations import C_MEANING, N_MEANING, SETTING, Convention
from scaling.tables.units import is_apart, name_factor

SHIPPED = Path(__file__).with_name("besiroglu2024.json")
TOTAL = "all parameters, embeddings included"
NOMINAL = Convention("total", "6ND")
ATTENTION = 100.0  # times 6N: more than it ever costs a token of a model that is trained
REPEATS = ("R_D", "R_N")
UNKNOWN = float("nan")
FAILED = ("rejected", "not_identified")  # statuses of a law that the runs speak against
HOFFMANN_RUNS = (6e18, 3e21)  # FLOPs of the smallest and largest curve of figure 3
KAPLAN_RUNS = (1e-9 * PF_DAY, 10 * PF_DAY)  # about: the axis of figure 1


@dataclass(frozen=True, eq=False)
class LawSource:
    """A law with its origin; every quantity is an `Estimate` at C FLOPs."""

    name: str  # as `get_source` was asked
    fit: Fit  # a published law without draws has method "published" and NaN intervals
    citation: str
    N_meaning: str  # what the source counts
    C_meaning: str
    note: str = ""  # what a reader must know before trusting it
    repeats: dict[str, float] | None = None  # R_D and R_N, where the law has them
    runs: tuple[float, float] | None = None  # FLOPs of the smallest and largest, as published

    @property
    def reach(self) -> tuple[float, float] | None:
        """FLOPs of the smallest and largest run behind the law; None where nobody says."""
        return self.fit.sampled.get("C", self.runs)

    @property
    def setting(self) -> dict[str, int]:
        """Vocabulary and context length of the runs behind the law, where they share one."""
        ends = {name: self.fit.sampled.get(name, (0, 1)) for name in SETTING}
        return {name: round(low) for name, (low, high) in ends.items() if low == high}

    def status(self, C: float) -> str:
        """Status of the optimum at C FLOPs; "extrapolated" beyond the runs."""
        found, reach = str(self.N_opt(C).status), self.reach
        outside = reach is not None and not reach[0] <= C <= reach[1]
        return "extrapolated" if found == "ok" and outside else found

    @property
    def has_surface(self) -> bool:
        """Whether the source has a loss for every N and D, not of the optimum only."""
        law = LAWS.get(self.fit.law)
        return law is not None and set(law.variables) == {"N", "D"}

    def N_opt(self, C) -> Estimate:
        """Compute-optimal parameters."""
        return self.fit.N_opt(C)

    def D_opt(self, C) -> Estimate:
        """Compute-optimal tokens."""
        return self.fit.D_opt(C)

    def L_opt(self, C) -> Estimate:
        """Loss (nats/token) of the optimum; NaN where the source has none."""
        return self.fit.L_opt(C)

    def tokens_per_param(self, C) -> Estimate:
        """Tokens per parameter of the optimum."""
        return self.fit.tokens_per_param(C)

    def loss(self, N, D) -> Estimate:
        """Loss (nats/token) of N parameters trained on D tokens.

        Raises
        ------
        ValueError
            The source knows the optimum only.
        """
        if not self.has_surface:
            raise ValueError(
                f"law {self.name!r} has no loss for every N and D, it knows the optimum only; use "
                f"one that has: {surface_sources()}, or the file of another law that the runs "
                "bear: scaling.fit_law(RUNS, law='kaplan_general').save(FILE)"
            )
        return self.fit.loss(N=N, D=D)

    def flops_per_token(self, N: float) -> float:
        """Training FLOPs per token of N parameters, as the source counts them: 6N if by 6ND."""
        return float(np.exp(self.fit.compute.tangent(np.log(N))[0]))

    def point(self, C: float) -> dict[str, float]:
        """N_opt, D_opt, L_opt and tokens_per_param at C FLOPs, without intervals."""
        found = optimum(self.fit.law, self.fit.params, C, self.fit.compute)
        return {name: float(value) for name, value in found.items()}


LawLike = str | Path | Fit | LawSource  # what `get_source` takes


def _publish(law: str, params: dict, convention: Convention = NOMINAL) -> Fit:
    return Fit(
        method="published",
        law=law,
        params=params,
        status="ok",
        objective=UNKNOWN,
        objective_name="as published",
        n_runs=0,
        convention=convention,
        compute=ComputeModel(),
        sampled={},
    )


def _make_surface(name: str, note: str) -> LawSource:
    """A published E + A/N^alpha + B/D^beta."""
    law = PUBLISHED_LAWS[name]
    fit = _publish("chinchilla", {key: law.params[key] for key in LAWS["chinchilla"].params})
    runs = HOFFMANN_RUNS if name.startswith("hoffmann") else None
    return LawSource(name, fit, law.citation, law.N, "6ND", note, _take_repeats(law.params), runs)


def _make_lines(approach: str) -> LawSource:
    """Log-log lines through the printed optima of an approach that publishes no constants."""
    rows = hoffmann_optima().query("approach == @approach and inconsistent == ''")
    C_ref = float(np.exp(np.log(rows.flops).mean()))
    x = np.log(rows.flops) - np.log(C_ref)
    params = {"C_ref": C_ref, "L_floor": 0.0, "L_ref": UNKNOWN, "L_exponent": UNKNOWN}
    for symbol, column in (("N", "params"), ("D", "tokens")):
        slope, height = np.polyfit(x, np.log(rows[column]), 1)
        params |= {f"{symbol}_ref": float(np.exp(height)), f"{symbol}_exponent": float(slope)}
    note = (
        f"no constants are published: the log-log line through the {len(rows)} rows of table "
        f"{rows.table.iloc[0]} that agree with their own 6ND; it has no loss"
    )
    fit = _publish("power_frontier", params)
    name = f"hoffmann2022_{approach}"
    return LawSource(name, fit, papers.HOFFMANN, TOTAL, "6ND", note, runs=HOFFMANN_RUNS)


def _make_kaplan() -> LawSource:
    N, D = (PUBLISHED_ALLOCATIONS[f"kaplan2020_{symbol}"] for symbol in "ND")
    loss = PUBLISHED_LAWS["kaplan2020_C_min"].params
    params = {
        "C_ref": PF_DAY,
        "N_ref": N.coefficient,
        "N_exponent": N.exponent,
        "D_ref": D.coefficient,
        "D_exponent": D.exponent,
        "L_floor": 0.0,
        "L_ref": loss["A"] * PF_DAY ** -loss["alpha"],
        "L_exponent": -loss["alpha"],
    }
    spent = 6 * N.coefficient * D.coefficient / PF_DAY
    note = (
        "C is C_min, what a batch far below the critical one needs; at the critical batch one "
        f"spends twice that: its own N and D cost 6ND = {spent:.2f} C. Loss on WebText2, another "
        "vocabulary: not to compare with the other laws"
    )
    fit = _publish("power_frontier", params, Convention("blocks", "6ND"))
    N_meaning = "parameters without embeddings"
    C_meaning = "C_min, without embeddings"
    return LawSource("kaplan2020", fit, papers.KAPLAN, N_meaning, C_meaning, note, runs=KAPLAN_RUNS)


def _load_besiroglu() -> LawSource:
    note = (
        "our own fit of the 240 points that the authors read off Hoffmann's figure 4, with the "
        "draws of its bootstrap; their printed constants minimise another objective"
    )
    return LawSource("besiroglu2024", load_fit(SHIPPED), papers.BESIROGLU, TOTAL, "6ND", note)


SURFACE_NOTES = {
    "hoffmann2022": "approach 3; Besiroglu et al. 2024 found that its fit stopped early",
    "hoffmann2022_rounded": "approach 3 as printed; two digits of the exponents move N_opt",
    "muennighoff2023": "alpha = beta by construction, fitted on C4; here without repeats",
}
SOURCES: dict[str, Callable[[], LawSource]] = {
    "besiroglu2024": _load_besiroglu,
    "hoffmann2022_envelope": partial(_make_lines, "envelope"),
    "hoffmann2022_isoflop": partial(_make_lines, "isoflop"),
    **{name: partial(_make_surface, name, note) for name, note in SURFACE_NOTES.items()},
    "kaplan2020": _make_kaplan,
}


def surface_sources() -> list[str]:
    """Names of the laws with a loss for every N and D."""
    return [name for name, make in SOURCES.items() if make().has_surface]


def get_source(law: LawLike, **reading: Any) -> LawSource:
    """A law by name, by path or as a fit.

    Parameters
    ----------
    law : str, Path, Fit or LawSource
        A key of `SOURCES`; a JSON file that `Fit.save` wrote; a results folder (its fit.json or,
        where the runs do not bear that law, its answer.json; else a fit of its runs.csv); a table
        of runs, likewise; or a Fit.
    **reading
        Of a table: `columns`, `where` and `best_of` of `scaling.load_runs`.

    Raises
    ------
    ValueError
        Neither a known name nor a path; a fit without a compute-optimal frontier, or of a C that
        is no FLOPs; a table with `scaling.tables.units` that cannot be.
    """
    reading = {name: value for name, value in reading.items() if value}
    if isinstance(law, str | Path) and law not in SOURCES and is_table(Path(law)):
        return _wrap_fit(_fit_table(Path(law), **reading), str(law))
    if reading:
        raise ValueError(
            f"{', '.join(reading)} are for law=TABLE, which reads a table of runs; {law!r} is none"
        )
    if isinstance(law, LawSource):
        return law
    if isinstance(law, Fit):
        return _wrap_fit(law, law.data.source or "a fit")
    if isinstance(law, str) and law in SOURCES:
        return SOURCES[law]()
    path = Path(law)
    if not path.exists():
        raise ValueError(
            f"law {str(law)!r} is neither one of {[*SOURCES]} nor a path to a fit JSON, a runs "
            "table or a results folder"
        )
    return _wrap_fit(_read(path), str(law))


def is_table(path: Path) -> bool:
    """Whether a path is a table of runs, or a folder with one and without a fit."""
    if path.is_dir():
        return (path / "runs.csv").is_file() and not (path / "fit.json").is_file()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begins = file.read(64).lstrip()
    return path.suffix != ".json" or begins[:1] != b"{"


def _read(path: Path) -> Fit:
    if not path.is_dir():
        return load_fit(path)
    if not (path / "fit.json").is_file():
        raise ValueError(
            f"the folder {path} has neither fit.json nor runs.csv; give one that "
            "python -m scaling.sweep or scaling.fit has made"
        )
    fit, answer = load_fit(path / "fit.json"), path / "answer.json"
    return choose_answer(fit, load_fit(answer)) if answer.is_file() else fit


def _fit_table(path: Path, **reading: Any) -> Fit:
    data = prepare(path / "runs.csv" if path.is_dir() else path, strict=True, **reading)
    fit = fit_parametric(data)
    if fit.status not in FAILED:
        return fit
    try:
        return choose_answer(fit, fit_isoflop_power(data))
    except FitError:
        return fit


def choose_answer(law: Fit, answer: Fit) -> Fit:
    """The law, or where the runs speak against it the answer that does not need it, and why."""
    if law.status not in FAILED or answer.method == law.method or answer.status != "ok":
        return law
    why = (
        f"the law {law.law} is {law.status} ({law.reason}); {answer.method} knows the optimum only"
    )
    return replace(answer, note="; ".join(filter(None, [why, answer.note])))


def _take_repeats(params: Mapping[str, float]) -> dict[str, float] | None:
    return {name: params[name] for name in REPEATS} if {*REPEATS} <= set(params) else None


def _wrap_fit(fit: Fit, name: str) -> LawSource:
    repeats = _take_repeats(fit.params)
    if fit.law == "repeated":  # without repeats it is the sum of two power laws
        kept = {key: fit.params[key] for key in LAWS["chinchilla"].params}
        draws = fit.draws[[*kept]] if len(fit.draws) else fit.draws
        fit = replace(fit, law="chinchilla", params=kept, draws=draws)
    try:
        fit.exponents()
    except ValueError as error:
        raise ValueError(f"law {name!r} cannot plan: {error}") from error
    _refuse_units(fit, name)
    N_meaning, C_meaning = N_MEANING[fit.convention.N], C_MEANING[fit.convention.C]
    citation = f"{fit.method} fit of {fit.law} to {fit.data.source or 'a runs table'}"
    return LawSource(name, fit, citation, N_meaning, C_meaning, fit.note, repeats)


def _refuse_units(fit: Fit, name: str) -> None:
    """Refuse a fit whose compute per token is no FLOPs of its N.

    Attention makes tiny models dearer than 6ND: where all parameters are counted, only what is
    beyond its share is refused.
    """
    if fit.convention.N not in ("total", "as_given") or "N" not in fit.sampled:
        return
    log_N = float(np.log(fit.sampled["N"]).mean())
    ratio = float(np.exp(fit.compute.tangent(log_N)[0] - log_N)) / 6.0
    dearest = ATTENTION if fit.convention.N == "total" else 1.0
    if is_apart(ratio) and not 1 < ratio < dearest:
        raise ValueError(
            f"law {name!r} cannot plan: its C / (6ND) is {ratio:.3g}: {name_factor(ratio)}"
        )


def spread(name: str, found: Estimate) -> dict[str, Any]:
    """An estimate as the columns `name`, `name`_low and `name`_high of a table's row."""
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
