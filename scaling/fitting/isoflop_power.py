"""Approach 2 without its bias: bowls of two powers whose exponents all budgets share."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from scaling.fitting.bowl import Bowl, BudgetRuns, spread_of_minimum
from scaling.fitting.bowls import BowlKind, Bowls, fit_bowls
from scaling.fitting.lines import line
from scaling.fitting.parabolas import parabolas
from scaling.fitting.prepared import Prepared
from scaling.fitting.result import Fit
from scaling.fitting.settings import DEFAULTS, FitSettings
from scaling.laws.compute import ComputeModel
from scaling.laws.frontier import optimum

BOUNDS = (0.05, 3.0)  # of both exponents
START_EXPONENTS = (0.1, 0.3, 0.8)  # of each; the best pair of every data set is refined
STEPS = 40  # Levenberg-Marquardt, for all data sets at once
RANK = 1e-7  # smallest share of a column that the others leave; less has no own coefficient
REMARK = "the runs determine little of them but the difference, the skew of the bowls"


def fit_isoflop_power(data: Prepared, settings: FitSettings = DEFAULTS) -> Fit:
    """Fit L = E_g + A_g N^-alpha + B_g D^-beta per budget g; results and errors as in `fit_bowls`.

    A bowl of which one term does not fall is "no_minimum"; `note` states the exponents.

    Notes
    -----
    The three coefficients of a budget are as many as a parabola has. In u = ln(N / N_opt) and
    with C = 6ND a bowl of the Hoffmann law is

        L - L_opt = 2 c / (alpha + beta) * [(e^(-alpha u) - 1) / alpha + (e^(beta u) - 1) / beta]

    with the ratio of third to second derivative beta - alpha at the minimum of every budget. A
    parabola has none and misses D_opt by 1 to 30 %, more the wider the grid; with E, A, B free
    in every budget this is exact where the Hoffmann law holds, and it needs no common E, A, B.

    The price is variance: noise decides much of the skew, and on grids within x3 of the optimum
    the intervals are about twice as wide as those of the parabola, which hold the truth in 60 to
    89 % of such cases. As both exponents go to 0 the bowls become parabolas.

    On simulated grids of 6 sizes and 4 budgets the 90 % intervals of seed noise hold the truth in
    86-93 % of 200 cases, of wild signs in 89-91 %; those of pairs in nearly all, and they are twice
    as wide.

    alpha and beta minimise the weighted squares that are left after the linear coefficients
    (variable projection), over all budgets whose parabola opens upward. D is C over the power of
    N that follows C/D within the budget: the exponents take up its bend (0.1 % of N_opt on 6N +
    190 sqrt(N) FLOPs per token and grids within x3). D_opt is the budget over the runs' own C/D.
    """
    return fit_bowls(data, settings, POWERS)


def power_bowls(budgets: list[BudgetRuns], log_L: np.ndarray, weights: np.ndarray) -> Bowls:
    """One bowl per budget and data set, with the exponents that suit all budgets of that set."""
    sets = max(len(log_L), len(weights))
    L, weights = (np.broadcast_to(a, (sets, a.shape[1])) for a in (np.exp(log_L), weights))
    upward = weights.copy()
    for b, parabola in zip(budgets, parabolas(budgets, log_L, weights).each, strict=True):
        upward[:, b.rows] *= np.isfinite(parabola.log_N)[:, None]
    exponents = _shared_exponents([_Sets.of(b, L, upward) for b in budgets if not b.refusal], sets)
    bowls = [
        Bowl.absent(sets) if b.refusal else _bowl(b, _Sets.of(b, L, weights), exponents)
        for b in budgets
    ]
    alpha, beta = exponents.T
    return Bowls(bowls, 2, {"alpha": alpha, "beta": beta, "beta - alpha": beta - alpha})


POWERS = BowlKind("isoflop_power", "bowl", "a term of the bowl does not fall", power_bowls, REMARK)


@dataclass(frozen=True)
class _Sets:
    """One budget's runs in many data sets.

    compute is C/D as a power of N, logs, shape (runs, 2), are ln N and the ln D of that power, less
    their centre; root, shape (sets, runs), is the square root of the weights, y that times L.
    """

    compute: ComputeModel
    logs: np.ndarray
    centre: np.ndarray
    root: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, runs: BudgetRuns, L: np.ndarray, weights: np.ndarray) -> "_Sets":
        per_token = runs.log_C - runs.log_D
        (log_kappa,), (gamma,) = line(runs.log_N, per_token[None])
        log_D = runs.log_C - log_kappa - gamma * runs.log_N
        logs = np.stack([runs.log_N, log_D], axis=1)
        root = np.sqrt(weights[:, runs.rows])
        compute = ComputeModel(float(np.exp(log_kappa)), float(gamma))
        return cls(compute, logs - logs.mean(0), logs.mean(0), root, root * L[:, runs.rows])

    def columns(self, exponents: np.ndarray) -> np.ndarray:
        """1, N^-alpha and D^-beta at every run, shape (sets, runs, 3)."""
        powers = np.exp(-exponents[:, None, :] * self.logs)
        return np.concatenate([np.ones_like(powers[:, :, :1]), powers], axis=2)

    def solve(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear coefficients, NaN where the runs leave them open, and an orthonormal basis."""
        Q, R = np.linalg.qr(self.root[:, :, None] * columns)
        left = np.abs(np.einsum("kii->ki", R))
        solvable = left.min(1) > RANK * left.max(1)
        R = np.where(solvable[:, None, None], R, np.eye(3))
        found = np.linalg.solve(R, Q.transpose(0, 2, 1) @ self.y[:, :, None])[:, :, 0]
        return np.where(solvable[:, None], found, np.nan), Q

    def gram(self, exponents: np.ndarray) -> np.ndarray:
        """Products of the residuals and of their slopes in alpha and beta, shape (sets, 3, 3).

        Residuals are those of the best linear coefficients; the change of these is left out of
        the slopes, which changes the steps and not the optimum (Kaufman 1975).
        """
        columns = self.columns(exponents)
        coefficients, Q = self.solve(columns)
        slopes = self.logs * columns[:, :, 1:] * np.nan_to_num(coefficients)[:, None, 1:]
        both = np.concatenate([self.root[:, :, None] * slopes, self.y[:, :, None]], axis=2)
        left = both - Q @ (Q.transpose(0, 2, 1) @ both)
        return left.transpose(0, 2, 1) @ left


def _shared_exponents(budgets: list[_Sets], sets: int) -> np.ndarray:
    """Exponents alpha and beta of every data set, shape (sets, 2), from the best start."""

    def gram(exponents):
        return sum((b.gram(exponents) for b in budgets), np.zeros((sets, 3, 3)))

    pairs = np.array([*product(START_EXPONENTS, repeat=2)])
    tried = [gram(np.broadcast_to(pair, (sets, 2)))[:, 2, 2] for pair in pairs]
    at = pairs[np.argmin(tried, axis=0)]
    here, damping = gram(at), np.full(sets, 1e-3)
    for _ in range(STEPS):
        new = _step(at, here, damping)
        there = gram(new)
        better = there[:, 2, 2] <= here[:, 2, 2]
        at = np.where(better[:, None], new, at)
        here = np.where(better[:, None, None], there, here)
        damping = np.where(better, damping / 10, damping * 4)
    return at


def _step(at: np.ndarray, gram: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Damped Gauss-Newton step; an exponent that its bound holds back stays there."""
    hessian, gradient = gram[:, :2, :2], gram[:, :2, 2]
    low, high = BOUNDS
    free = ~((at <= low) & (gradient > 0) | (at >= high) & (gradient < 0))
    diagonal = np.where(free, (1 + damping[:, None]) * np.einsum("kii->ki", hessian), 1.0)
    cross, gradient = np.where(free.all(1), hessian[:, 0, 1], 0.0), gradient * free
    determinant = diagonal.prod(1) - cross**2
    turned = diagonal[:, ::-1] * gradient - cross[:, None] * gradient[:, ::-1]
    solvable = (determinant > RANK**2 * diagonal.prod(1))[:, None]
    step = np.where(solvable, turned / np.where(solvable, determinant[:, None], 1.0), 0.0)
    return np.clip(at - step, low, high)


def _bowl(runs: BudgetRuns, own: _Sets, exponents: np.ndarray) -> Bowl:
    columns = own.columns(exponents)
    coefficients, _ = own.solve(columns)
    (alpha, beta), (E, *terms) = exponents.T, coefficients.T
    A, B = (c * np.exp(e * m) for c, e, m in zip(terms, (alpha, beta), own.centre, strict=True))
    law = {"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta}
    best = optimum("chinchilla", law, runs.budget, own.compute)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_N, log_L = np.log(best["N_opt"]), np.log(best["L_opt"])
        slope = alpha * A * np.exp(-alpha * log_N)
        log_fitted = np.log(np.einsum("krc,kc->kr", columns, coefficients))
        curvature = slope * (alpha + own.compute.gamma * beta) / 2
        at = np.array([log_N[0], np.log(best["D_opt"][0])]) - own.centre
        falls = exponents[0] * np.array([-1.0, own.compute.gamma])
        slopes = np.append(0.0, falls * np.exp(-exponents[0] * at))
    design = own.root[0][:, None] * columns[0]
    spread = spread_of_minimum(design, slopes, curvature[0], log_L[0])
    return Bowl(log_N, runs.log_tokens(log_N), log_L, curvature, log_fitted, spread)
