"""Curves through optima: N_opt, D_opt and L_opt over C, for many data sets at once."""

import numpy as np

KNOWN = 1e12  # 1 / variance of a point without noise
FLOORS = np.linspace(0.0, 0.95, 96)  # irreducible losses tried, in shares of the lowest loss
FLOOR_POINTS = 4  # three determine the curve; the fourth can contradict it
BENT_POINTS = 4  # likewise of a parabola
BEND = 0.03  # standard deviation of the curvatures met with, see `power_laws`


def power_laws(
    log_C: np.ndarray,
    optima: dict[str, np.ndarray],
    log_C_ref: float,
    weights: np.ndarray | None = None,
    edge: float | None = None,
) -> dict:
    """Least squares in logarithms of N_opt, D_opt ~ C^exponent and L_opt - floor ~ C^exponent.

    Parameters
    ----------
    log_C : array, shape (points,), ln FLOPs
    optima : dict, "N", "D", "L" -> array, shape (sets, points)
        Logarithms; NaN where a set lacks a point.
    log_C_ref : float
        Where the returned N_ref, D_ref and L_ref hold.
    weights : array, shape (points,), optional
        1 / variance of ln N_opt; equal and very large if omitted.
    edge : float, FLOPs, optional
        Lets the logarithms bend as parabolas in ln C, up to this C; straight if omitted.

    Returns
    -------
    dict of array, shape (sets,), the parameters of law "power_frontier": C_ref, N_ref, N_exponent,
        D_ref, D_exponent, L_floor, L_ref, L_exponent, with an edge N_curvature, D_curvature,
        L_curvature and C_edge; NaN where fewer than 2 points are known, and 4 with an edge.

    Notes
    -----
    The floor is the best of 96 shares of the lowest loss and 0 from fewer than 4 points. Without
    one, L_opt is bent against the line and missed at both ends by more than its interval; the
    floor itself is hardly determined. With an edge, a parabola of ln L_opt takes its place where it
    leaves smaller squares: on the reference the loss falls faster and faster in ln C, which no
    floor does.

    The curvature is that of least squares with one more observation, of 0 with standard deviation
    .03: laws fitted to the reference sweep have -.03 to .02 per (ln C)^2, Hoffmann's minima -.02.
    A sweep that determines it to .004 is not told from that, and one that leaves it open, as a few
    bowls among scattered runs do, gets a straight line.
    """
    x = log_C - log_C_ref
    weights = np.full_like(x, KNOWN) if weights is None else weights
    with np.errstate(over="ignore", invalid="ignore"):  # what a resample leaves open is infinite
        return _power_laws(x, optima, log_C_ref, weights, edge)


def _power_laws(x, optima: dict[str, np.ndarray], log_C_ref: float, weights, edge) -> dict:
    sets = len(optima["N"])
    found = {"C_ref": np.full(sets, np.exp(log_C_ref))}
    for symbol in "ND":
        y = optima[symbol]
        bent = {} if edge is None else {f"{symbol}_curvature": curvature(x, y, weights)}
        for c in bent.values():
            y = y - c[:, None] * x**2
        at_ref, slope = line(x, y, weights)
        found |= {f"{symbol}_ref": np.exp(at_ref), f"{symbol}_exponent": slope} | bent
    if edge is not None:
        found["C_edge"] = np.full(sets, edge)
    return found | _loss_curve(x, optima["L"], bent=edge is not None)


def line(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of every row of y on x, without its NaN; NaN from a single point."""
    known = np.isfinite(y)
    weights = np.where(known, weights, 0.0)
    count = np.where(known.any(1), weights.sum(1), 1.0)
    x = np.where(known, x, 0.0)
    x_mean = (weights * x).sum(1) / count
    y_mean = (weights * np.where(known, y, 0.0)).sum(1) / count
    dx = np.where(known, x - x_mean[:, None], 0.0)
    dy = np.where(known, y - y_mean[:, None], 0.0)
    spread = (weights * dx * dx).sum(1)
    slope = (weights * dx * dy).sum(1) / np.where(spread > 0, spread, 1.0)
    slope = np.where(spread > 0, slope, np.nan)
    return y_mean - slope * x_mean, slope


def curvature(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Curvature c of every row's a + b x + c x^2; NaN from fewer than 4 points.

    As in `power_laws`, with weights that are 1 / variance.
    """
    known = np.isfinite(y)
    square = np.where(known, x * x, np.nan)
    at_0, slope = line(x, square, weights)
    bend = np.where(known, square - at_0[:, None] - slope[:, None] * x, 0.0)
    spread = (weights * bend * bend).sum(1)
    determined = known.sum(1) >= BENT_POINTS
    product = (weights * bend * np.where(known, y, 0.0)).sum(1)
    return np.where(determined, product / (spread + BEND**-2), np.nan)


def weigh(x: np.ndarray, y: np.ndarray, std: np.ndarray, bent: bool) -> np.ndarray:
    """Weights of points on a line or, if bent, a parabola: 1 / variance.

    Parameters
    ----------
    x, y : array, shape (points,)
    std : array, shape (points,)
        What noise alone makes of each y.
    bent : bool

    Returns
    -------
    array, shape (points,)

    Notes
    -----
    The variance is std^2 and the smallest one that all points share with which their residuals are
    no larger than their degrees of freedom allow (Paule and Mandel 1982): a point that is precise
    and yet off the curve should not decide it alone.
    """
    spare = len(x) - 2 - bent
    if spare < 1 or not (np.isfinite(std).all() and std.min() > 0):
        return np.full_like(x, KNOWN)
    shared = np.append(0.0, np.geomspace(1e-3, 1e3, 121)) * np.median(std) ** 2
    weights = 1 / (std**2 + shared[:, None])
    rows = np.broadcast_to(y, weights.shape)
    if bent:
        rows = rows - curvature(x, rows, weights)[:, None] * x**2
    at_0, slope = line(x, rows, weights)
    squares = (weights * (rows - at_0[:, None] - slope[:, None] * x) ** 2).sum(1)
    enough = squares <= spare
    return weights[enough.argmax() if enough.any() else -1]


def lines_above(
    x: np.ndarray, log_L: np.ndarray, floors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines of ln(L - floor) on x, of shape (points,), for losses of shape (sets, points).

    Intercept, slope, and the squares that they leave in ln L, all of the floors' shape (sets, n).
    """
    above = np.log(np.exp(log_L)[:, None] - floors[..., None])
    at_0, slope = (v.reshape(floors.shape) for v in line(x, above.reshape(-1, len(x))))
    expected = np.log(floors[..., None] + np.exp(at_0[..., None] + slope[..., None] * x))
    return at_0, slope, np.nansum((expected - log_L[:, None]) ** 2, axis=2)


def _loss_curve(x: np.ndarray, log_L: np.ndarray, bent: bool) -> dict[str, np.ndarray]:
    """The better of a power law above a floor and, if it may bend, a parabola without one."""
    sets, points = log_L.shape
    shares = FLOORS if points >= FLOOR_POINTS else FLOORS[:1]
    floors = shares * np.exp(np.fmin.reduce(log_L, axis=1))[:, None]
    at_ref, slope, squares = lines_above(x, log_L, floors)
    pick = np.arange(sets), squares.argmin(1)
    found = {"L_floor": floors[pick], "L_ref": np.exp(at_ref[pick]), "L_exponent": slope[pick]}
    if not bent:
        return found
    c = curvature(x, log_L, np.full_like(x, KNOWN))
    at_ref, slope = line(x, log_L - c[:, None] * x**2)
    expected = at_ref[:, None] + slope[:, None] * x + c[:, None] * x**2
    better = np.nansum((expected - log_L) ** 2, axis=1) < squares[pick]
    parabola = {"L_floor": 0.0, "L_ref": np.exp(at_ref), "L_exponent": slope}
    found = {name: np.where(better, parabola[name], value) for name, value in found.items()}
    return found | {"L_curvature": np.where(better, c, 0.0)}
