"""Where does the next FLOP go: cells chosen by an ensemble of laws, against the fixed grid.

Question  Cells that most reduce the spread of ln N_opt at a target, per FLOP, over laws as well as
          noise: do they reach the *actual* error and coverage of the reference's grid with fewer
          FLOPs? Claimed intervals are no saving.
Command   python experiments/next_cells.py [DRAWS of each truth=20]
Cost      7 minutes of one core with 20 draws
Expected  fewer FLOPs for the same actual error, less surely for the same coverage: the true form is
          never one of the ensemble's
Result    never so: results/next-cells. No verb was made of it
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from truths import FORMS, NOISE, SHARED, fitted, reference, true_optimum

from scaling.errors import FitError
from scaling.files import write_text
from scaling.fitting.isoflop_power import fit_isoflop_power
from scaling.fitting.prepared import Prepared
from scaling.fitting.settings import FitSettings
from scaling.pages.text import Section, make_section, markdown, shown

FOLDER = Path("results/next-cells")
TEMPER, NEAR = 10.0, 1.0  # how little the fit decides between forms; see `ensemble`
TARGET, LARGEST, START = 1.024e14, 1.28e13, 1.6e12  # FLOPs
LOTS, SHARE, PARTICLES = 7, 1.3, 60  # lots of cells, growth of what is spent, draws of each law
OVERHEAD = 2e11  # FLOPs that starting a run costs
MOST = 40  # cells of a lot
MIN_STEPS, CORPUS, COOLDOWN = 100, 28.6e6, 0.2
SIZES = np.linspace(np.log(3e4), np.log(2e7), 240)


def tables():
    """Cells of the reference's grid and all cells one might train, as arrays of n, d, C, width."""
    runs = pd.DataFrame(reference()[0]).query("flops_budget > 0")
    shapes = runs.groupby("width").agg(
        N=("total_params", "first"),
        f=("flops", "max"),
        D=("tokens", "max"),
        B=("batch_tokens", "first"),
    )
    shapes["f"] /= shapes.D
    grid = pd.DataFrame({"width": runs.width, "C": runs.flops_budget})
    budgets = np.sort(grid.C.unique())
    cells = pd.MultiIndex.from_product([shapes.index, budgets], names=["width", "C"]).to_frame(
        False
    )
    made = []
    for table in (grid, cells):
        known = table.join(shapes, on="width").assign(D=lambda t: t.C / t.f)
        made.append(
            known[(known.D <= CORPUS) & (known.D / known.B >= MIN_STEPS)].reset_index(drop=True)
        )
    return made


def coordinates(cells):
    """Return n and d of the forms."""
    return np.log(cells.N.to_numpy() / 1e5), np.log(cells.D.to_numpy() / 2e6)


def train(truth, cells, rng, trunks):
    """Ln L of cells as they might come out; trunks keep what their runs have in common."""
    for width in cells.width:
        trunks.setdefault(width, rng.standard_normal())
    shared = np.array([trunks[width] for width in cells.width])
    noise = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.standard_normal(len(cells))
    return FORMS[truth][0](fitted(truth), *coordinates(cells)) + NOISE * noise


def cost(cells):
    """FLOPs of trunks: up to the last branch once, and every cooldown; further seeds beside."""
    return sum((1 - COOLDOWN) * C.max() + COOLDOWN * C.sum() for _, C in cells.groupby("width").C)


def ensemble(cells, log_L, rng, truth):
    """Draws of all laws: weights, ln N_opt at the target, and a function of n and d to ln L.

    Every form but the true one: no sweep's law is among those that somebody thought of. A form's
    weight is exp(-AICc / (2 TEMPER)); its draws are those of its linearised least squares, at the
    size of its own residuals, in which runs count by C^NEAR: what is near the target decides.
    """
    n, d = coordinates(cells)
    per_token, rows = reference()[-1], []
    grid_d = np.log(TARGET) - np.polyval(per_token, SIZES) - np.log(2e6)
    root = (cells.C / cells.C.max()).to_numpy() ** (NEAR / 2)
    root /= np.sqrt((root**2).mean())
    for name, (form, _) in FORMS.items():
        if name == truth:
            continue
        found = least_squares(
            lambda t, f=form: root * (f(t, n, d) - log_L), fitted(name), method="lm", max_nfev=400
        )
        k, rss = len(found.x), 2 * found.cost
        aicc = len(n) * np.log(rss / len(n)) + 2 * k * len(n) / (len(n) - k - 1)
        spread = np.linalg.pinv(found.jac) * np.sqrt(rss / (len(n) - k))
        theta = found.x[:, None] + spread @ rng.standard_normal((len(n), PARTICLES))
        at_target = form(theta[:, :, None], SIZES - np.log(1e5), grid_d)
        least = at_target.argmin(1)
        inside = (least > 0) & (least < len(SIZES) - 1)
        log_N = SIZES[np.clip(least, 1, len(SIZES) - 2)] + parabola(
            at_target, np.clip(least, 1, len(SIZES) - 2)
        )
        rows.append((aicc, form, theta[:, inside], log_N[inside]))
    lowest = min(aicc for aicc, *_ in rows)
    weights = np.concatenate(
        [
            np.full(len(x), np.exp((lowest - a) / (2 * TEMPER)) / max(len(x), 1))
            for a, _, _, x in rows
        ]
    )

    def predict(some):
        at = [v[None] for v in coordinates(some)]
        return np.concatenate([f(t[:, :, None], *at) for _, f, t, x in rows if len(x)])

    return weights / weights.sum(), np.concatenate([x for *_, x in rows]), predict


def parabola(values, least):
    """Offset of the minimum from the lowest point of an even grid."""
    i = np.clip(least, 1, values.shape[1] - 2)
    low, mid, high = (values[np.arange(len(i)), i + k] for k in (-1, 0, 1))
    return (SIZES[1] - SIZES[0]) * 0.5 * (low - high) / (low - 2 * mid + high)


def choose(weights, log_N, predicted, candidates, have, limit):
    """Choose a lot: each time the cell that explains most variance of ln N_opt per FLOP."""
    root = np.sqrt(weights)[:, None]
    X = root * (predicted - weights @ predicted)
    t, picked, own = root[:, 0] * (log_N - weights @ log_N), [], have.copy()
    spent = 0.0
    while spent < limit and len(picked) < MOST:
        variance = (X**2).sum(0) + NOISE**2
        gain = (X.T @ t) ** 2 / variance
        longest = candidates.width.map(own).fillna(0.0).to_numpy()
        C = candidates.C.to_numpy()
        price = COOLDOWN * C + (1 - COOLDOWN) * np.maximum(C - longest, 0) + OVERHEAD
        best = int(np.argmax(gain / price))
        picked.append(best)
        spent += price[best] - OVERHEAD
        own[candidates.width[best]] = max(longest[best], C[best])
        x, v = X[:, best].copy(), variance[best]
        t = t - x * (x @ t) / v
        X = X - np.outer(x, x @ X) / v
    return picked


def answer(weights, log_N):
    """Mean of ln N_opt and its 90 % interval, over laws and noise."""
    order = np.argsort(log_N)
    low, high = np.interp([0.05, 0.95], np.cumsum(weights[order]), log_N[order])
    return float(weights @ log_N), low, high


def bowls(cells, log_L, seed):
    """Answer of the house's power bowls on a grid."""
    obs = cells[["N", "D", "C"]].astype(float).assign(L=np.exp(log_L), budget=cells.C)
    obs = obs.assign(cluster=cells.width.astype(str), run_id=[f"r{i}" for i in range(len(cells))])
    with warnings.catch_warnings(action="ignore"):
        e = fit_isoflop_power(Prepared.of(obs), FitSettings(bootstrap=40, seed=seed)).N_opt(TARGET)
    return tuple(np.log([e.value, e.low, e.high]))


def simulate(truth, seed):
    """Yield cost, answer and design after each budget of the grid, and after each lot."""
    rng, (grid, candidates) = np.random.default_rng([[*FORMS].index(truth), seed]), tables()
    true, trunks = np.log(true_optimum(truth, TARGET)[0]), {}
    log_L = train(truth, grid, rng, trunks)

    def row(design, cells, found):
        value, low, high = found
        held = {"holds": low <= true <= high, "width": high - low, "error": value - true}
        return {"truth": truth, "seed": seed, "design": design, "flops": cost(cells)} | held

    for C in np.sort(grid.C.unique()):
        if C < START:
            continue
        seen = (grid.C <= C).to_numpy()
        part, losses = grid[seen].reset_index(drop=True), log_L[seen]
        yield row("grid, laws", part, answer(*ensemble(part, losses, rng, truth)[:2])) | {"step": C}
        try:
            yield row("grid, power bowls", part, bowls(part, losses, seed)) | {"step": C}
        except FitError:
            continue
    seen = (grid.C <= START).to_numpy()
    cells, losses = grid[seen].reset_index(drop=True), log_L[seen]
    for lot in range(LOTS + 1):
        weights, log_N, predict = ensemble(cells, losses, rng, truth)
        yield row("chosen, laws", cells, answer(weights, log_N)) | {"step": lot}
        have = cells.groupby("width").C.max().to_dict()
        picked = choose(
            weights, log_N, predict(candidates), candidates, have, (SHARE - 1) * cost(cells)
        )
        new = candidates.iloc[picked].reset_index(drop=True)
        losses = np.concatenate([losses, train(truth, new, rng, trunks)])
        cells = pd.concat([cells, new], ignore_index=True)


def summarise(found, keys):
    """Actual error, coverage, claimed width and cost."""
    rms = ("error", lambda e: float(np.sqrt((e**2).mean())))
    return found.groupby(keys, as_index=False, sort=False).agg(
        flops=("flops", "mean"),
        rmse=rms,
        bias=("error", "mean"),
        holds=("holds", "mean"),
        width=("width", "median"),
        n=("error", "size"),
    )


def judge(mean):
    """Say after how many FLOPs chosen cells did as well as the whole grid, or that they did not."""
    grids = mean[(mean.step == LARGEST) & mean.design.str.startswith("grid")]
    chosen = mean[mean.design.str.startswith("chosen")]
    for grid in grids.to_dict("records"):
        error, both = chosen.rmse <= grid["rmse"], chosen.holds >= grid["holds"]
        for said, reached in (("error", error), ("error and coverage", error & both)):
            head = f"{said} of the whole {grid['design']} (rmse {grid['rmse']:.3f}, holds "
            head += f"{grid['holds']:.0%}, {grid['flops']:.3g} FLOPs)"
            if not reached.any():
                yield f"{head}: never reached"
                continue
            first = chosen[reached].iloc[0]
            share = first.flops / grid["flops"]
            yield f"{head}: reached after {first.flops:.3g} FLOPs, x{share:.2f}"


def main(draws=20):
    """Simulate, write the tables and the page; with 0 draws the page alone."""
    keys = ["design", "step"]
    if draws:
        found = pd.DataFrame(
            [row for truth in FORMS for seed in range(draws) for row in simulate(truth, seed)]
        )
        write_text(FOLDER / "steps.csv", summarise(found, keys).to_csv(index=False))
        write_text(FOLDER / "truths.csv", summarise(found, ["truth", *keys]).to_csv(index=False))
    mean, each = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("steps", "truths"))
    columns = (shown("design"), shown("step", write=".3g"), shown("flops", "FLOPs", ".3g"))
    columns += (shown("rmse", "actual rmse of ln N", ".3f"), shown("bias", write="+.3f"))
    columns += (shown("holds", "90 % holds", ".0%"), shown("width", "claimed width", ".3f"))
    last = pd.DataFrame(each[(each.step == LARGEST) | (each.step == LOTS)])
    n = mean.n.max() // len(FORMS)
    head = f"# Where does the next FLOP go\n\nMade by `python experiments/next_cells.py {n}`."
    sections = [
        Section("Actual error and coverage against the grid", items=tuple(judge(mean))),
        make_section("Over all truths", mean, (*columns, shown("n", write=".0f"))),
        make_section("Under each truth, at the end", last, (shown("truth"), *columns)),
    ]
    page = f"{head} {ABOUT}\n\n{markdown(sections)}\n"
    write_text(FOLDER / "README.md", page)
    print(page)


ABOUT = """Truths: forms fitted to the reference sweep (experiments/truths.py), target
N_opt at 1.024e14 FLOPs, eight times the largest budget. *grid*: the reference's budgets, one after
the other, on shared trunks; *chosen*: from its four smallest budgets on, cells of the same ladder
and budgets by variance of ln N_opt explained per FLOP, trunks going on. *laws*: an ensemble of all
forms but the true one; where it has no finite mean (-) its error is left out of the average, in
its favour. FLOPs are means over truths; n cases tell a share within 1 / (2 sqrt n).

**No verb was made of it**: the power bowls of the whole grid have a smaller actual error than
chosen cells ever reach, and as the width that these claim falls, so does their coverage: the
ensemble grows sure of whichever form is least wrong, and none of them is true."""


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
