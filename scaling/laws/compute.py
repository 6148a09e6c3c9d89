"""Training FLOPs of a token as a curve in N: 6ND, or what the runs themselves paid."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ComputeModel:
    """Training FLOPs per token as a curve in N: C/D = kappa * N**gamma where it does not bend.

    ln(C/D) = ln kappa + gamma ln N + bend u^2 / 2 with u = ln(N / centre), continued along its
    tangents outside of the sampled sizes, but from `crossing` on as 6N: head and attention make
    small models dearer than that and large ones never cheaper. 6ND is kappa = 6, gamma = 1,
    bend = 0.

    Attributes
    ----------
    kappa : float, FLOPs per token
    gamma : float
        Slope at `centre`; below 1 where small models pay more than 6 FLOPs per parameter.
    bend : float
    centre : float, parameters
    sizes : tuple of float, parameters
        Smallest and largest sampled size.
    rms : float
        Root mean square relative deviation of the runs from this curve.

    Examples
    --------
    Tokens that the compute of GPT-3 buys for 175B parameters, by 6ND (it was trained on 300B):

    >>> print(f"{ComputeModel().tokens(C=3.14e23, N=175e9):.3g}")
    2.99e+11
    """

    kappa: float = 6.0
    gamma: float = 1.0
    bend: float = 0.0
    centre: float = 1.0
    sizes: tuple[float, float] = (1.0, 1.0)
    rms: float = 0.0

    @property
    def crossing(self) -> float:
        """Logarithm of the N above the sampled sizes where the tangent meets 6N; else infinite."""
        if self.sizes[0] == self.sizes[1]:
            return np.inf
        edge = np.log(self.sizes[1])
        height, slope = self.uncrossed(edge)
        above = height - np.log(6.0) - edge
        return float(edge + above / (1 - slope)) if slope < 1 and above >= 0 else np.inf

    def tangent(self, log_N):
        """ln(C/D) at N, and its slope in ln N there.

        Examples
        --------
        >>> height, slope = ComputeModel().tangent(np.log(70e9))
        >>> print(f"{np.exp(height):.3g} FLOPs a token, slope {slope:.0f}")
        4.2e+11 FLOPs a token, slope 1
        """
        height, slope = self.uncrossed(log_N)
        large = log_N > self.crossing
        return np.where(large, np.log(6.0) + log_N, height), np.where(large, 1.0, slope)

    def uncrossed(self, log_N):
        """`tangent` as if there were no crossing.

        Examples
        --------
        A curve that crosses 6N at 1e10 parameters:

        >>> dear = ComputeModel(kappa=60.0, gamma=0.9, sizes=(1e6, 1e8))
        >>> heights = (curve(np.log(1e12))[0] for curve in (dear.uncrossed, dear.tangent))
        >>> print(*(f"{np.exp(height):.3g}" for height in heights))
        3.79e+12 6e+12
        """
        u, (low, high) = log_N - np.log(self.centre), np.log(self.sizes) - np.log(self.centre)
        bent = np.clip(u, low, high)
        height = np.log(self.kappa) + self.gamma * log_N + self.bend * bent * (u - bent / 2)
        return height, self.gamma + self.bend * bent

    def bend_at(self, log_N):
        """Second derivative of ln(C/D) in ln N: `bend` inside of the sampled sizes, else 0.

        Examples
        --------
        >>> bent = ComputeModel(bend=0.01, centre=1e8, sizes=(1e7, 1e9))
        >>> bent.bend_at(np.log([1e8, 1e12])).tolist()
        [0.01, 0.0]
        """
        low, high = np.log(self.sizes)
        return np.where((log_N > low) & (log_N < high), self.bend, 0.0)

    def tokens(self, C, N):
        """Tokens that spend C FLOPs on a model of N parameters.

        Examples
        --------
        >>> print(f"{ComputeModel().tokens(C=5.88e23, N=70e9):.3g}")  # Chinchilla's
        1.4e+12
        """
        return C / np.exp(self.tangent(np.log(N))[0])


def fit_compute(obs: pd.DataFrame) -> ComputeModel:
    """Least-squares parabola of ln(C/D) in ln N.

    Parameters
    ----------
    obs : DataFrame with columns N (parameters), D (tokens), C (FLOPs); one row per run

    Returns
    -------
    ComputeModel; exactly 6ND where C is 6ND. From fewer than 4 sizes no bend, from one gamma = 1.

    Notes
    -----
    Counted FLOPs per token are no multiple of N: head and attention weigh more in small models.
    On 6N + 190 sqrt(N) FLOPs per token a straight line (1 % off the runs) moves N_opt by
    2-3 %, more than its interval is wide; the parabola follows within 0.1 %.

    Examples
    --------
    >>> obs = pd.DataFrame({"N": [1e6, 1e7, 1e8, 1e9], "D": 1e9})
    >>> found = fit_compute(obs.assign(C=(6 * obs.N + 190 * obs.N**0.5) * obs.D))
    >>> print(f"{found.gamma:.3f}, {found.rms:.1%} off the runs")
    0.996, 0.1% off the runs
    >>> fit_compute(obs.assign(C=6 * obs.N * obs.D)) == ComputeModel()
    True
    """
    per_token = np.log((obs.C / obs.D).to_numpy(float))
    x = np.log(obs.N.to_numpy(float))
    if np.allclose(per_token, x + np.log(6.0), rtol=0, atol=1e-9):
        return ComputeModel()
    sizes, middle = len(np.unique(x)), x.mean()
    u = x - middle
    degree = 2 if sizes >= 4 else min(sizes - 1, 1)
    curve = np.polynomial.Polynomial.fit(u, per_token, degree, domain=[-1, 1])
    height, gamma, half_bend = [*curve.coef, *(0.0, 1.0, 0.0)[degree + 1 :]]
    return ComputeModel(
        kappa=float(np.exp(height - gamma * middle)),
        gamma=float(gamma),
        bend=float(2 * half_bend),
        centre=float(np.exp(middle)),
        sizes=(float(np.exp(x.min())), float(np.exp(x.max()))),
        rms=float(np.sqrt(np.mean(np.expm1(per_token - curve(u)) ** 2))),
    )
